"""How much of a loss the judge of a task's proof sees: its calibration on what was recorded of the task."""

from collections.abc import Sequence

from compiler.calibrate import ENOUGH, Asked, Calibration, Twice, answered_twice, ask_again, calibrate
from compiler.degrade import Recorded
from compiler.errors import CalibrationFailed
from compiler.evidence import kappa_lower_bound
from compiler.judge import Judge
from compiler.llm import Llm, Purpose
from compiler.observation import Observation, input_of
from compiler.score import Answer
from compiler.shadow import most_tokens
from compiler.task import Contract, Task

PROMISING = 50  # pairs before a judge is calibrated: a candidate that is clearly worse needs none


async def sight_of(
    judge: Judge,
    llm: Llm,
    task: Task,
    contract: Contract,
    observed: Sequence[Observation],
    purpose: Purpose,
    concurrency: int,
) -> Calibration:
    """Raises as `calibrate` does. Called again with the same `observed` and scope, only what is missing is paid for."""
    recorded = [Recorded(input_of(one), Answer(one.answer, tuple(one.tool_calls), "stop")) for one in observed]
    itself = await _itself(llm, task, observed, recorded, purpose, concurrency)
    return await calibrate(
        judge,
        contract,
        task.system or task.description,
        recorded,
        itself,
        bound=kappa_lower_bound,
        purpose=purpose,
        concurrency=concurrency,
    )


async def _itself(
    llm: Llm,
    task: Task,
    observed: Sequence[Observation],
    recorded: Sequence[Recorded],
    purpose: Purpose,
    concurrency: int,
) -> list[Twice]:
    """The incumbent against itself; its second answers are paid for where no input came twice. Raises
    CalibrationFailed before anything is paid that would not be enough."""
    if len(observed) < ENOUGH:
        raise CalibrationFailed(f"{len(observed)} requests are recorded, {ENOUGH} are needed")
    itself = answered_twice(recorded)[:ENOUGH]
    if task.incumbent and len(itself) < ENOUGH:
        wanted = zip(recorded[: ENOUGH - len(itself)], observed, strict=False)
        again = [Asked(one, observation.request["messages"]) for one, observation in wanted]
        room = max(map(most_tokens, observed), default=0)
        itself += await ask_again(llm, task.incumbent, again, purpose, max_tokens=room, concurrency=concurrency)
    return itself
