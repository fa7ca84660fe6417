"""The application a worker runs: routes, access, and the lifetimes of what serves them."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler

from compiler.pricing import PriceBook
from compiler.registry import Snapshot
from compiler.store import Store
from proxy import admin, answered, capture, counting, feedback, framing, metrics, operator
from proxy.access import Access
from proxy.answered import AnswerClient
from proxy.breaker import Breakers
from proxy.call import MAX_BODY, too_large
from proxy.capture import Capture
from proxy.chat import chat
from proxy.counting import CountClient
from proxy.deadlines import Deadlines
from proxy.errors import NotFoundError, ProxyError, translate
from proxy.gateway import GATEWAY, Gateway, Snapshots
from proxy.logs import RequestLog
from proxy.meter import Meter
from proxy.observing import open_observations
from proxy.passthrough import passthrough
from proxy.plan import Planner
from proxy.reply import STOPPING, finish
from proxy.sampler import Sampler
from proxy.savings import terms_of
from proxy.server import Runner
from proxy.settings import Settings
from proxy.sync import Sync
from proxy.uncounted import Uncounted
from proxy.upstream import Upstream
from proxy.virtual import list_models, retrieve_model
from proxy.watch import Watch

log = logging.getLogger("cuecard.app")

DRAIN_SECONDS = 28.0  # for requests under way when we are told to stop
CANCEL_SECONDS = 1.0  # for those that are cancelled then
COUNT_SECONDS = 3.0  # and for their tokens to be counted
MAX_LINE = 32_768  # bytes of a request line
MAX_FIELD = 65_536  # and of one header
MAX_HEADERS = 256
READY = web.AppKey("ready", asyncio.Event)
SHOW: web.AppKey[Callable[[], None]] = web.AppKey("show")


def build_app(
    settings: Settings, sockets: Path, process_metrics: metrics.Metrics, uncounted: Uncounted
) -> web.Application:
    app = web.Application(client_max_size=MAX_BODY)
    app[admin.OPEN_STORE] = lambda: Store(settings.store.folder)
    app[admin.OPEN_OBSERVATIONS] = lambda: open_observations(settings)
    app[admin.TERMS] = terms_of(settings)
    app[READY], app[STOPPING] = asyncio.Event(), asyncio.Event()
    app.cleanup_ctx.append(_gateway(settings, sockets, process_metrics, uncounted))
    app.on_shutdown.append(_end_tunnels)
    access, guard = Access(settings), partial(_guarded, process_metrics)
    app.add_routes(
        [
            web.post("/v1/chat/completions", guard(access.chat, chat)),
            web.post(feedback.PATH, guard(access.chat, feedback.feedback)),
            web.route("*", feedback.PATH + "{rest:(/.*)?}", guard(access.api, nowhere)),
            web.get("/v1/models", guard(access.api, list_models), allow_head=False),
            web.get("/v1/models/{model}", guard(access.api, retrieve_model), allow_head=False),
            web.get("/health/live", _own(live)),
            web.get("/health/ready", _own(ready)),
            web.get("/metrics", _own(show_metrics)),
            *(
                web.route(r.method, r.path, guard(access.admin, r.handler))
                for r in (*admin.routes(), *operator.routes())
            ),
            web.route("*", "/v1/{path:.*}", guard(access.api, passthrough)),
            web.route("*", "/{path:.*}", guard(access.api, nowhere)),
        ]
    )
    return app


def _guarded(process_metrics: metrics.Metrics, check: Callable[[web.Request], None], handler: Handler) -> Handler:
    """The handler behind its access check, and an answer in OpenAI's shape whatever goes wrong.

    A plain wrapper: aiohttp's middlewares take a tenth of a request's time.
    """

    async def answer(request: web.Request) -> web.StreamResponse:
        process_metrics.requests_now += 1
        response: web.StreamResponse
        try:
            framing.receive(request)
            check(request)
            response = await handler(request)
        except ProxyError as error:
            response = error.response()
        except web.HTTPRequestEntityTooLarge:
            response = too_large().response()
        except Exception as error:  # boundary: whatever goes wrong, the client gets OpenAI's error shape
            log.exception("%s %s failed", request.method, request.path)
            if request.writer.output_size and request.transport:  # an error can't follow half an answer
                request.transport.abort()
            response = translate(error, "-").response()
        finally:
            process_metrics.requests_now -= 1
        if not response.prepared:
            finish(request, response)
        return response

    return answer


def _own(handler: Callable[[web.Request], Awaitable[web.Response]]) -> Handler:
    """Open to everybody, and told to the client as ours."""

    async def answer(request: web.Request) -> web.Response:
        response = await handler(request)
        finish(request, response)
        return response

    return answer


def build_runner(
    settings: Settings, sockets: Path, process_metrics: metrics.Metrics, uncounted: Uncounted | None = None
) -> web.AppRunner:
    """The application with aiohttp's defaults that break a proxy turned off."""
    return Runner(
        build_app(settings, sockets, process_metrics, uncounted or Uncounted.temporary()),
        handler_cancellation=True,  # a client that hangs up ends its upstream call
        auto_decompress=False,
        access_log=None,
        shutdown_timeout=CANCEL_SECONDS,
        max_line_size=MAX_LINE,
        max_field_size=MAX_FIELD,
        max_headers=MAX_HEADERS,
    )


def _gateway(
    settings: Settings, sockets: Path, process_metrics: metrics.Metrics, uncounted: Uncounted
) -> Callable[[web.Application], AsyncIterator[None]]:
    async def lifetime(app: web.Application) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        snapshots = Snapshots()

        def ready() -> None:
            loop.call_soon_threadsafe(app[READY].set)

        def adopt(snapshot: Snapshot) -> None:
            loop.call_soon_threadsafe(snapshots.adopt, snapshot)
            ready()

        request_log = RequestLog(enabled=settings.log.requests)
        sync = Sync(app[admin.OPEN_STORE], adopt, process_metrics, request_log, ready)
        app[SHOW] = sync.show
        counter = CountClient(sockets / counting.SOCKET, process_metrics.dropped.labels("uncounted").inc, uncounted)
        sampler = Sampler(settings.listen.workers, a_second=settings.capture.per_second)
        enabled = settings.capture.enabled
        capturing = Capture(sockets / capture.SOCKET, process_metrics, sampler, enabled=enabled)
        answers = AnswerClient(sockets / answered.SOCKET, process_metrics)
        families, endpoints = settings.families(), settings.endpoints()
        watch = Watch(settings.timeouts.upstream)
        async with Upstream.open(settings.timeouts) as upstream:
            app[GATEWAY] = Gateway(
                endpoints,
                families,
                snapshots,
                upstream,
                Planner(endpoints, settings.models.production, families),
                Meter(process_metrics, PriceBook(settings.own_prices(), warm=True), counter, sync.keep),
                capturing,
                answers,
                Deadlines(settings.timeouts.candidate),
                Breakers(),
                watch,
                sync.want_compile,
                settings.timeouts,
                settings.mode,
            )
            app[GATEWAY].meter.count_left()
            sync.start()
            request_log.start()
            running = [asyncio.create_task(work.run()) for work in (counter, capturing, answers, watch)]
            yield
            await asyncio.gather(*app[GATEWAY].background, return_exceptions=True)
            await asyncio.gather(*(queue.drain(COUNT_SECONDS) for queue in (counter, capturing, answers)))
            for task in running:
                task.cancel()
            await asyncio.to_thread(sync.stop)
            await asyncio.to_thread(request_log.stop)

    return lifetime


async def nowhere(request: web.Request) -> web.StreamResponse:
    hint = " Did you leave /v1 out of the base URL?" if request.path.endswith("/completions") else ""
    raise NotFoundError(f"unknown URL or method: {request.method} {request.path}.{hint}", code="unknown_url")


async def _end_tunnels(app: web.Application) -> None:
    app[GATEWAY].end_tunnels()


async def live(request: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


async def ready(request: web.Request) -> web.Response:
    """Ready once the store was looked at: before, a declared task would go unrecognised. Where it can't be used, ready
    all the same: the other traffic needs none."""
    stopping = request.app[STOPPING].is_set()
    is_ready = request.app[READY].is_set() and not stopping
    status = "ok" if is_ready else "stopping" if stopping else "starting"
    return web.json_response({"status": status}, status=200 if is_ready else 503)


async def show_metrics(request: web.Request) -> web.Response:
    def shown() -> bytes:
        request.app[SHOW]()  # this worker's newest; another's are at most 100 ms old
        return metrics.exposition()

    body = await asyncio.to_thread(shown)
    return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})
