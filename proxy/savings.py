"""What each task could save, from the ledger's last days: what it was seen to be is measured, the rest is
`compiler.worth`'s."""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from compiler.ledger import UNDECLARED, Ledger, Row, Sums
from compiler.pricing import PriceBook
from compiler.registry import TaskView
from compiler.task import Kind
from compiler.worth import Assumed, Range, Seen, Terms, Worth, best
from proxy.funnel import is_matched
from proxy.settings import Settings

LAST = timedelta(days=7)  # recent, and every day of the week
DAY = timedelta(days=1)
NO_KINDS: Mapping[str, Kind] = {}


@dataclass(frozen=True)
class Possible:
    """`worth` None: `why_not` says what is missing."""

    task: str
    worth: Worth | None
    why_not: str = ""

    def to_json(self) -> dict[str, Any]:
        return self.worth.to_json() if self.worth else {"verdict": "unknown", "why_not": self.why_not}


@dataclass
class _Traffic:
    first: datetime
    requests: int = 0
    originals: dict[str, Sums] = field(default_factory=dict)  # by the app's own model

    def add(self, hour: datetime, row: Row, sums: Sums) -> None:
        self.first = min(self.first, hour)
        self.requests += sums.requests
        if row.route == "original":
            self.originals.setdefault(row.model, Sums()).add(sums)


def terms_of(settings: Settings) -> Terms:
    control, models = settings.control, settings.models
    assumed = Assumed()
    assumed = assumed._replace(control=control, servable=Range(min(assumed.servable.low, 1 - control), 1 - control))
    prices = PriceBook(settings.own_prices())
    return Terms(prices, models.production, models.meta, models.judge, settings.compile.max_usd, assumed)


def possible_savings(
    ledger: Ledger,
    views: Mapping[str, TaskView],
    terms: Terms,
    ignored: Container[str] = (),
    kinds: Mapping[str, Kind] = NO_KINDS,
) -> list[Possible]:
    """Of the tasks that no card serves yet and that are not `ignored`, the greatest saving first. `kinds`: of the
    answers of tasks that don't declare it."""
    now = datetime.now(UTC)
    found = []
    for task, traffic in _traffic(ledger.hours(LAST)).items():
        view = views.get(task)
        if view is None and task in ignored:
            continue
        if (view is None or view.compiled is None) and (seen := _seen(traffic, view, now, kinds.get(task))):
            found.append(possible_of(task, *seen, terms))
    return sorted(found, key=lambda one: (-one.worth.saving_per_day.high if one.worth else 1.0, one.task))


def _traffic(hours: Iterable[tuple[datetime, str, Row, Sums]]) -> dict[str, _Traffic]:
    found: dict[str, _Traffic] = {}
    for hour, task, row, sums in hours:
        if task != UNDECLARED and row.role == "serve" and is_matched(row):
            found.setdefault(task, _Traffic(hour)).add(hour, row, sums)
    return found


def _seen(traffic: _Traffic, view: TaskView | None, now: datetime, kind: Kind | None) -> tuple[str, Seen] | None:
    """The app's own model and what its answers took; None if it gave none."""
    if not (model := own_model(traffic.originals)):
        return None
    contract = view.task.contract if view else None
    calls_per_day = traffic.requests / days_since(traffic.first, now)
    return model, seen_of(traffic.originals[model], calls_per_day, contract.kind if contract else kind)


def own_model(originals: Mapping[str, Sums]) -> str:
    """Of the models that answered for the app, by name, the one that answered most; "" where none did."""
    answered = {model: sums.calls - sums.failed for model, sums in originals.items()}
    model = max(answered, key=lambda name: (answered[name], name), default="")
    return model if answered.get(model, 0) > 0 else ""


def days_since(first: datetime, now: datetime) -> float:
    """Less than a day of traffic is taken for a day's."""
    return max(1.0, (now - first) / DAY)


def seen_of(sums: Sums, calls_per_day: float, kind: Kind | None) -> Seen:
    """`sums`: of the app's own model, which gave at least one answer."""
    answered = sums.calls - sums.failed
    return Seen(
        calls_per_day=calls_per_day,
        input=(sums.input + sums.cached_input + sums.cache_write) / answered,
        output=(sums.output + sums.reasoning) / answered,
        cached_input=sums.cached_input / answered,
        kind=kind,
    )


def possible_of(task: str, incumbent: str, seen: Seen, terms: Terms) -> Possible:
    if missing := terms.unpriced(incumbent):
        return Possible(task, None, f"no price is known for {', '.join(missing)}")
    return Possible(task, best(seen, incumbent, terms))
