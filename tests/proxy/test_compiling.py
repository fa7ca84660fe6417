"""`cuecard compile` as a person types it, over a fake upstream; a server's learner is a process that holds the lock."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from compiler.card import Card
from compiler.election import elected
from compiler.learner import Learner
from compiler.llm import Llm
from compiler.registry import Registry
from compiler.steps import Step
from compiler.store import Store
from proxy.cli import main
from proxy.compiling import compile_task
from proxy.configfile import load_settings
from tests.conftest import PRICES
from tests.fake_upstream import Fault

PROMPT = "<prompt>Say good or bad.</prompt>"
MOOD = {"description": "Good or bad?", "output": {"kind": "label", "labels": ["good", "bad"]}}


@pytest.fixture
def config(tmp_path: Path, fake) -> Path:
    settings: dict[str, Any] = {
        "upstreams": {"fake": {"base_url": fake.url, "api_key": "sk-ours"}},
        "models": {"meta": "fake-strong", "production": ["fake-nano"]},
        "prices": PRICES,
        "store": {"url": "file:store"},
        "tasks": {"mood": MOOD},
    }
    file = tmp_path / "cuecard.yaml"
    file.write_text(yaml.safe_dump(settings))
    return file


@pytest.fixture
def cuecard(config: Path):
    async def cuecard(*words: str) -> Result:
        """In a thread: the command has an event loop of its own, the fake upstream runs in this one."""
        return await asyncio.to_thread(CliRunner().invoke, main, [*words, "--config", str(config)])

    return cuecard


class Watched:
    def __init__(self) -> None:
        self.told: list[str] = []
        self.noted = asyncio.Event()

    def step(self, step: Step) -> None:
        self.told.append(str(step))

    def note(self, line: str) -> None:
        self.told.append(line)
        self.noted.set()


async def test_a_task_is_compiled_and_its_card_shown(cuecard, fake):
    fake.answers["fake-strong"] = PROMPT
    done = await cuecard("compile", "mood")
    assert done.exit_code == 0, done.output
    assert "mood: write-prompt: fake-strong answered  ($0." in done.stderr
    assert "card mood@1 for fake-nano" in done.stdout
    assert "Say good or bad." in done.stdout
    assert (await cuecard("tasks")).stdout.count("mood@1") == 1


async def test_every_step_is_shown_afterwards_with_what_it_cost(cuecard, fake):
    fake.answers["fake-strong"] = PROMPT
    assert "nothing was compiled for a task 'mood' yet" in (await cuecard("show", "mood", "--steps")).stderr
    await cuecard("compile", "mood")
    shown = (await cuecard("show", "mood", "--steps")).stdout
    assert "write-prompt" in shown and "fake-strong answered" in shown
    assert shown.splitlines()[-1].startswith("1 calls, $0.0")
    (step,) = json.loads((await cuecard("show", "mood", "--steps", "--json")).stdout)
    assert (step["name"], step["model"], step["calls"]) == ("write-prompt", "fake-strong", 1)


async def test_why_no_card_came_of_a_compile_is_in_its_steps(cuecard, fake):
    fake.answers["fake-strong"] = "I'm sorry, I can't."
    await cuecard("compile", "mood")
    assert "write-prompt" in (await cuecard("show", "mood", "--steps")).stdout
    assert "mood has no card: " in (await cuecard("show", "mood", "--format", "text")).stderr


async def test_a_prompt_can_be_taken_along(cuecard, fake):
    fake.answers["fake-strong"] = PROMPT
    await cuecard("compile", "mood")
    text = (await cuecard("show", "mood", "--format", "text")).stdout
    assert text.strip() == "[system]\nSay good or bad.\n\n[user]\n{input}"
    messages = json.loads((await cuecard("show", "mood", "--format", "openai-messages")).stdout)
    assert messages == [{"role": "system", "content": "Say good or bad."}, {"role": "user", "content": "{input}"}]
    card = Card.from_json(json.loads((await cuecard("show", "mood", "--format", "json")).stdout))
    assert card.program.system == "Say good or bad."


async def test_a_card_at_hand_is_left_alone_unless_again(cuecard, fake):
    fake.answers["fake-strong"] = PROMPT
    await cuecard("compile", "mood")
    assert json.loads((await cuecard("compile", "mood", "--json")).stdout)["card"]["version"] == 1
    assert len(fake.calls_to("fake-strong")) == 1
    assert json.loads((await cuecard("compile", "mood", "--again", "--json")).stdout)["card"]["version"] == 2
    assert len(fake.calls_to("fake-strong")) == 2


async def test_a_failed_compile_says_why_and_the_card_before_stays(cuecard, fake):
    fake.answers["fake-strong"] = "I'm sorry, I can't."
    failed = await cuecard("compile", "mood")
    assert failed.exit_code == 1
    assert "mood: kept (" in failed.stdout
    fake.answers["fake-strong"] = PROMPT
    assert (await cuecard("compile", "mood")).exit_code == 0  # at once, not at the retry time
    fake.answers["fake-strong"] = Fault.respond(400)
    again = await cuecard("compile", "mood", "--again")
    assert again.exit_code == 0
    assert "mood: shadowing (fake-strong: HTTP 400)" in again.stdout
    assert "card mood@1" in again.stdout


async def test_what_a_person_got_wrong_is_one_message_and_code_2(cuecard, config):
    unknown = await cuecard("compile", "moood")
    assert (unknown.exit_code, unknown.stderr) == (
        2,
        "cuecard: no task 'moood' is declared, or was taken up for a compile; `cuecard tasks` lists them\n",
    )
    config.write_text(config.read_text().replace("tasks:", "taks:"))
    assert "did you mean `tasks`?" in (await cuecard("compile", "mood")).stderr


async def test_a_running_servers_learner_does_the_work(config, fake):
    fake.answers["fake-strong"] = PROMPT
    settings = load_settings(config)
    watch = Watched()
    with Store(settings.store.folder) as store:
        async with elected(settings.store.folder):
            asked = asyncio.create_task(compile_task(settings, "mood", again=False, watch=watch))
            async with Llm(settings.background_models(), store, usd_per_day=5) as llm:
                learner = Learner(Registry(store), llm, settings.compile_options(), retry_kept_after=60)
                learning = asyncio.create_task(learner.run())
                view = await asked
                learning.cancel()
                await asyncio.gather(learning, return_exceptions=True)
    assert view.compiled
    assert watch.told == ["mood: the running server compiles it", "write-prompt: fake-strong answered"]
    assert len(fake.calls_to("fake-strong")) == 1


async def test_a_server_that_stops_meanwhile_leaves_the_work_to_the_command(config, fake):
    fake.answers["fake-strong"] = PROMPT
    settings = load_settings(config)
    watch = Watched()
    with Store(settings.store.folder):
        async with elected(settings.store.folder):
            asked = asyncio.create_task(compile_task(settings, "mood", again=False, watch=watch))
            await watch.noted.wait()
    assert (await asked).compiled
