"""The scripted upstream of a day, with a log of its own: `python -m bench.day.upstream LOG`, until its input ends.

It knows who asks by the User-Agent, as any provider does: the app has its own, and Cuecard passes it on. What
Cuecard asks for itself is told apart by the model and, the compile's from the shadow's, by the temperature.
"""

import asyncio
import itertools
import re
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import orjson
import uvloop
from aiohttp import web

from bench.day.traffic import (
    AGENT,
    CANDIDATE,
    INCUMBENT,
    JUDGE,
    KINDS,
    META,
    answer,
    found,
    prompt_tokens,
    tokens,
    untold,
    usd,
    verdict,
)

SECONDS = {INCUMBENT: 0.6, CANDIDATE: 0.05, JUDGE: 0.05, META: 0.1}  # until they answer
TAG = re.compile(r"<(\w+)-([0-9a-f]{16})>\n(.*?)\n</\1-\2>", re.DOTALL)
WRITTEN = (
    "<prompt>You do one task for a furniture shop, on the message that follows the dashes, and do it exactly as the "
    "message itself asks. Read the instructions before the dashes first, then all of the text, then decide. Answer in "
    "the form that the instructions ask for, letter for letter, and write nothing before or after it. Where two "
    "answers seem to fit, go by what is said last. Do not explain yourself.</prompt>"
)


class Line(NamedTuple):
    """One call. `role` as the upstream can tell; `kind`: the task whose text it is about, "-" where that is none."""

    at: float
    role: str
    model: str
    kind: str
    input: int
    output: int

    @property
    def usd(self) -> float:
        return usd(self.model, self.input, self.output)

    def row(self) -> str:
        return "\t".join(map(str, self)) + "\n"


def read(lines: Iterable[str]) -> list[Line]:
    rows = (line.rstrip("\n").split("\t") for line in lines)
    return [Line(float(at), role, model, kind, int(i), int(o)) for at, role, model, kind, i, o in rows]


def role_of(agent: str, body: Mapping[str, Any]) -> str:
    if agent == AGENT:
        return "serve"
    if body["model"] == META:
        return "compile"
    if body["model"] != CANDIDATE:  # the judge; or the app's own model once more, to calibrate it
        return "judge"
    return "compile" if body.get("temperature") == 0 else "shadow"


class Upstream:
    def __init__(self, log: TextIO) -> None:
        self._log = log
        self._turn = itertools.count()

    async def chat(self, request: web.Request) -> web.Response:
        body = orjson.loads(await request.read())
        model = body["model"]
        await asyncio.sleep(SECONDS[model])
        kind, said = self._said(body)
        line = Line(
            time.time(),
            role_of(request.headers.get("User-Agent", ""), body),
            model,
            kind,
            prompt_tokens(body["messages"]),
            tokens(said),
        )
        self._log.write(line.row())
        usage = {"prompt_tokens": line.input, "completion_tokens": line.output}
        told = {
            "id": f"chatcmpl-{next(self._turn)}",
            "object": "chat.completion",
            "created": int(line.at),
            "model": model,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}],
            "usage": {**usage, "total_tokens": line.input + line.output},
        }
        return web.Response(body=orjson.dumps(told), content_type="application/json")

    def _said(self, body: Mapping[str, Any]) -> tuple[str, str]:
        """The kind of what was asked, and the answer."""
        last = body["messages"][-1]["content"]
        if body["model"] == META:
            return next((kind.name for kind in KINDS if kind.prompt[:40] in last), "-"), WRITTEN
        if body["model"] == JUDGE:
            shown = {name: text for name, _, text in TAG.findall(last)}
            known = found(shown["input"])
            word = verdict(shown["input"], shown["A"], shown["B"])
            return known[0].name if known else "-", f"The state that they name decides it.\nVERDICT: {word}"
        known = found(last)
        if known is None:
            return untold(body["messages"]), "That depends on the order; could you tell us its number, please? " * 4
        return known[0].name, answer(*known, body["model"], next(self._turn))


async def main(path: str) -> None:
    with Path(path).open("w", buffering=1) as log:  # noqa: ASYNC230 - once, before anything is asked
        app = web.Application()
        app.router.add_post("/v1/chat/completions", Upstream(log).chat)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1_024)
        await site.start()
        print(f"listens on http://127.0.0.1:{runner.addresses[0][1]}/v1", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)  # until whoever started it ends
        await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
