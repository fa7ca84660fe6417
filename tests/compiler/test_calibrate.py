import asyncio
import json
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from compiler.calibrate import Asked, Calibration, Twice, answered_twice, ask_again, calibrate
from compiler.degrade import Recorded
from compiler.errors import BudgetExceeded, CalibrationFailed, ModelBusy, ModelFailed
from compiler.evidence import TRUSTED
from compiler.judge import Judge, secret
from compiler.ledger import Ledger
from compiler.llm import Llm, Purpose
from compiler.score import Answer, Question
from compiler.store import Store
from compiler.task import Contract
from tests.conftest import PRICES
from tests.fake_upstream import FakeUpstream, Fault
from tests.judging import Judging, knows, prefers, says, sees

pytestmark = pytest.mark.usefixtures("retries_at_once")

PURPOSE = Purpose("mail", "judge", scope="proof:mail@1:x", cap_usd=1.0)
TEXT = Contract("text")
TELL = "Answer the customer."
ENOUGH = 12
RECORDED = [
    Recorded(f"Where is order {i}?", Answer(f"Order {i} is on its way. It comes on {i % 28 + 1} May, before noon."))
    for i in range(10, 10 + ENOUGH)
]
AGAIN = [Twice(r.input, r.answer, Answer(r.answer.text.replace("comes", "arrives"))) for r in RECORDED]
GOOD = {twice.input: {twice.first.text, twice.second.text} for twice in AGAIN}


def mean_less_a_little(degraded: Sequence[float], itself: Sequence[float]) -> float:
    return fmean(degraded) - fmean(itself) - 0.1


@pytest.fixture
def judge(llm: Llm, store: Store) -> Judge:
    return Judge(llm, "fake-mini", secret(store), arms=("fake-strong", "fake-nano"))


async def calibrated(judge: Judge, **more: Any) -> Calibration:
    wanted: dict[str, Any] = {"bound": mean_less_a_little, "purpose": PURPOSE, "enough": ENOUGH, **more}
    contract, recorded, itself = (
        wanted.pop("contract", TEXT),
        wanted.pop("recorded", RECORDED),
        wanted.pop("itself", AGAIN),
    )
    return await calibrate(judge, contract, TELL, recorded, itself, **wanted)


# κ


async def test_a_judge_that_notices_all_has_the_kappa_that_so_many_answers_can_show(judge, fake):
    fake.answers["fake-mini"] = knows(GOOD)
    found = await calibrated(judge)
    assert (found.kappa, found.planted, found.itself, found.unjudged) == (pytest.approx(0.9), ENOUGH, ENOUGH, 0)
    assert found.promotes
    assert (found.judge, found.rules) == ("fake-mini", "judge.v1 degrade.v1")
    assert len(fake.calls) == 4 * ENOUGH


async def test_kappa_is_never_more_than_one(judge, fake):
    fake.answers["fake-mini"] = knows(GOOD)
    assert (await calibrated(judge, bound=lambda degraded, itself: 1.3)).kappa == 1.0


async def test_what_a_judge_is_blind_for_is_told_by_operator(judge, fake):
    digits = str.maketrans("", "", "0123456789")
    seen = {text.translate(digits) for texts in GOOD.values() for text in texts}
    fake.answers["fake-mini"] = prefers(lambda a, b: (a.translate(digits) in seen) - (b.translate(digits) in seen))
    noticed = (await calibrated(judge)).noticed
    assert noticed["wrong_number"] == noticed["other_input"] == 0.0
    assert noticed["negated"] == noticed["without_sentence"] == noticed["looped"] == 1.0


async def test_answers_of_the_incumbent_that_are_the_same_need_no_judge(judge, fake):
    fake.answers["fake-mini"] = knows(GOOD)
    same = [replace(twice, second=twice.first) for twice in AGAIN]
    assert (await calibrated(judge, itself=same)).itself == ENOUGH
    assert len(fake.calls) == 2 * ENOUGH


async def test_a_field_counts_whole_for_the_judge_however_many_fields_there_are(judge, fake):
    """Else κ of an object with ten fields would be a tenth."""
    answers = [json.dumps({f"field{n}": i * n + 100 for n in range(10)}) for i in range(ENOUGH)]
    made = [Recorded(f"bill {i}", Answer(answer)) for i, answer in enumerate(answers)]
    right = {json.dumps({f"/{name}": value}) for answer in answers for name, value in json.loads(answer).items()}

    def is_right(shown: str) -> bool:
        return all(json.dumps({name: value}) in right for name, value in json.loads(shown).items()) and shown != "{}"

    fake.answers["fake-mini"] = prefers(lambda a, b: is_right(a) - is_right(b))
    same = [Twice(one.input, one.answer, one.answer) for one in made]
    noticed = (await calibrated(judge, recorded=made, itself=same, contract=Contract("json"))).noticed
    assert noticed["wrong_number"] == 1.0


# Judges that are no good


def flips_on_half(request: Any) -> str:
    """Always right about every other answer, always says A about the rest."""
    shown = sees(request)
    half = int(shown["input"][-2]) % 2  # the number of the order
    return says("A") if half else knows(GOOD)(request)


def refuses_bad_answers(request: Any) -> str:
    shown = sees(request)
    return says("TIE") if {shown["A"], shown["B"]} <= GOOD[shown["input"]] else "I can't help with that."


JUDGES: dict[str, Judging | str | Fault] = {
    "sound": knows(GOOD),
    "flips on half": flips_on_half,
    "always flips": says("B"),
    "always A": says("A"),
    "tie": says("TIE"),
    "refuses": {"content": None, "refusal": "No."},
    "refuses bad answers": refuses_bad_answers,
    "says nothing": "Hm.",
    "prefers the worse": lambda request: knows(GOOD)(request).translate(str.maketrans("AB", "BA")),
}


@pytest.mark.parametrize("name", JUDGES)
async def test_whatever_the_judge_the_bound_never_understates_the_loss(judge, fake, name):
    """A third of these pairs is truly worse: mean d / κ is at least that, or κ promotes nothing."""
    fake.answers["fake-mini"] = JUDGES[name]
    found = await calibrated(judge)
    pairs = [
        Question(r.input, r.answer.text, "I don't know." if i % 3 == 0 else r.answer.text.replace("comes", "arrives"))
        for i, r in enumerate(RECORDED)
    ]
    d = fmean([(await judge.settle(pair, TELL, PURPOSE, last=True)).d for pair in pairs])
    assert not found.promotes or d / found.kappa >= 1 / 3
    assert found.promotes is (name == "sound")
    assert name != "flips on half" or 0.2 < found.kappa < TRUSTED


async def test_no_verdict_counts_against_kappa_on_both_sides(judge, fake):
    fake.answers["fake-mini"] = "Hm."
    seen: list[Sequence[float]] = []
    found = await calibrated(judge, bound=lambda *both: seen.extend(both) or mean_less_a_little(*both))
    assert seen == [[0.0] * ENOUGH, [1.0] * ENOUGH]
    assert (found.unjudged, found.kappa, found.promotes) == (2 * ENOUGH, pytest.approx(-1.1), False)


# Failing


async def test_a_call_or_two_that_fail_are_no_verdict_and_more_are_an_outage(judge, fake):
    fake.answers["fake-mini"] = knows(GOOD)
    fake.queue("fake-mini", *[Fault.respond(400)] * 2)
    assert (await calibrated(judge)).unjudged == 2
    fake.queue("fake-mini", *[Fault.respond(400)] * 3)
    with pytest.raises(ModelFailed, match="HTTP 400"):
        await calibrated(judge, purpose=replace(PURPOSE, scope="another"))


def times_out_on_bad_answers(request: Any) -> str | Fault:
    shown = sees(request)
    return says("TIE") if {shown["A"], shown["B"]} <= GOOD[shown["input"]] else Fault.stall()


@pytest.mark.parametrize("answer", [Fault.stall(), times_out_on_bad_answers], ids=["always", "on bad answers"])
async def test_a_judge_that_times_out_is_an_outage_and_has_no_kappa(judge, fake, answer):
    fake.answers["fake-mini"] = answer
    with pytest.raises(ModelFailed, match="APITimeoutError"):
        await calibrated(judge, purpose=replace(PURPOSE, timeout=0.02))


async def test_a_429_ends_it_at_once(judge, fake):
    fake.answers["fake-mini"] = Fault.respond(429)
    with pytest.raises(ModelBusy):
        await calibrated(judge, concurrency=1)
    assert len(fake.calls) == 1


async def test_it_ends_before_its_cap_is_passed_and_goes_on_where_it_ended(judge, fake):
    fake.answers["fake-mini"] = knows(GOOD)
    with pytest.raises(BudgetExceeded):
        await calibrated(judge, purpose=replace(PURPOSE, cap_usd=0.005))
    ended = len(fake.calls)
    assert 5 < ended < 4 * ENOUGH
    assert bill(fake) <= 0.005
    await calibrated(judge)
    assert len(fake.calls) == 4 * ENOUGH


@pytest.mark.parametrize(("recorded", "itself"), [(RECORDED, AGAIN[:-1]), (RECORDED[:1], AGAIN), ([], [])])
async def test_too_little_to_go_by_is_said_before_anything_is_paid(judge, fake, recorded, itself):
    with pytest.raises(CalibrationFailed, match=r"\d+ degraded answers and \d+ second .* 12 of each are"):
        await calibrated(judge, recorded=recorded, itself=itself)
    assert fake.calls == []


CALIBRATE = """
import asyncio, sys
from pathlib import Path
from compiler.judge import Judge, secret
from compiler.llm import Llm
from compiler.store import Store
from tests.compiler.test_calibrate import calibrated
from tests.conftest import fake_models

async def main():
    url, folder = sys.argv[1], Path(sys.argv[2])
    with Store(folder) as store:
        async with Llm(fake_models(url), store, usd_per_day=5) as llm:
            await calibrated(Judge(llm, "fake-mini", secret(store), arms=()), concurrency=4)

asyncio.run(main())
"""


async def test_a_killed_calibration_pays_again_at_most_for_the_calls_in_flight(judge, fake, store):
    answered = 0

    def stall_after_twenty(request: dict[str, Any]) -> Any:
        nonlocal answered
        answered += 1
        return knows(GOOD)(request) if answered <= 20 else Fault.stall(knows(GOOD)(request))

    fake.answers["fake-mini"] = stall_after_twenty
    killed = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CALIBRATE, fake.url, str(store.folder), cwd=Path.cwd()
    )
    await fake.wait_for(24, "fake-mini")
    killed.send_signal(signal.SIGKILL)
    assert await killed.wait() == -9
    fake.release.set()
    fake.answers["fake-mini"] = knows(GOOD)
    assert (await calibrated(judge)).kappa == pytest.approx(0.9)
    times = Counter(json.dumps(call.json) for call in fake.calls)
    assert (len(times), sum(count - 1 for count in times.values())) == (4 * ENOUGH, 4)


# The incumbent against itself


def test_an_input_that_came_twice_is_a_pair_and_each_answer_is_used_once():
    made = [Recorded(text, Answer(f"{text}{i}")) for i, text in enumerate("abacaa")]
    assert answered_twice(made) == [Twice("a", Answer("a0"), Answer("a2")), Twice("a", Answer("a4"), Answer("a5"))]


async def test_the_incumbent_is_asked_again_for_its_second_answers(llm, fake, store):
    messages = [{"role": "user", "content": "Where is order 10?"}]
    asked = [Asked(RECORDED[0], messages), Asked(RECORDED[1], [{"role": "user", "content": "?"}])]
    fake.answers["fake-strong"] = lambda request: "It comes." if request["messages"] == messages else ""
    again = await ask_again(llm, "fake-strong", asked, replace(PURPOSE, role="shadow"), max_tokens=50)
    assert again == [Twice(RECORDED[0].input, RECORDED[0].answer, Answer("It comes.", finish_reason="stop"))]
    assert {row.role for _, row, _ in Ledger(store).rows()} == {"shadow"}


def bill(fake: FakeUpstream) -> float:
    return sum(
        (sums["input"] * PRICES[model]["input"] + sums["output"] * PRICES[model]["output"]) / 1e6
        for model, sums in fake.totals().items()
    )
