"""The load generator against the instant upstream, both in this process."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from itertools import repeat

import pytest

from bench.load import LoadError, load, post
from bench.upstream import EVENTS, Upstream


@pytest.fixture
async def port() -> AsyncIterator[int]:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def requests(**body: object) -> Iterator[bytes]:
    return repeat(post("/v1/chat/completions", json.dumps({"model": "instant", **body}).encode(), {"X-One": "1"}))


async def test_every_client_is_answered_at_least_once(port: int) -> None:
    seen = await load(port, requests(), 8, 0.0)
    assert (seen.requests, seen.events) == (8, 0)
    assert 0 < seen.p50 <= seen.p99 <= seen.elapsed


@pytest.mark.parametrize(("options", "more"), [({}, 1), ({"stream_options": {"include_usage": True}}, 2)])
async def test_all_events_of_a_stream_are_counted(port: int, options: dict[str, object], more: int) -> None:
    """50, [DONE], and usage where it is asked for."""
    seen = await load(port, requests(stream=True, **options), 4, 0.0, streams=True)
    assert (seen.requests, seen.events) == (4, 4 * (EVENTS + more))
    assert seen.first_byte < seen.p50


async def test_an_answer_that_lacks_what_it_must_say_ends_the_load(port: int) -> None:
    with pytest.raises(LoadError, match="answered"):
        await load(port, requests(), 1, 0.0, expects=b"X-Cuecard-Route: compiled")


async def test_a_port_where_nobody_listens_ends_the_load() -> None:
    with pytest.raises(LoadError, match="Refused"):
        await load(1, requests(), 1, 0.0)


async def test_clients_take_the_next_of_many_requests_in_turn(port: int) -> None:
    whole, stream = next(requests()), next(requests(stream=True))
    seen = await load(port, iter([whole, stream, whole, stream]), 4, 0.0)
    assert seen.requests == 4
