"""/admin: declare, list and remove tasks, switch everything off and on, read the report. JSON in, JSON out."""

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import orjson
from aiohttp import web
from pydantic import ValidationError

from compiler.errors import ExampleError
from compiler.registry import Registry, TaskView
from compiler.store import Store
from compiler.task import NAME
from compiler.worth import Terms
from proxy.declare import examples_of, task_of
from proxy.errors import BadRequestError, NotFoundError
from proxy.report import build_report
from proxy.settings import TaskSettings

OPEN_STORE: web.AppKey[Callable[[], Store]] = web.AppKey("open_store")
TERMS = web.AppKey("terms", Terms)


async def _with_store(request: web.Request, work: Callable[[Store], Any]) -> Any:
    def run() -> Any:
        with request.app[OPEN_STORE]() as store:
            return work(store)

    return await asyncio.to_thread(run)


def describe(view: TaskView) -> dict[str, Any]:
    card = view.compiled
    return {
        "task": view.task.to_json(),
        "state": asdict(view.state),
        "card": card.to_json() if card else None,
    }


async def list_tasks(request: web.Request) -> web.Response:
    snapshot = await _with_store(request, lambda store: Registry(store).snapshot())
    return web.json_response({"off": snapshot.off, "tasks": [describe(view) for view in snapshot.tasks.values()]})


async def show_task(request: web.Request) -> web.Response:
    name = request.match_info["name"]
    snapshot = await _with_store(request, lambda store: Registry(store).snapshot())
    if name not in snapshot.tasks:
        raise NotFoundError(f"no task {name!r} is declared", code="task_not_found")
    return web.json_response(describe(snapshot.tasks[name]))


async def declare_task(request: web.Request) -> web.Response:
    """{"name", "description", …} with the keys of a task in cuecard.yaml; `examples` is a list here."""
    try:
        data = orjson.loads(await request.read())
    except orjson.JSONDecodeError as error:
        raise BadRequestError(f"not JSON: {error}", code="invalid_json") from None
    if not isinstance(data, dict):
        raise BadRequestError("a task is a JSON object", code="invalid_json")
    name, given = data.pop("name", None), data.pop("examples", [])
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise BadRequestError("`name`: lower-case letters, digits, `.`, `_`, `-`, at most 64", param="name")
    try:
        examples = examples_of(given)
        task = task_of(name, TaskSettings.model_validate(data), examples)
    except ExampleError as error:
        raise BadRequestError(str(error), param="examples") from None
    except ValidationError as error:
        first = error.errors()[0]
        param = ".".join(str(part) for part in first["loc"])
        raise BadRequestError(f"`{param}`: {first['msg']}", param=param) from None
    await _with_store(request, lambda store: Registry(store).declare({name: (task, examples)}, "admin"))
    return web.json_response({"name": name, "model": f"task:{name}"}, status=201)


async def remove_task(request: web.Request) -> web.Response:
    name = request.match_info["name"]
    if not await _with_store(request, lambda store: Registry(store).remove(name)):
        raise NotFoundError(f"no task {name!r} is declared", code="task_not_found")
    return web.json_response({"removed": name})


async def switch(request: web.Request) -> web.Response:
    off = request.path.endswith("/off")
    await _with_store(request, lambda store: Registry(store).set_off(off))
    return web.json_response({"off": off})


async def report(request: web.Request) -> web.Response:
    terms = request.app[TERMS]
    return web.json_response(await _with_store(request, lambda store: build_report(store, terms=terms).to_json()))


def routes() -> list[web.RouteDef]:
    return [
        web.get("/admin/tasks", list_tasks),
        web.post("/admin/tasks", declare_task),
        web.get("/admin/tasks/{name}", show_task),
        web.delete("/admin/tasks/{name}", remove_task),
        web.post("/admin/off", switch),
        web.post("/admin/on", switch),
        web.get("/admin/report", report),
    ]
