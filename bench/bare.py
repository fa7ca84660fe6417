"""The least an aiohttp proxy can do: read, send on, send back as it comes. `python -m bench.bare PORT WORKERS URL`."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator

import aiohttp
import uvloop
from aiohttp import web

HEADERS = {"Content-Type": "application/json", "Authorization": "Bearer sk-bench"}
SESSION = web.AppKey("session", aiohttp.ClientSession)


def bare(upstream: str) -> web.Application:
    app = web.Application()

    async def session(app: web.Application) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False) as opened:
            app[SESSION] = opened
            yield

    async def forward(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        async with request.app[SESSION].post(upstream + request.path, data=body, headers=HEADERS) as answer:
            if answer.content_type == "text/event-stream":
                return await stream(request, answer)
            return web.Response(status=answer.status, body=await answer.read(), content_type=answer.content_type)

    app.cleanup_ctx.append(session)
    app.router.add_post("/v1/chat/completions", forward)
    return app


async def stream(request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.content_type})
    await response.prepare(request)
    async for chunk in answer.content.iter_any():
        await response.write(chunk)
    await response.write_eof()
    return response


async def serve(port: int, upstream: str) -> None:
    runner = web.AppRunner(bare(upstream), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, reuse_port=True, backlog=1_024).start()
    await asyncio.Event().wait()


def main() -> None:
    port, workers, upstream = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    for _ in range(workers - 1):
        if os.fork() == 0:
            break
    uvloop.run(serve(port, upstream))


if __name__ == "__main__":
    main()
