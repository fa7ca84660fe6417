"""/admin, continued: what a person knows better about recognised tasks, as with `cuecard tasks rename`, and how far a
task's card may serve, as with `cuecard approve`."""

from collections.abc import Callable
from typing import Any

from aiohttp import web

from compiler.diffs import AT_MOST
from compiler.errors import NotNow, UnknownTask
from compiler.proof import Proofs
from compiler.recognition import curating
from compiler.recognition.catalogue import Catalogue
from compiler.registry import Registry
from compiler.rollout import Rollout
from compiler.store import Store
from proxy.admin import OPEN_OBSERVATIONS, TERMS, json_object, with_store
from proxy.dossier import Stand
from proxy.errors import BadRequestError, ConflictError, NotFoundError
from proxy.share import read_share
from proxy.worst import worst_pairs

WHO = "admin"  # whoever has the token
ACTS: dict[str, Callable[..., Any]] = {
    "pause": Rollout.pause,
    "resume": Rollout.resume,
    "rollback": Rollout.rollback,
}


async def rename(request: web.Request) -> web.Response:
    """{"to": …}"""
    name, new = request.match_info["name"], (await json_object(request)).get("to")
    if not isinstance(new, str):
        raise BadRequestError("`to`: the new name", param="to")

    await _changed(request, lambda store: curating.rename(store, name, new), param="to")
    return web.json_response({"name": new})


async def ignore(request: web.Request) -> web.Response:
    name, ignored = request.match_info["name"], request.path.endswith("/ignore")
    await _changed(request, lambda store: Catalogue(store).ignore([name], ignored))
    return web.json_response({"name": name, "ignored": ignored})


async def merge(request: web.Request) -> web.Response:
    """{"names": […]}: they are one, under the first name."""
    names = (await json_object(request)).get("names")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise BadRequestError("`names`: the tasks that are one, first the one whose name stays", param="names")
    merged = await _changed(request, lambda store: curating.merge(store, list(dict.fromkeys(names))), param="names")
    return web.json_response({"name": merged.name, "templates": list(merged.templates)})


async def approve(request: web.Request) -> web.Response:
    """{"max_traffic": 0.1, "why": …}, both optional."""
    name, data = request.match_info["name"], await _said(request)
    most, control = _share(data.get("max_traffic", 1.0)), request.app[TERMS].assumed.control

    def approved(store: Store) -> web.Response:
        Rollout(store).approve(name, most=most, who=WHO, why=data["why"], control=control)
        return _stands(store, name)

    return await _ruled(request, approved)


async def rule(request: web.Request) -> web.Response:
    """{"why": …}, optional: pause, resume, rollback."""
    name, data = request.match_info["name"], await _said(request)
    act = ACTS[request.path.rpartition("/")[2]]

    def ruled(store: Store) -> web.Response:
        act(Rollout(store), name, who=WHO, why=data["why"])
        return _stands(store, name)

    return await _ruled(request, ruled)


async def audit(request: web.Request) -> web.Response:
    entries = await with_store(request, lambda store: [entry.to_json() for entry in Rollout(store).audit()])
    return web.json_response({"audit": entries})


async def diffs(request: web.Request) -> web.Response:
    """?worst=20"""
    name, worst = request.match_info["name"], request.query.get("worst", "20")
    if worst not in map(str, range(1, AT_MOST + 1)):
        raise BadRequestError(f"`worst`: a number from 1 to {AT_MOST}", param="worst")

    def found(store: Store) -> dict[str, Any]:
        with request.app[OPEN_OBSERVATIONS]() as observations:
            return worst_pairs(store, observations, name, int(worst))

    return web.json_response(await _changed(request, found))


async def _said(request: web.Request) -> dict[str, Any]:
    data = await json_object(request) if request.can_read_body else {}
    if not isinstance(data.setdefault("why", ""), str):
        raise BadRequestError("`why`: text", param="why")
    return data


def _share(given: Any) -> float:
    if isinstance(given, int | float) and not isinstance(given, bool) and 0 < given <= 1:
        return float(given)
    try:
        return read_share(given if isinstance(given, str) else str(given))
    except ValueError as error:
        raise BadRequestError(f"`max_traffic`: {error}", param="max_traffic") from None


def _stands(store: Store, name: str) -> web.Response:
    registry = Registry(store)
    task = registry.task(name)
    assert task
    return web.json_response(Stand.of(registry.view(name, task), Proofs(store).get(name))._asdict())


async def _ruled(request: web.Request, change: Callable[[Store], web.Response]) -> web.Response:
    try:
        found: web.Response = await _changed(request, change)
    except NotNow as error:
        raise ConflictError(str(error)) from None
    return found


async def _changed(request: web.Request, change: Callable[[Store], Any], *, param: str | None = None) -> Any:
    try:
        return await with_store(request, change)
    except UnknownTask as error:
        raise NotFoundError(str(error), code="task_not_found") from None
    except ValueError as error:
        raise BadRequestError(str(error), param=param) from None


def routes() -> list[web.RouteDef]:
    return [
        web.post("/admin/tasks/merge", merge),
        web.post("/admin/tasks/{name}/rename", rename),
        web.post("/admin/tasks/{name}/ignore", ignore),
        web.post("/admin/tasks/{name}/unignore", ignore),
        web.post("/admin/tasks/{name}/approve", approve),
        web.post("/admin/tasks/{name}/pause", rule),
        web.post("/admin/tasks/{name}/resume", rule),
        web.post("/admin/tasks/{name}/rollback", rule),
        web.get("/admin/tasks/{name}/diffs", diffs),
        web.get("/admin/audit", audit),
    ]
