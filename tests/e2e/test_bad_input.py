"""What a person, a client or a candidate gets wrong is answered in a sentence, and nothing falls over."""

import asyncio
import gzip
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.conftest import Server, serving, settings_for
from tests.e2e.test_serve import PROMPT, SENTIMENT
from tests.fake_upstream import Answer, FakeUpstream, Fault

# The commands

UPSTREAM = "upstreams: {openai: {base_url: 'http://127.0.0.1:9/v1', api_key: sk-x}}\n"
TASK = UPSTREAM + "tasks:\n  mood: {description: Good or bad, examples: data.jsonl}\n"
GOOD_LINE = '{"input": "a", "expected": "b"}\n'
CHECK = ("check",)


@dataclass(frozen=True)
class Mistake:
    """`yaml`: None: there is no cuecard.yaml. `says`: parts of the one message."""

    yaml: str | None
    says: tuple[str, ...]
    command: tuple[str, ...] = CHECK
    files: dict[str, bytes] = field(default_factory=dict)


MISTAKES = {
    "a tab in the YAML": Mistake(UPSTREAM + "listen:\n\tport: 1\n", ("cuecard.yaml:3: not YAML",)),
    "a bracket that is not closed": Mistake(UPSTREAM + "listen: {port: 1\nmode: auto\n", ("cuecard.yaml:3: not YAML",)),
    "an unknown key": Mistake(
        UPSTREAM + "listen:\n  prot: 1\n",
        ("cuecard.yaml:3: unknown key `listen.prot`", "did you mean `port`?"),
    ),
    "a variable that is not set": Mistake(
        'upstreams:\n  openai: {base_url: "http://127.0.0.1:9/v1",\n    api_key: "${NOT_SET_ANYWHERE}"}\n',
        ("cuecard.yaml:3: environment variable NOT_SET_ANYWHERE is not set",),
    ),
    "no file and no key": Mistake(None, ("no cuecard.yaml here and OPENAI_API_KEY is not set",), ("serve",)),
    "a file that is not there": Mistake(
        None, ("elsewhere.yaml: can't be read",), ("report", "--config", "elsewhere.yaml")
    ),
    "a broken line among the examples": Mistake(
        TASK,
        ("data.jsonl:2: not JSON",),
        ("serve", "--port", "0"),
        {"data.jsonl": f'{GOOD_LINE}{{"input": \n'.encode()},
    ),
    "an example without its answer": Mistake(
        TASK, ("data.jsonl:3: lacks expected",), files={"data.jsonl": f'{GOOD_LINE}\n{{"input": "a"}}\n'.encode()}
    ),
    "no example in the file": Mistake(TASK, ("data.jsonl: holds no example",), files={"data.jsonl": b"\n"}),
    "a task that is not declared": Mistake(UPSTREAM, ("no task 'nosuch' is declared",), ("show", "nosuch")),
    "a store that is no store": Mistake(
        UPSTREAM, (".cuecard can't be used",), ("tasks",), {".cuecard/cache.db": b"this is no SQLite file" * 400}
    ),
    "a port that can't be": Mistake(UPSTREAM, ("port", "65535"), ("serve", "--port", "99999")),
    "no workers": Mistake(UPSTREAM, ("workers",), ("serve", "--workers", "0")),
}


RUN = """
import json, os, sys, traceback
from proxy.cli import main

def run(command):
    try:
        main(command, prog_name="cuecard")
    except SystemExit as ended:
        return ended.code
    except BaseException:
        traceback.print_exc()
    return 1

started = []
for case in json.load(sys.stdin):
    if not (pid := os.fork()):
        os.chdir(case["folder"])
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), number)
        code = run(case["command"])
        sys.stdout.flush()
        os._exit(code)  # the interpreter's own end takes 30 times as long as a command
    started.append(pid)
print([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in started])
"""


@dataclass
class Ended:
    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    """Each command in a process of its own, forked from one that has done the imports, which take a second."""
    folders = {name: _folder(tmp_path_factory, mistake) for name, mistake in MISTAKES.items()}
    cases = [{"folder": str(folders[name]), "command": mistake.command} for name, mistake in MISTAKES.items()]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OPENAI", "CUECARD"))}
    ran = subprocess.run(
        [sys.executable, "-c", RUN], input=json.dumps(cases), capture_output=True, text=True, env=environment,
        timeout=60, check=True,
    )  # fmt: skip
    codes = dict(zip(MISTAKES, json.loads(ran.stdout), strict=True))
    return {n: Ended(codes[n], (f / "out").read_text(), (f / "err").read_text()) for n, f in folders.items()}


def _folder(factory: pytest.TempPathFactory, mistake: Mistake) -> Path:
    folder = factory.mktemp("mistake")
    if mistake.yaml is not None:
        (folder / "cuecard.yaml").write_text(mistake.yaml)
    for path, content in mistake.files.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


@pytest.mark.parametrize("name", MISTAKES)
def test_a_persons_mistake_ends_the_command_with_a_message_and_code_2(name: str, ended: dict[str, Ended]) -> None:
    found = ended[name]
    assert "Traceback" not in found.err, found.err
    assert found.code == 2
    assert not found.out
    for part in MISTAKES[name].says:
        assert part in found.err


def test_the_installed_command_ends_like_that(tmp_path: Path) -> None:
    (tmp_path / "cuecard.yaml").write_text(MISTAKES["an unknown key"].yaml or "")
    command = Path(sys.executable).with_name("cuecard")
    ran = subprocess.run([command, "serve"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == "cuecard: cuecard.yaml:3: unknown key `listen.prot`; did you mean `port`?\n"


# The server


@dataclass
class Place:
    server: Server
    fake: FakeUpstream
    processes: set[int]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    """One server for all of them, with one task compiled: whatever comes, it must be there for the next."""
    folder = tmp_path_factory.mktemp("server")
    async with FakeUpstream() as fake:
        fake.answers["fake-strong"] = PROMPT
        fake.answers["fake-nano"] = "good"
        async with serving(folder, settings_for(fake, folder, tasks={"sentiment": SENTIMENT})) as server:
            async with await server.chat({"model": "task:sentiment", "messages": MESSAGES}) as answer:
                assert answer.headers["X-Cuecard-Route"] == "compiled"
            yield Place(server, fake, children(server))


@pytest_asyncio.fixture(loop_scope="module")
async def alive(place: Place) -> AsyncIterator[Place]:
    """Afterwards the same processes run and answer, and none of them has met an error it did not foresee."""
    before = await unforeseen(place.server)
    yield place
    assert await unforeseen(place.server) == before
    async with place.server.http.get(f"{place.server.url}/health/live") as answer:
        assert (answer.status, await answer.json()) == (200, {"status": "ok"})
    async with await place.server.chat({"model": "fake-mini", "messages": MESSAGES}) as answer:
        assert answer.status == 200
    assert children(place.server) == place.processes


async def unforeseen(server: Server) -> list[str]:
    """The counters of what the proxy got over, though it is a mistake of its own."""
    own = ('cuecard_original_total{reason="internal_error"}', 'cuecard_observations_dropped_total{reason="meter"}')
    return [line for line in (await server.metrics()).splitlines() if line.startswith(own)]


def children(server: Server) -> set[int]:
    command = ["pgrep", "-P", str(server.process.pid)]
    return {int(pid) for pid in subprocess.run(command, capture_output=True, text=True).stdout.split()}


MESSAGES = [{"role": "user", "content": "nice"}]
CHAT = "/v1/chat/completions"
TASKS = "/admin/tasks"
JSON = {"Content-Type": "application/json"}
GZIP = {**JSON, "Content-Encoding": "gzip"}


def task_call(**changed: Any) -> bytes:
    return json.dumps({"model": "task:sentiment", "messages": MESSAGES, **changed}).encode()


def declared(**changed: Any) -> bytes:
    return json.dumps({"name": "joke", "description": "Tell a joke.", **changed}).encode()


@dataclass(frozen=True)
class Wrong:
    body: bytes
    status: int = 400
    param: str | None = None
    path: str = CHAT
    method: str = "POST"
    headers: dict[str, str] = field(default_factory=lambda: JSON)


OURS = {
    "an empty body": Wrong(b""),
    "half a JSON object": Wrong(b'{"model": "fake-mini", "messages": ['),
    "a JSON array": Wrong(b'[{"model": "fake-mini"}]'),
    "a JSON string": Wrong(b'"fake-mini"'),
    "bytes that are no UTF-8": Wrong(b'{"model": "fake-mini", "user": "\xff\xfe"}'),
    "JSON nested without end": Wrong(b"[" * 100_000),
    "a body that is not gzip": Wrong(b'{"model": "fake-mini"}', headers=GZIP),
    "half a gzip body": Wrong(gzip.compress(task_call())[:-20], headers=GZIP),
    "an encoding nobody reads": Wrong(b"{}", headers={**JSON, "Content-Encoding": "zstd"}),
    "no JSON by its content type": Wrong(task_call(), headers={"Content-Type": "text/plain"}),
    "a form": Wrong(b"model=fake-mini", headers={"Content-Type": "application/x-www-form-urlencoded"}),
    "a task nobody declared": Wrong(task_call(model="task:nosuch"), 404, "model"),
    "a task without a name": Wrong(task_call(model="task:"), 404, "model"),
    "no messages for a task": Wrong(task_call(messages=None), 400, "messages"),
    "text as a task's messages": Wrong(task_call(messages="nice"), 400, "messages"),
    "texts as a task's messages": Wrong(task_call(messages=["nice"]), 400, "messages"),
    "empty messages for a task": Wrong(task_call(messages=[]), 400, "messages"),
    "no user among a task's messages": Wrong(
        task_call(messages=[{"role": "assistant", "content": "x"}]), 400, "messages"
    ),
    "a model nobody declared": Wrong(b"", 404, "model", "/v1/models/task:nosuch", "GET"),
    "a base URL without /v1": Wrong(task_call(), 404, path="/chat/completions"),
    "declaring with an empty body": Wrong(b"", path=TASKS),
    "declaring with half an object": Wrong(b'{"name": ', path=TASKS),
    "declaring a list": Wrong(b"[]", path=TASKS),
    "declaring without a name": Wrong(b'{"description": "x"}', 400, "name", TASKS),
    "declaring a number as name": Wrong(declared(name=5), 400, "name", TASKS),
    "declaring a name with a slash": Wrong(declared(name="a/b"), 400, "name", TASKS),
    "declaring without a description": Wrong(b'{"name": "joke"}', 400, "description", TASKS),
    "declaring a number as description": Wrong(declared(description=5), 400, "description", TASKS),
    "declaring an unknown key": Wrong(declared(descriptoin="x"), 400, "descriptoin", TASKS),
    "declaring an unknown trust": Wrong(declared(trust="blind"), 400, "trust", TASKS),
    "declaring labels as text": Wrong(declared(output={"kind": "label", "labels": "x"}), 400, "output.labels", TASKS),
    "declaring labels without any": Wrong(declared(output={"kind": "label"}), 400, "output", TASKS),
    "declaring an object as examples": Wrong(declared(examples={"input": "x"}), 400, "examples", TASKS),
    "declaring a broken example": Wrong(
        declared(examples=[{"input": "x", "expected": "y"}, {"input": 5, "expected": "y"}]), 400, "examples", TASKS
    ),
    "a task to show that nobody declared": Wrong(b"", 404, None, f"{TASKS}/nosuch", "GET"),
    "a task to remove that nobody declared": Wrong(b"", 404, None, f"{TASKS}/nosuch", "DELETE"),
    "an admin page that is not there": Wrong(b"", 404, None, "/admin/nosuch", "GET"),
    "a method that is not there": Wrong(declared(), 404, None, TASKS, "PUT"),
}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", OURS)
async def test_what_is_ours_to_refuse_is_refused_in_openais_shape_and_asks_no_upstream(name: str, alive: Place) -> None:
    wrong = OURS[name]
    asked = len(alive.fake.calls)
    async with alive.server.http.request(
        wrong.method, f"{alive.server.url}{wrong.path}", data=wrong.body, headers=wrong.headers
    ) as answer:
        text = await answer.text()
    assert answer.status == wrong.status, text
    assert answer.content_type == "application/json", text
    error = json.loads(text)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert (error["type"], error["param"]) == ("invalid_request_error", wrong.param)
    assert len(alive.fake.calls) == asked


def plain(**changed: Any) -> bytes:
    return json.dumps({"model": "fake-mini", "messages": MESSAGES, **changed}).encode()


NOT_OURS = {
    "an empty object": b"{}",
    "an empty object with blanks": b" {\n} ",
    "no model": b'{"messages": []}',
    "a number as model": plain(model=5),
    "a list as model": plain(model=["fake-mini"]),
    "null as model": plain(model=None),
    "text as messages": plain(messages="nice"),
    "texts as messages": plain(messages=["nice"]),
    "a number as messages": plain(messages=5),
    "text as stream": plain(stream="true"),
    "a number as stream_options": plain(stream=True, stream_options=5),
    "text as metadata": plain(metadata="task"),
    "a number as metadata's task": plain(metadata={"task": 5}),
    "a key twice": b'{"model": "other", "model": "fake-mini", "messages": []}',
    "an unheard-of key": plain(unheard_of={"of": [1.50, None]}),
    "a huge number": b'{"model": "fake-mini", "seed": 123456789012345678901234567890}',
}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("headers", [JSON, GZIP], ids=["plain", "gzip"])
@pytest.mark.parametrize("name", NOT_OURS)
async def test_what_is_the_upstreams_to_refuse_gets_there_byte_for_byte_and_so_does_its_refusal(
    name: str, headers: dict[str, str], alive: Place
) -> None:
    raw = gzip.compress(NOT_OURS[name]) if headers is GZIP else NOT_OURS[name]
    refusal = b'{"error": {"message": "the upstream\'s own words",  "type": "x", "param": null, "code": null}}'
    alive.fake.queue("*", Fault.respond(422, JSON, refusal))
    async with alive.server.http.post(f"{alive.server.url}{CHAT}", data=raw, headers=headers) as answer:
        assert (answer.status, await answer.read()) == (422, refusal)
    assert alive.fake.calls[-1].body == raw


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "changed",
    [
        {"messages": [{"role": "user", "content": 5}]},
        {"messages": [{"role": ["user"], "content": "x"}, *MESSAGES]},
        {"stream": "yes"},
        {"stream": True, "stream_options": 5},
        {"temperature": "hot", "max_tokens": "many", "metadata": 7, "n": None},
        {"response_format": "json", "reasoning_effort": 5},
    ],
    ids=lambda changed: ", ".join(changed),
)
async def test_odd_parameters_of_a_task_are_the_upstreams_to_refuse(changed: dict[str, Any], alive: Place) -> None:
    refusal = Fault.respond(400)
    alive.fake.queue("fake-nano", refusal, refusal)  # the card's call, then the fallback's
    async with alive.server.http.post(f"{alive.server.url}{CHAT}", data=task_call(**changed), headers=JSON) as answer:
        assert (answer.status, (await answer.json())["error"]["message"]) == (400, "fake 400")
    alive.fake._queues.clear()


# The candidate


def events(*payloads: Any) -> Answer:
    body = b"".join(b"data: " + json.dumps(payload).encode() + b"\n\n" for payload in payloads)
    return Fault.respond(200, {"Content-Type": "text/event-stream"}, body)


def answered(body: Any) -> Answer:
    return Fault.respond(200, JSON, body if isinstance(body, bytes) else json.dumps(body).encode())


SENSELESS = {
    "no JSON": answered(b"<html>"),
    "nothing": answered(b""),
    "a list": answered([]),
    "no choices": answered({"choices": []}),
    "null for a choice": answered({"choices": [None]}),
    "a number for the text": answered({"choices": [{"message": {"content": 5}, "finish_reason": "stop"}]}),
    "a stream of nothing": events(),
    "a stream of no JSON": Fault.respond(200, {"Content-Type": "text/event-stream"}, b"data: <html>\n\n"),
    "a stream with null for a choice": events({"choices": [None]}),
    "a stream with a number for choices": events({"choices": 5}),
    "a stream with a number for the text": events({"choices": [{"delta": {"content": 5}}]}),
}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", SENSELESS)
async def test_a_candidates_senseless_answer_is_replaced_by_another_models(name: str, alive: Place) -> None:
    alive.fake.queue("fake-nano", SENSELESS[name], "good")
    async with alive.server.http.post(
        f"{alive.server.url}{CHAT}", data=task_call(stream="stream" in name), headers=JSON
    ) as answer:
        text = await answer.text()
    alive.fake._queues.clear()
    assert answer.status == 200, text
    assert answer.headers["X-Cuecard-Route"] == "fallback"
    assert "good" in text


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("usage", [5, [], {"prompt_tokens": "many"}, {"prompt_tokens_details": 5}], ids=str)
async def test_an_upstreams_odd_usage_takes_no_answer_from_the_client(usage: Any, alive: Place) -> None:
    body = b'{"choices": [], "model": "fake-mini", "usage": %s}' % json.dumps(usage).encode()
    alive.fake.queue("fake-mini", Fault.respond(200, JSON, body))
    async with await alive.server.chat({"model": "fake-mini", "messages": MESSAGES}) as answer:
        assert (answer.status, await answer.read()) == (200, body)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_streamed_breach_is_booked_by_the_usage_that_follows_it(alive: Place) -> None:
    """The text alone does not tell what a reasoning candidate cost."""
    told = {
        "prompt_tokens": 900,
        "completion_tokens": 77,
        "prompt_tokens_details": {"cached_tokens": 640},
        "completion_tokens_details": {"reasoning_tokens": 64},
    }
    alive.fake.queue("fake-nano", Fault.slow({"content": "well, it is good", "usage": told}), "good")
    before, asked = await tokens(alive.server), len(alive.fake.calls)
    client = asyncio.create_task(alive.server.chat(json.loads(task_call(stream=True))))
    alive.fake.step(6)  # its role, four pieces, its end
    with suppress(TimeoutError):
        async with asyncio.timeout(0.5):  # the other model is asked before the usage is there, or after it
            await alive.fake.wait_until(lambda: len(alive.fake.calls) == asked + 2)
    alive.fake.step(1)
    async with await client as answer:
        assert answer.headers["X-Cuecard-Route"] == "fallback"
        assert b"good" in await answer.read()
    with suppress(TimeoutError):
        async with asyncio.timeout(2):
            while (await tokens(alive.server))["cached_input"] == before["cached_input"]:
                await asyncio.sleep(0.02)
    alive.fake._steps = asyncio.Semaphore(0)
    booked = await tokens(alive.server)
    assert (booked["cached_input"] - before["cached_input"], booked["reasoning"] - before["reasoning"]) == (640, 64)


async def tokens(server: Server) -> Counter[str]:
    found: Counter[str] = Counter()
    for family in text_string_to_metric_families(await server.metrics()):
        for sample in family.samples:
            if sample.name == "cuecard_tokens_total":
                found[sample.labels["type"]] += int(sample.value)
    return found
