"""/admin: declare, list and remove tasks, switch everything off and on, read the report. JSON in, JSON out. What may be
said about recognised tasks is in `proxy/operator.py`."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import orjson
from aiohttp import web
from pydantic import ValidationError

from compiler.errors import ExampleError
from compiler.feedback import Feedback
from compiler.observation import Observations
from compiler.proof import Proof, Proofs
from compiler.recognition.catalogue import Catalogue
from compiler.recognition.forgetting import forget_task
from compiler.registry import Registry, TaskView
from compiler.store import Store
from compiler.task import NAME, NAME_FORM
from compiler.worth import Terms
from proxy.declare import examples_of, task_of
from proxy.dossier import Dossier, Stand
from proxy.errors import BadRequestError, NotFoundError
from proxy.opinion import opinion_json
from proxy.report import build_report
from proxy.seen import seen_task, seen_tasks
from proxy.settings import TaskSettings

OPEN_STORE: web.AppKey[Callable[[], Store]] = web.AppKey("open_store")
OPEN_OBSERVATIONS: web.AppKey[Callable[[], Observations]] = web.AppKey("open_observations")
TERMS = web.AppKey("terms", Terms)


async def with_store(request: web.Request, work: Callable[[Store], Any]) -> Any:
    def run() -> Any:
        with request.app[OPEN_STORE]() as store:
            return work(store)

    return await asyncio.to_thread(run)


def describe(view: TaskView, proof: Proof | None = None) -> dict[str, Any]:
    card, state = view.compiled, asdict(view.state)
    never = math.isinf(view.state.retry_at)  # which JSON has no number for
    return {
        "task": view.task.to_json(),
        "state": state | ({"retry_at": None} if never else {}),
        "card": card.to_json() if card else None,
        "standing": Stand.of(view, proof)._asdict(),
    }


def describe_declared(store: Store) -> list[dict[str, Any]]:
    """Raises StoreError."""
    proofs = Proofs(store)
    return [describe(view, proofs.get(name)) for name, view in Registry(store).snapshot().tasks.items()]


def describe_whole(store: Store, name: str) -> dict[str, Any] | None:
    """A declared task, a recognised one, or one variant of it; None where there is none. Raises StoreError."""
    snapshot = Registry(store).snapshot()
    if view := snapshot.tasks.get(name):
        return _with_proof(store, view)
    adopted = snapshot.adopted.get(name)
    if one := seen_task(store, name):
        said = {"feedback": opinion_json(Feedback(store).of(name))}
        return one.to_json() | said | (_with_proof(store, adopted) if adopted else {})
    return _with_proof(store, adopted) if adopted else None


def _with_proof(store: Store, view: TaskView) -> dict[str, Any]:
    dossier = Dossier.of(store, view)
    return describe(view, dossier.proof) | dossier.to_json()


async def json_object(request: web.Request) -> dict[str, Any]:
    try:
        data = orjson.loads(await request.read())
    except orjson.JSONDecodeError as error:
        raise BadRequestError(f"not JSON: {error}", code="invalid_json") from None
    if not isinstance(data, dict):
        raise BadRequestError("the body is a JSON object", code="invalid_json")
    return data


async def list_tasks(request: web.Request) -> web.Response:
    def listed(store: Store) -> dict[str, Any]:
        recognised = [one.to_json() for one in seen_tasks(store)]
        return {"off": Registry(store).is_off(), "tasks": describe_declared(store), "recognised": recognised}

    return web.json_response(await with_store(request, listed))


async def show_task(request: web.Request) -> web.Response:
    name = request.match_info["name"]
    if (found := await with_store(request, lambda store: describe_whole(store, name))) is None:
        raise _unknown(name)
    return web.json_response(found)


def _unknown(name: str) -> NotFoundError:
    return NotFoundError(f"no task {name!r} is declared or was recognised", code="task_not_found")


async def declare_task(request: web.Request) -> web.Response:
    """{"name", "description", …} with the keys of a task in cuecard.yaml; `examples` is a list here."""
    data = await json_object(request)
    name, given = data.pop("name", None), data.pop("examples", [])
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise BadRequestError(f"`name`: {NAME_FORM}", param="name")
    try:
        examples = examples_of(given)
        task = task_of(name, TaskSettings.model_validate(data), examples)
    except ExampleError as error:
        raise BadRequestError(str(error), param="examples") from None
    except ValidationError as error:
        first = error.errors()[0]
        param = ".".join(str(part) for part in first["loc"])
        raise BadRequestError(f"`{param}`: {first['msg']}", param=param) from None
    await with_store(request, lambda store: Registry(store).declare({name: (task, examples)}, "admin"))
    return web.json_response({"name": name, "model": f"task:{name}"}, status=201)


async def remove_task(request: web.Request) -> web.Response:
    """A declared one is no longer declared; a recognised one is forgotten, with all that was captured of it."""
    name, open_observations = request.match_info["name"], request.app[OPEN_OBSERVATIONS]

    def remove(store: Store) -> dict[str, Any] | None:
        if Registry(store).remove(name):
            return {"removed": name}
        if name not in Catalogue(store).tasks():
            return None
        with open_observations() as observations:
            return {"forgotten": name, **forget_task(store, observations, name)._asdict()}

    if (removed := await with_store(request, remove)) is None:
        raise _unknown(name)
    return web.json_response(removed)


async def switch(request: web.Request) -> web.Response:
    off = request.path.endswith("/off")
    await with_store(request, lambda store: Registry(store).set_off(off))
    return web.json_response({"off": off})


async def report(request: web.Request) -> web.Response:
    terms = request.app[TERMS]
    return web.json_response(await with_store(request, lambda store: build_report(store, terms=terms).to_json()))


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
