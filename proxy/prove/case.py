"""A task of a log that is to be proven, and how its requests are divided; or why it is not."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from compiler.adopt import adopted, examples_of, unfit
from compiler.evidence import fewest
from compiler.example import Example, read_contract, split
from compiler.intake import CONVERSATION, CONVERSATIONS
from compiler.observation import Observation, input_of
from compiler.recognition.structure import texts_of
from compiler.recognition.template import Template
from compiler.task import Task
from proxy.prove.kept import Begun, Kept
from proxy.prove.redacted import Redacted
from proxy.prove.traffic import Requests
from proxy.settings import Margin

EXAMPLES = 200  # that a compile sees, at most
SHARE = 4  # one in so many requests, the oldest, is the compile's
NEWEST = 50  # requests, by which the model is told that answers now
NO_SAVING = "the cheapest model costs no less here"


@dataclass(frozen=True)
class Case:
    """`observed`: its requests, oldest first, of which those from `first` on are the pairs. `model`: whose answers they
    are; `others`: requests that another model answered, which are left out. `begun`: a proof that goes on. `chosen`:
    the values of enumerated slots that make it a task of its own."""

    task: Task
    requests: Requests
    observed: Sequence[Observation]
    first: int
    model: str
    others: int = 0
    begun: Begun | None = None
    chosen: Mapping[str, str] = field(default_factory=dict)

    @property
    def compiled_from(self) -> Sequence[Observation]:
        return self.observed[: self.first]

    @property
    def examples(self) -> list[Example]:
        return examples_of(self.compiled_from)[-EXAMPLES:]

    @property
    def pairs(self) -> int:
        return len(self.observed) - self.first


@dataclass(frozen=True)
class Untried:
    task: str
    requests: Requests
    reason: str


@dataclass(frozen=True)
class Sorting:
    """Tells what is to be proven. `dear`: why a task can save nothing, None where it may."""

    template: Callable[[str], Template]
    margin: Margin
    least: int  # examples
    kept: Kept
    key: bytes | None  # that requests are redacted by
    dear: Callable[[Requests], str | None]

    def sort(self, found: Mapping[str, Requests], continued: Counter[str]) -> tuple[list[Case], list[Untried]]:
        """The dearest first."""
        cases, untried = [], []
        for name, requests in sorted(found.items(), key=lambda one: (-one[1].usd, -one[1].calls, one[0])):
            case = self._case(name, requests, continued[name])
            if isinstance(case, Case):
                cases.append(case)
            else:
                untried.append(Untried(name, requests, case))
        return cases, untried

    def _case(self, name: str, requests: Requests, continued: int) -> Case | str:
        """Why not, in words for the operator."""
        template = self.template(requests.match.id)
        if reason := unfit([template]):
            return reason
        if continued >= CONVERSATIONS:
            return CONVERSATION
        if reason := self.dear(requests):
            return reason
        task = adopted(name, [template])
        if not (found := requests.observed):
            return "the log does not hold its answers"
        model = answering(found)
        ours = [one for one in found if one.model == model]
        observed = Redacted(ours, self.key)
        if task.system is not None and task.system not in _instructions(observed[0]):
            return "its system prompt holds data that is redacted"
        case = self._divided(Case(task, requests, observed, 0, model, len(found) - len(ours)))
        if isinstance(case, str):
            return case
        return replace(case, chosen=template.chosen(texts_of(observed[0].request["messages"]) or ()))

    def _divided(self, case: Case) -> Case | str:
        observed, begun = case.observed, self.kept.find(case.task, case.observed)
        first = begun.first if begun else divide(observed, self.least)
        if first is None:
            return f"too few requests: {len({*map(input_of, observed)}):,} different ones, {self.least} are needed"
        case = replace(case, first=first, begun=begun)
        margin = self.margin.of(read_contract(case.examples).kind)
        needed = fewest(margin, number_of(case, self.kept, margin)) - len(
            split(case.examples, enough=self.least).holdout
        )
        if case.pairs < needed:
            return (
                f"too few requests: {len(observed):,}, of which {first:,} are for the compile; a proof takes {needed:,}"
                " more at least, even where no answer differs"
            )
        return case


def number_of(case: Case, kept: Kept, margin: float, looks: int = 0) -> int:
    """Which proof of its task: a new one for each card, and for each margin that it was held against. `looks`: of a new
    card's compile at sealed examples that are in no proof."""
    goes_on = case.begun is not None and case.begun.margin == margin
    return case.begun.number if case.begun and goes_on else kept.begun(case.task) + looks + 1


def divide(observed: Sequence[Observation], least: int) -> int | None:
    """So many of the requests, the oldest, are the compile's: a quarter of them, no more than it can use, with `least`
    different inputs at least; None where there are not so many."""
    wanted, seen = max(least, min(EXAMPLES, len(observed) // SHARE)), set[str]()
    for number, observation in enumerate(observed, 1):
        seen.add(input_of(observation))
        if number >= wanted and len(seen) >= least:
            return number
    return None


def answering(observed: Sequence[Observation]) -> str:
    """The model that answered most of the newest."""
    newest = Counter(one.model for one in observed[-NEWEST:])
    return max(newest, key=lambda name: (newest[name], name), default="")


def _instructions(observation: Observation) -> Iterator[str]:
    return (str(message.get("content")) for message in observation.request["messages"])
