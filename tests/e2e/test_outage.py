"""Two tasks that need a judge, from the first request to live; then judge, incumbent and candidate fail, in turn."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from openai import APIStatusError

from compiler.proof import Proof
from tests.conftest import PRICES
from tests.e2e.app import AT_ONCE, CANDIDATE, INCUMBENT, META, PATIENCE, TAKES, App
from tests.e2e.conftest import serving, settings_for
from tests.fake_upstream import FakeUpstream, Fault
from tests.judging import prefers, sees
from tests.learned import SUMMARY

JUDGE = "fake-judge"
ABOUT = "Extract what the mail is about. Answer with a JSON object with the keys case and topic.\nMail: {}"
PROMPTS = (SUMMARY, ABOUT)
DOWN = Fault.respond(503, {"x-fake": "down"})
FACTS = re.compile(r"Mail: (\w+).*, case (\d+)")


def facts(text: str) -> tuple[str, int]:
    found = FACTS.search(text)
    assert found, text
    return found[1].lower(), int(found[2])


def answers(text: str) -> tuple[str, str]:
    """What the app's own model says to a mail, and the same in other words."""
    topic, case = facts(text)
    if "JSON" in text:
        return json.dumps({"case": case, "topic": topic}), json.dumps({"case": case, "topic": topic.upper()})
    return f"A mail about the {topic}, case {case}. It can wait.", f"It is about {topic} (case {case}). It can wait."


def mail_of(body: Any) -> str:
    """The newest message with one; what goes on as a conversation is still about it."""
    texts: list[str] = [message["content"] for message in body["messages"] if "Mail: " in message["content"]]
    return texts[-1]


def incumbent(body: Any) -> str:
    return answers(mail_of(body))[0]


def candidate(body: Any) -> str:
    """Summaries in words of its own, and one in three topics; also where a prompt says what the app's message did."""
    asked = body["messages"][-1]["content"]
    text = asked if "Mail: " in asked else f"{body['messages'][0]['content']}\nMail: {asked}"
    return answers(text)["JSON" not in text or facts(text)[1] % 3 == 0]


def good(body: Any, answer: str) -> bool:
    return answer in answers(mail_of(body))


def judge(body: Any) -> str:
    """Knows both ways to say it; of objects it is shown the fields that differ."""
    topic, case = facts(sees(body)["input"])
    known = answers(sees(body)["input"])

    def share(text: str) -> float:
        if not text.startswith("{"):
            return text in known
        shown = {key: str(value).lower() for key, value in json.loads(text).items()}
        return sum(shown.get(key) == value for key, value in {"/topic": topic, "/case": str(case)}.items())

    return prefers(lambda a, b: share(a) - share(b))(body)


class World:
    def __init__(self, fake: FakeUpstream, app: App) -> None:
        self.fake = fake
        self.app = app

    async def ask(self, times: int) -> list[bool | APIStatusError]:
        """Twenty requests each time, at once."""
        found: list[bool | APIStatusError] = []
        for _ in range(times):
            for of_prompt in await asyncio.gather(*(self.app.try_to_ask(prompt, AT_ONCE) for prompt in PROMPTS)):
                found += of_prompt
        return found

    async def until(self, true: Callable[[Proof, str], bool]) -> None:
        """Goes on asking, for as long as that is not so of both tasks' proofs and stages; each answer is good."""
        async with asyncio.timeout(PATIENCE):
            while not all(self._is(prompt, true) for prompt in PROMPTS):
                assert all_good(await self.ask(1))

    def _is(self, prompt: str, true: Callable[[Proof, str], bool]) -> bool:
        state, proof = self.app.state(prompt) or (None, None)
        return bool(state and proof and true(proof, state.stage))

    def routes(self, since: int = 0) -> Counter[str]:
        return Counter([route for prompt in PROMPTS for route in self.app.routes[prompt][since:]])

    def failed(self, model: str) -> int:
        return sum(call.status == 503 for call in self.fake.calls_to(model))

    # What happens, in turn

    async def judge_fails_before_anything_is_proven(self) -> None:
        self.fake.answers[JUDGE] = DOWN
        async with asyncio.timeout(PATIENCE):
            while self.failed(JUDGE) < 60:
                assert all_good(await self.ask(1))
        for prompt in PROMPTS:
            proof = self.app.proof(prompt)
            assert set(proof.outcomes) <= {"same", "judged"}, "it is no evidence"
            assert proof.sight is not None or set(self.app.routes[prompt]) == {"original"}
        self.fake.answers[JUDGE] = judge

    async def judge_fails_while_the_cards_serve(self) -> None:
        self.fake.answers[JUDGE] = DOWN
        before = {prompt: len(self.app.routes[prompt]) for prompt in PROMPTS}
        async with asyncio.timeout(PATIENCE):
            while any(self.app.routes[prompt][before[prompt] :].count("compiled") < 5 for prompt in PROMPTS):
                assert all_good(await self.ask(1))
        self.fake.answers[JUDGE] = judge

    async def incumbent_fails(self) -> None:
        """What the cards serve goes on; the rest gets what it would have got without a proxy in between."""
        self.fake.answers[INCUMBENT] = DOWN
        before = self.routes()
        found = await self.ask(2)
        direct = await self.app.directly(self.fake.url, SUMMARY)
        for error in (one for one in found if isinstance(one, APIStatusError)):
            assert (error.status_code, error.response.json()) == (direct.status_code, direct.response.json())
            assert error.response.headers["x-fake"] == "down" and "x-cuecard-error" not in error.response.headers
        answered = [one for one in found if not isinstance(one, APIStatusError)]
        assert all_good(answered) and len(answered) == (self.routes() - before)["compiled"] > 10
        self.fake.answers[INCUMBENT] = incumbent

    async def incumbent_hangs(self) -> None:
        """Nobody who has a card waits for it; the others wait as they would without a proxy."""
        self.fake.answers[INCUMBENT] = lambda body: Fault.stall(incumbent(body))
        before = self.routes()
        asking = asyncio.create_task(self.ask(1))
        async with asyncio.timeout(PATIENCE):
            while not (self.routes() - before)["compiled"]:
                await asyncio.sleep(0.02)
        assert not asking.done()
        self.fake.release.set()
        assert all_good(await asking)
        self.fake.answers[INCUMBENT] = incumbent

    async def candidate_fails(self) -> None:
        self.fake.answers[CANDIDATE] = DOWN
        async with asyncio.timeout(PATIENCE):
            while not self.routes()["fallback"] or not self.failed(CANDIDATE):
                assert all_good(await self.ask(1)), "the app's own model answers"
        assert all_good(await self.ask(1))
        self.fake.answers[CANDIDATE] = candidate

    async def the_app_begins_to_converse(self) -> None:
        """No later turn is a card's, and soon no first one."""
        for _ in range(3):
            body = self.app.next(SUMMARY)
            assert await self.app.say(SUMMARY, body)
            said = [{"role": "assistant", "content": incumbent(body)}, {"role": "user", "content": "Shorter, please."}]
            assert await self.app.say("later", {**body, "messages": [*body["messages"], *said]})
        assert self.app.routes["later"] == ["original"] * 3
        async with asyncio.timeout(PATIENCE):
            while self.app.state(SUMMARY) or set(self.app.routes[SUMMARY][-20:]) != {"original"}:
                assert all(await self.app.ask(SUMMARY, 5))

    def compared(self) -> Counter[str]:
        """The inputs that were run on a card's model off the path: those calls have a cap."""
        calls = [call for call in self.fake.calls_to(CANDIDATE) if "max_tokens" in call.json and call.billed]
        asked = [call.json["messages"][-1]["content"] for call in calls]
        return Counter(text for text in asked if "Mail: " in text)  # and not in what a compile only tries

    def answered(self) -> set[str]:
        return {mail_of(call.json) for call in self.fake.calls_to(INCUMBENT) if call.billed}


def all_good(found: Sequence[bool | APIStatusError]) -> bool:
    return all(one is True for one in found)


async def test_two_judged_tasks_go_live_and_outlive_the_outage_of_each_model_in_turn(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    fake.answers |= {INCUMBENT: incumbent, CANDIDATE: candidate, JUDGE: judge, META: "<prompt>Do as shown.</prompt>"}
    fake.seconds[INCUMBENT] = TAKES
    settings = settings_for(
        fake,
        tmp_path,
        mode="auto",
        capture={"per_second": 500},
        compile={"min_examples": 20},
        margin={"default": 0.2, "text": 0.2},
        control=0.5,
        background={"usd_per_day": 50, "max_share_of_saving": 1},
        models={"meta": META, "judge": JUDGE, "production": [CANDIDATE]},
        prices={**PRICES, INCUMBENT: {"input": 30.0, "output": 1.0}, JUDGE: {"input": 0.1, "output": 0.1}},
    )
    async with serving(tmp_path, settings) as server:
        world = World(fake, App(server, good))
        await world.until(lambda proof, stage: proof.outcomes["judged"] >= 3)
        await world.judge_fails_before_anything_is_proven()
        await world.until(lambda proof, stage: stage == "live")
        for prompt in PROMPTS:
            assert 0.5 < (world.app.proof(prompt).sight or 0) < 1, "its judge was calibrated"

        await world.judge_fails_while_the_cards_serve()
        await world.incumbent_fails()
        await world.incumbent_hangs()
        await world.candidate_fails()
        for prompt in PROMPTS:
            state, proof = world.app.state(prompt) or (None, None)
            assert state and state.stage == "live"
            assert proof and set(proof.outcomes) <= {"same", "judged"}
        assert set(world.compared()) <= world.answered(), "only answers of the app's own model are compared"
        await world.the_app_begins_to_converse()
