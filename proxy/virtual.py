"""The virtual models among the upstream's: GET /v1/models and GET /v1/models/task:<name>."""

import orjson
from aiohttp import web

from compiler.registry import Snapshot
from proxy import headers
from proxy.access import CALLER
from proxy.call import VIRTUAL
from proxy.errors import NotFoundError, translate
from proxy.gateway import GATEWAY
from proxy.passthrough import passthrough
from proxy.relay import UPSTREAM_ERRORS
from proxy.reply import Reply
from proxy.unpack import json_object


async def list_models(request: web.Request) -> web.StreamResponse:
    gateway = request.app[GATEWAY]
    ours = _models(gateway.snapshots.current, request[CALLER].tenant)
    if not ours:
        return await passthrough(request)
    endpoint = gateway.endpoints.first
    sent = headers.to_upstream(request.raw_headers, endpoint, client_key=request[CALLER].own_key)
    sent.popall("Accept-Encoding", None)
    try:
        async with await gateway.upstream.send("GET", endpoint, request.raw_path, sent, None) as answer:
            body = await answer.read()
    except UPSTREAM_ERRORS as error:
        raise translate(error, endpoint.name) from None
    shown = headers.to_client(answer.raw_headers)
    if answer.status == 200 and isinstance((listed := json_object(body)).get("data"), list):
        body = orjson.dumps({**listed, "data": [*listed["data"], *ours]})
    return await Reply(answer.status, answer.reason, shown).whole(request, body)


async def retrieve_model(request: web.Request) -> web.StreamResponse:
    name = request.match_info["model"]
    if not name.startswith(VIRTUAL):
        return await passthrough(request)
    for model in _models(request.app[GATEWAY].snapshots.current, request[CALLER].tenant):
        if model["id"] == name:
            return web.json_response(model)
    raise NotFoundError(f"The model `{name}` does not exist: no task of that name is declared.", param="model")


def _models(snapshot: Snapshot, tenant: str) -> list[dict[str, object]]:
    return [
        {"id": f"{VIRTUAL}{name}", "object": "model", "created": 0, "owned_by": "cuecard"}
        for name, view in snapshot.tasks.items()
        if view.task.tenant in (None, tenant)
    ]
