"""A key is found in no log, error, metric, store row, crash dump, process list or request to another host than its own:
every key is a canary, every route is driven in good and in bad weather, and then everything is searched."""

import asyncio
import base64
import json
import os
import resource
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from click.testing import CliRunner

from compiler.store import Store
from proxy.cli import main
from tests.canaries import Canaries
from tests.conftest import PRICES
from tests.e2e.conftest import Server, serving
from tests.fake_upstream import FakeUpstream, Fault

PATIENCE = 20.0
TASK = {"trust": "declared", "output": {"kind": "label", "labels": ["good", "bad"]}}
TASKS = {
    "fine": {**TASK, "description": "Say whether the text is good or bad.", "incumbent": "fake-mini"},
    "doomed": {**TASK, "description": "The meta model's upstream refuses our key for this one."},
    "broken": {**TASK, "description": "The learner itself fails at this one."},
}
# What a bug would do: an exception that quotes the headers, or our key. Python imports it by itself at its start.
BUGS = """
import sys

if "proxy.worker" in sys.orig_argv:
    import proxy.gateway
    import proxy.meter

    decide, label = proxy.gateway.decide, proxy.meter.Meter.label

    def broken_decide(call, *rest, **more):
        if "decide" in call.model:
            raise RuntimeError(f"no sense in {call.headers}")
        return decide(call, *rest, **more)

    def broken_label(meter, exchange):
        if exchange.attempt.model == "bug-meter":
            raise RuntimeError(f"no label for {exchange.attempt.endpoint.api_key}")
        return label(meter, exchange)

    proxy.gateway.decide, proxy.meter.Meter.label = broken_decide, broken_label

if "proxy.learning" in sys.orig_argv:
    import compiler.llm

    read = compiler.llm.Llm._read

    def broken_read(llm, reply, *rest):
        if reply.choices[0].message.content == "bug":
            raise RuntimeError(f"no sense in an answer to {[c.api_key for c in llm._clients.values()]}")
        return read(llm, reply, *rest)

    compiler.llm.Llm._read = broken_read
"""


@dataclass
class Scene:
    """`first` is asked by all that names no other upstream; `second` runs the cards."""

    server: Server
    folder: Path
    canaries: Canaries
    first: FakeUpstream
    second: FakeUpstream
    client: dict[str, str]  # the headers of a client that may call, with a canary wherever a key may be
    shown: dict[str, bytes] = field(default_factory=dict)  # head and body of every answer, by what was asked

    async def ask(self, name: str, method: str, path: str, *, echo: bool = False, **more: Any) -> tuple[int, Any]:
        """`echo`: the upstream's body quotes a key, and is passed on as it is; only its head is ours."""
        more.setdefault("headers", self.client)
        async with self.server.http.request(method, f"{self.server.url}{path}", **more) as answer:
            body = await answer.read()
        self.shown[name] = repr(answer.raw_headers).encode() + (b"" if echo else body)
        return answer.status, answer

    async def chat(self, name: str, model: str, *, echo: bool = False, **body: Any) -> tuple[int, Any]:
        content = {"model": model, "messages": [{"role": "user", "content": "nice"}], **body}
        query = f"?api_key={self.canaries['query']}"
        return await self.ask(name, "POST", f"/v1/chat/completions{query}", echo=echo, json=content)

    async def raw(self, name: str, data: bytes) -> None:
        url = urlsplit(self.server.url)
        reader, writer = await asyncio.open_connection(url.hostname, url.port)
        writer.write(data)
        async with asyncio.timeout(PATIENCE):
            self.shown[name] = await reader.read()
        writer.close()

    def children(self) -> list[int]:
        listed = Path(f"/proc/{self.server.process.pid}/task/{self.server.process.pid}/children").read_text()
        return [int(pid) for pid in listed.split()]


def quoting(status: int, key: str) -> Fault:
    return Fault.respond(status, body={"error": {"message": f"Incorrect API key provided: {key}", "code": None}})


def models(fake: FakeUpstream, key: str) -> None:
    """Meta model, current model and cheap model in one: what each says depends on what it is asked."""
    fake.headers = {"x-request-id": "req-1"}
    prompt = "<prompt>Say good or bad.</prompt>"
    strong = {"refuses": quoting(401, key), "fails": "bug"}
    fake.answers["fake-strong"] = lambda request: next(
        (answer for word, answer in strong.items() if word in json.dumps(request)), prompt
    )
    fake.answers |= {"fake-mini": "good", "fake-nano": "good", "fake-quotes": quoting(400, key)}
    fake.answers |= {"/v1/files/quotes": quoting(403, key), "fake-hangs-up": Fault.disconnect()}


@pytest.fixture
def dumps_allowed() -> Iterator[None]:
    """As where a crash would leave its memory on the disk, if nothing forbade it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))


@pytest.fixture(params=["our key", "the clients' keys"])
async def scene(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dumps_allowed: None
) -> AsyncIterator[Scene]:
    """`our key`: the first upstream is called with ours, and clients need one of `auth.keys`; its log is JSON.
    `the clients' keys`: each client's own is passed on to it; the log is text."""
    canaries, ours = Canaries(), request.param == "our key"
    for name in ("second", "unreachable", "no TLS", "admin", *(("first", "shop") if ours else ())):
        monkeypatch.setenv(f"CANARY_{name.replace(' ', '_').upper()}", canaries[name])
    for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, canaries[name])
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", f"X-Gateway-Auth: {canaries['custom header']}")
    monkeypatch.setenv("PYTHONFAULTHANDLER", "1")
    (tmp_path / "bugs").mkdir()
    (tmp_path / "bugs" / "sitecustomize.py").write_text(BUGS)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path / "bugs"), str(Path.cwd()))))
    async with AsyncExitStack() as stack:
        first, second = [await stack.enter_async_context(FakeUpstream()) for _ in range(2)]
        models(first, canaries["first"])
        models(second, canaries["second"])
        second.keys = {canaries["second"]}
        first.keys = {canaries["first" if ours else "client"]}
        auth = {"keys": [{"key": "${CANARY_SHOP}", "tenant": "shop"}]} if ours else {}
        settings: dict[str, Any] = {
            "listen": {"port": 0},
            "upstreams": {
                "first": {"base_url": first.url, **({"api_key": "${CANARY_FIRST}"} if ours else {})},
                "second": {"base_url": second.url, "api_key": "${CANARY_SECOND}"},
                "gone": {"base_url": "http://127.0.0.1:9/v1", "api_key": "${CANARY_UNREACHABLE}"},
                "plain": {"base_url": first.url.replace("http:", "https:"), "api_key": "${CANARY_NO_TLS}"},
            },
            "models": {"meta": "second/fake-strong", "judge": "fake-judge", "production": ["second/fake-nano"]},
            "prices": {name: dict(price) for name, price in PRICES.items()},
            "store": {"url": f"file:{tmp_path / 'store'}"},
            "auth": {**auth, "admin_token": "${CANARY_ADMIN}"},
            "log": {"format": "json" if ours else "text"},
            "tasks": TASKS,
        }
        client = {
            "Authorization": f"Bearer {canaries['client']}",
            "X-Cuecard-Key": canaries["shop"],
            "api-key": canaries["api-key"],
            "X-Api-Key": canaries["x-api-key"],
            "X-Goog-Api-Key": canaries["x-goog-api-key"],
            "Cookie": f"session={canaries['cookie']}",
            "OpenAI-Organization": canaries["organization"],
            "OpenAI-Project": canaries["project"],
        }
        server = await stack.enter_async_context(serving(tmp_path, settings))
        yield Scene(server, tmp_path, canaries, first, second, client)


async def drive(scene: Scene) -> None:
    await good_weather(scene)
    await bad_weather(scene)
    await strangers(scene)
    await no_http(scene)
    await cards(scene)


async def good_weather(scene: Scene) -> None:
    for stream in (False, True):
        status, _ = await scene.chat(f"chat {stream=}", "fake-mini", stream=stream)
        assert status == 200
        assert (await scene.chat(f"second {stream=}", "second/fake-mini", stream=stream))[0] == 200
    query = f"after=x&api_key={scene.canaries['query']}"
    assert (await scene.ask("embeddings", "POST", "/v1/embeddings", json={"model": "e", "input": "x"}))[0] == 200
    assert (await scene.ask("models", "GET", f"/v1/models?{query}"))[0] == 200
    assert (await scene.ask("a model", "GET", "/v1/models/task:fine"))[0] == 200
    assert (await scene.ask("files", "GET", f"/v1/files?{query}", echo=True))[0] == 200
    form = aiohttp.FormData({"purpose": "x"})
    form.add_field("file", b"content", filename="f.txt")
    assert (await scene.ask("upload", "POST", "/v1/files", data=form, echo=True))[0] == 200
    assert (await scene.ask("delete", "DELETE", "/v1/files/f", echo=True))[0] == 200
    protocols = ("realtime", f"openai-insecure-api-key.{scene.canaries['client']}")
    socket = scene.server.http.ws_connect(
        f"{scene.server.url}/v1/realtime?model=m", headers=scene.client, protocols=protocols
    )
    async with socket as opened:
        await opened.send_str("hello")
        assert await opened.receive_str(timeout=PATIENCE) == "hello"
    admin = {"Authorization": f"Bearer {scene.canaries['admin']}"}
    for path in ("/admin/tasks", "/admin/tasks/fine", "/admin/report"):
        assert (await scene.ask(path, "GET", path, headers=admin))[0] == 200
    for path in ("/metrics", "/health/live", "/health/ready"):
        assert (await scene.ask(path, "GET", path))[0] == 200


async def bad_weather(scene: Scene) -> None:
    for name, status in {
        "fake-quotes": 400,
        "second/fake-quotes": 400,
        "fake-hangs-up": 502,
        "gone/m": 502,
        "plain/m": 502,
        "task:nope": 404,
        "task:bug-decide": 500,
        "bug-decide": 200,
        "bug-meter": 200,
    }.items():
        assert (await scene.chat(name, name, echo="quotes" in name))[0] == status, name
    assert (await scene.ask("quoting", "GET", "/v1/files/quotes", echo=True))[0] == 403
    assert (await scene.ask("elsewhere", "GET", f"/elsewhere?key={scene.canaries['query']}"))[0] == 404
    json_type = {**scene.client, "Content-Type": "application/json"}
    for name, data in {"no JSON": b'{"model": ', "no object": b"[]", "no gzip": b"\x1f\x8b\xff"}.items():
        coding = {"Content-Encoding": "gzip"} if name == "no gzip" else {}
        asked = await scene.ask(name, "POST", "/v1/chat/completions", data=data, headers={**json_type, **coding})
        assert asked[0] == 400
    admin = {"Authorization": f"Bearer {scene.canaries['admin']}"}
    assert (await scene.ask("no task", "POST", "/admin/tasks", json={"name": "x", "a": 1}, headers=admin))[0] == 400
    assert (await scene.ask("no such", "GET", "/admin/tasks/nope", headers=admin))[0] == 404


async def strangers(scene: Scene) -> None:
    wrong = scene.canaries["wrong"]
    for name, headers in {
        "a wrong bearer": {"Authorization": f"Bearer {wrong}"},
        "a wrong header": {"X-Cuecard-Key": wrong},
        "basic": {"Authorization": "Basic " + base64.b64encode(f"u:{wrong}".encode()).decode()},
        "a wrong protocol": {"Sec-WebSocket-Protocol": f"openai-insecure-api-key.{wrong}"},
        "a foreign page": {"Authorization": f"Bearer {wrong}", "Origin": "https://evil.example"},
    }.items():
        for path in ("/v1/chat/completions", "/v1/files", "/admin/tasks"):
            status, _ = await scene.ask(
                f"{name} {path}", "POST", path, headers=headers, json={"model": "fake-quotes"}, echo=True
            )
            assert status >= 400 or path == "/v1/files"


async def no_http(scene: Scene) -> None:
    key = scene.canaries["malformed"].encode()
    host = b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    for name, data in {
        "no text": b"GET /v1/files" + host + b"Authorization: Bearer \xff\xfe" + key + b"\r\n\r\n",
        "no text in ours": b"GET /v1/files" + host + b"X-Cuecard-Key: \xe9" + key + b"\r\n\r\n",
        "a line feed": b"GET /v1/files" + host + b"Authorization: Bearer \n" + key + b"\r\n\r\n",
        "a folded key": b"GET /v1/files" + host + b"Authorization: Bearer\r\n " + key + b"\r\n\r\n",
        "a NUL": b"GET /v1/files" + host + b"Authorization: Bearer " + key + b"\x00\r\n\r\n",
        "spaces": b"GET /v1/files" + host + b"Authorization: Bearer  " + key + b" \t x\r\n\r\n",
        "too long": b"GET /v1/files" + host + b"Authorization: Bearer " + key * 2_000 + b"\r\n\r\n",
        "a long query": b"GET /v1/files?api_key=" + key * 2_000 + host + b"\r\n",
        "a name": b"GET /v1/files" + host + key + b"\x01: x\r\n\r\n",
        "nothing but": key + b"\r\n\r\n",
        "a whole URL": b"GET http://u:" + key + b"@localhost/v1/files" + host + b"\r\n",
        "a chunk": b"POST /v1/files" + host + b"Transfer-Encoding: chunked\r\n\r\n" + key + b"\r\n",
    }.items():
        await scene.raw(name, data)
        if not scene.shown[name].startswith((b"HTTP/1.1 4", b"HTTP/1.0 4")):
            assert b"x-request-id: req-1" in scene.shown[name], name  # the upstream's answer, with its echo
            scene.shown[name] = scene.shown[name].partition(b"\r\n\r\n")[0]


async def cards(scene: Scene) -> None:
    """The learner compiles: one task well, one with an upstream that refuses its key, one with a bug of its own."""
    admin = {"Authorization": f"Bearer {scene.canaries['admin']}"}
    for task in TASKS:
        await scene.chat(f"first {task}", "fake-mini", metadata={"task": task})

    async def stages() -> dict[str, tuple[str, str]]:
        async with scene.server.http.get(f"{scene.server.url}/admin/tasks", headers=admin) as answer:
            found = (await answer.json())["tasks"]
        return {t["task"]["name"]: (t["state"]["stage"], t["state"]["reason"]) for t in found}

    wanted = {
        "fine": ("live", ""),
        "doomed": ("kept", "second/fake-strong: HTTP 401"),
        "broken": ("kept", "internal error (RuntimeError)"),
    }
    async with asyncio.timeout(PATIENCE):
        while await stages() != wanted:
            await asyncio.sleep(0.02)
        while (await scene.chat("compiled", "fake-mini", metadata={"task": "fine"}))[1].headers[
            "X-Cuecard-Route"
        ] != "compiled":
            await asyncio.sleep(0.02)
    assert (await scene.chat("virtual", "task:fine", stream=True))[0] == 200
    scene.second.queue("fake-nano", quoting(500, scene.canaries["second"]))
    fallen = await scene.chat("fallback", "fake-mini", metadata={"task": "fine"})
    assert fallen[1].headers["X-Cuecard-Route"] == "fallback"
    await scene.ask("tasks afterwards", "GET", "/admin/tasks", headers=admin)


async def crash(scene: Scene) -> None:
    """As a bug in a C library would end a worker."""
    before = set(Path.cwd().glob("core*"))
    worker = next(pid for pid in scene.children() if arguments(pid).endswith(b"proxy.worker\0"))
    for pid in (*scene.children(), scene.server.process.pid):
        assert core_limit(pid) in (0, 1), "a limit of one byte is what neither a file nor a program gets a dump by"
    os.kill(worker, signal.SIGABRT)
    async with asyncio.timeout(PATIENCE):
        while not any("is replaced" in line for line in scene.server.log):
            await asyncio.sleep(0.02)
        while not await answers(scene):
            await asyncio.sleep(0.02)
    assert set(Path.cwd().glob("core*")) == before
    assert not list(scene.folder.rglob("core*"))


async def answers(scene: Scene) -> bool:
    try:
        return (await scene.chat("after the crash", "fake-mini"))[0] == 200
    except aiohttp.ClientError:
        return False


def arguments(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def core_limit(pid: int) -> int:
    limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
    return int(next(line for line in limits if line.startswith("Max core file size")).split()[4])


def processes(scene: Scene) -> dict[str, bytes]:
    """What others on the machine may see of them. The supervisor's environment is the one it was given."""
    children = scene.children()
    assert len(children) == 2
    told = {f"arguments of {pid}": arguments(pid) for pid in (*children, scene.server.process.pid)}
    told |= {f"environment of {pid}": Path(f"/proc/{pid}/environ").read_bytes() for pid in children}
    return told


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def temporary(environment: bytes) -> Path:
    variables = dict(pair.partition(b"=")[::2] for pair in environment.split(b"\0"))
    return Path(os.fsdecode(variables[b"PROMETHEUS_MULTIPROC_DIR"]))


def rows(folder: Path) -> dict[str, bytes]:
    with Store(folder) as store:
        return {f"row {key}": json.dumps([key, store.get(key)]).encode() for key in store.keys("")}


def commands(scene: Scene) -> dict[str, bytes]:
    config, shown = ["--config", str(scene.folder / "cuecard.yaml")], {}
    for command in (["check"], ["report"], ["tasks"], ["show", "fine"], ["show", "doomed"]):
        for more in ([], ["--json"]) if command != ["check"] else ([],):
            ended = CliRunner().invoke(main, [*command, *config, *more])
            assert ended.exit_code == 0, ended.output
            shown[f"cuecard {' '.join(command + more)}"] = ended.output.encode()
    return shown


def received(fake: FakeUpstream) -> bytes:
    return b"\n".join(repr((call.path, call.headers, call.body)).encode() for call in fake.calls)


CLIENTS = {"client", "api-key", "x-api-key", "x-goog-api-key", "cookie", "organization", "project", "query"}


async def test_a_key_is_found_nowhere_but_at_its_own_upstream(scene: Scene) -> None:
    await drive(scene)
    searched = processes(scene)
    searched |= files(temporary(next(text for name, text in searched.items() if name.startswith("environment"))))
    searched |= files(scene.folder / "store")  # the journal too, which goes with the server
    assert [name for name in searched if name.endswith(".journal")]
    assert [name for name in searched if name.endswith("cache.db-wal")]
    await crash(scene)
    searched |= commands(scene)
    await scene.ask("metrics", "GET", "/metrics")
    await scene.server.stop()
    searched |= files(scene.folder / "store") | rows(scene.folder / "store")
    searched |= {f"answer to {name}": shown for name, shown in scene.shown.items()}
    searched["log"] = "".join(scene.server.log).encode()
    environment = {"OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "custom header"}  # not ours to take out of a child's
    leaks = {
        name: found
        for name, data in searched.items()
        if (found := scene.canaries.found(data, but=environment if name.startswith("environment") else ()))
    }
    assert leaks == {}
    ours = scene.first.keys == {scene.canaries["first"]}
    its_own = {"first"} if ours else CLIENTS | {"wrong", "malformed"}
    assert scene.canaries.found(received(scene.first), but=its_own) == set()
    assert scene.canaries.found(received(scene.second)) == {"second"}
    for call in scene.second.calls:
        assert call.header("authorization") == f"Bearer {scene.canaries['second']}"
    if ours:
        for call in scene.first.calls:
            assert call.header("authorization") == f"Bearer {scene.canaries['first']}"
    the_bugs_were_met(searched["log"].decode())


def the_bugs_were_met(log: str) -> None:
    for said in ("is passed on as it came", "could not be metered", "compile of broken", "RuntimeError at "):
        assert said in log, said
    assert "a request was refused: " in log


@pytest.mark.parametrize("scene", ["our key"], indirect=True)
async def test_the_search_finds_a_key_that_is_there(scene: Scene) -> None:
    """The control: a key is told to the server where it keeps and logs what it is told."""
    canaries = scene.canaries
    admin = {"Authorization": f"Bearer {canaries['admin']}"}
    task = {"name": "told", "description": f"Our key is {canaries['told']}"}
    assert (await scene.ask("told", "POST", "/admin/tasks", json=task, headers=admin))[0] == 201
    await scene.ask("shown", "GET", "/admin/tasks/told", headers=admin)
    assert (await scene.chat("logged", canaries["logged"][:20]))[0] == 200
    config = ["--config", str(scene.folder / "cuecard.yaml")]
    assert canaries.found(CliRunner().invoke(main, ["tasks", *config, "--json"]).output) == {"told"}
    assert canaries.found(scene.shown["shown"]) == {"told"}
    await scene.server.stop()
    kept = files(scene.folder / "store")
    assert "told" in canaries.found(b"".join(kept.values()))
    assert [name for name, data in rows(scene.folder / "store").items() if canaries.found(data)] != []
    assert canaries.found("".join(scene.server.log)) == {"logged"}
    assert "client" in canaries.found(received(scene.first)) or "first" in canaries.found(received(scene.first))


def test_a_key_is_found_in_whatever_form_it_was_written_down() -> None:
    canaries = Canaries()
    key = canaries["it"]
    canaries["another"]
    plain = f"Authorization: Bearer {key}".encode()
    for written in (
        plain,
        plain.upper(),
        plain.hex().encode(),
        "".join(f"%{byte:02X}" for byte in plain).encode(),
        *(base64.b64encode(b"u" * length + b":" + key.encode() + b" more") for length in range(4)),
        key[:12].encode(),
        f"…{key[-12:]}".encode(),
        b"\xff\x00" + key.encode() + b"\xff",
        json.dumps({"key": key}).encode(),
    ):
        assert canaries.found(written) == {"it"}, written
    assert canaries.found(key[:10] + " " + key[-10:]) == set()
    assert canaries.found(plain, but=["it"]) == set()
