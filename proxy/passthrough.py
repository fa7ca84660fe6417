"""Every other path under /v1/: the first upstream's, byte for byte, streamed both ways."""

from aiohttp import web

from proxy import headers
from proxy.errors import translate
from proxy.gateway import GATEWAY
from proxy.relay import UPSTREAM_ERRORS


async def passthrough(request: web.Request) -> web.StreamResponse:
    gateway = request.app[GATEWAY]
    endpoint = gateway.settings.endpoints().first
    sent = headers.to_upstream(request.raw_headers, endpoint, client_key=True)
    if request.content_length is not None:
        sent["Content-Length"] = str(request.content_length)
    data = request.content if request.can_read_body else None
    try:
        answer = await gateway.upstream.send(request.method, endpoint, request.raw_path, sent, data)
    except UPSTREAM_ERRORS as error:
        raise translate(error, endpoint.name) from None
    async with answer:
        shown = headers.to_client(answer.raw_headers)
        if "Content-Length" in answer.headers:
            shown["Content-Length"] = answer.headers["Content-Length"]
        response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=shown)
        await response.prepare(request)
        try:
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
        except UPSTREAM_ERRORS:
            if request.transport:
                request.transport.abort()
        return response
