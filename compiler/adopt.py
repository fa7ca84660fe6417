"""A task that was recognised in the traffic, as one that can be compiled and proven: its wording and its examples."""

from collections import Counter
from collections.abc import Iterable, Sequence

from compiler.example import Example
from compiler.frame import Frame
from compiler.observation import Observation
from compiler.program import INSTRUCTION_ROLES
from compiler.recognition.structure import texts_of
from compiler.recognition.template import Pattern, Template
from compiler.task import Task


def unfit(templates: Sequence[Template]) -> str | None:
    """Why no card can serve a task of these templates yet, in words for the operator; None if one could."""
    if not templates or any(template.catch_all for template in templates):
        return "free chat is never compiled"
    if any([role for role in t.roles if role not in INSTRUCTION_ROLES] != ["user"] for t in templates):
        return "it has several turns"
    instructions = [_instructions(template) for template in templates]
    if any(any(not pattern.constant for pattern in patterns) for patterns in instructions):
        return "its system prompt holds data"
    if len({tuple(pattern.literals[0] for pattern in patterns) for patterns in instructions}) > 1:
        return "its templates have different system prompts"
    if len(instructions[0]) > 1:
        return "it has several system prompts"
    return None


def adopted(name: str, templates: Sequence[Template]) -> Task:
    """`templates` of one task, none of which is `unfit`. Another wording of them is another definition: what was proven
    for the one before is not for this one."""
    first = templates[0]
    patterns = _instructions(first)
    return Task(
        name,
        description="\n\n".join(template.shown() for template in templates),
        system=patterns[0].literals[0] if patterns else None,
        incumbent=first.model,
        trust="proven",
        tenant=first.tenant,
        recognised=True,
        frame=_frame(templates),
    )


def examples_of(observations: Iterable[Observation]) -> list[Example]:
    """What was asked and answered, in its order; a repeated input once, with its last answer. What a user expected goes
    before what was answered."""
    found: dict[str, str] = {}
    times: Counter[str] = Counter()
    expected = set[str]()
    for observation in observations:
        texts = texts_of(observation.request.get("messages"))
        answer = observation.expected or observation.answer
        if not (texts and texts[-1].strip() and answer.strip()) or observation.tool_calls:
            continue
        times[texts[-1]] += 1
        if observation.expected or texts[-1] not in expected:
            found[texts[-1]] = answer
        if observation.expected:
            expected.add(texts[-1])
    return [Example(text, answer, times[text]) for text, answer in found.items()]


def _frame(templates: Sequence[Template]) -> Frame | None:
    """Of one template alone, whose choices of values are no instructions."""
    (first, *others) = templates
    (pattern,) = [p for role, p in zip(first.roles, first.patterns, strict=True) if role not in INSTRUCTION_ROLES]
    if others or first.is_enumerated or pattern.constant or not "".join(pattern.literals).strip():
        return None
    return Frame.of(pattern.literals)


def _instructions(template: Template) -> list[Pattern]:
    roles = zip(template.roles, template.patterns, strict=True)
    return [pattern for role, pattern in roles if role in INSTRUCTION_ROLES]
