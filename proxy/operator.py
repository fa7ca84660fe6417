"""/admin, continued: what a person knows better about recognised tasks, as with `cuecard tasks rename`."""

from collections.abc import Callable
from typing import Any

from aiohttp import web

from compiler.errors import UnknownTask
from compiler.recognition.catalogue import Catalogue
from compiler.registry import Registry
from compiler.store import Store
from proxy.admin import json_object, with_store
from proxy.errors import BadRequestError, NotFoundError


async def rename(request: web.Request) -> web.Response:
    """{"to": …}"""
    name, new = request.match_info["name"], (await json_object(request)).get("to")
    if not isinstance(new, str):
        raise BadRequestError("`to`: the new name", param="to")

    def renamed(store: Store) -> None:
        Catalogue(store).rename(name, new, reserved=Registry(store).tasks())

    await _changed(request, renamed, param="to")
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
    merged = await _changed(request, lambda store: Catalogue(store).merge(list(dict.fromkeys(names))), param="names")
    return web.json_response({"name": merged.name, "templates": list(merged.templates)})


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
    ]
