import gzip
import json
from itertools import count

import pytest

import proxy.exchange
from compiler.pricing import Usage

ANSWER = {"model": "gpt-big-2026", "usage": {"prompt_tokens": 5, "completion_tokens": 2}}
STREAM = (
    b'data: {"model": "gpt-big-2026"}\n\n'
    b'data: {"usage": {"prompt_tokens": 5, "completion_tokens": 2}}\n\n'
    b"data: [DONE]\n\n"
)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize(("body", "streamed"), [(json.dumps(ANSWER).encode(), False), (STREAM, True)])
def test_model_and_usage_are_read_from_the_answer(exchange_of, pack, body, streamed):
    exchange = exchange_of("gzip" if pack is gzip.compress else "", streamed=streamed)
    packed = pack(body)
    for at in range(0, len(packed), 7):
        exchange.keep(packed[at : at + 7])
    exchange.read()
    assert (exchange.model, exchange.usage) == ("gpt-big-2026", Usage(input=5, output=2))
    assert (exchange.body(), exchange.size) == (body, len(packed))


@pytest.mark.parametrize("body", [b"", b"no json", b"[]", b'{"usage": null, "model": 5}', b'{"usage": [1]}'])
def test_an_answer_that_does_not_say_leaves_them_open(exchange_of, body):
    for streamed in (False, True):
        exchange = exchange_of(streamed=streamed)
        exchange.keep(body)
        exchange.read()
        assert (exchange.model, exchange.usage) == ("", None)


def test_of_a_huge_answer_only_the_beginning_is_kept(exchange_of, monkeypatch):
    monkeypatch.setattr(proxy.exchange, "TAP_BYTES", 10)
    exchange = exchange_of()
    for _ in range(5):
        exchange.keep(b"12345678")
    assert (exchange.body(), exchange.size) == (b"1234567812345678", 40)


def test_waiting_adds_up_even_when_it_ends_in_an_error(exchange_of, monkeypatch):
    clock = count()
    monkeypatch.setattr(proxy.exchange, "perf_counter", lambda: float(next(clock)))
    exchange = exchange_of()
    with exchange:
        pass
    with pytest.raises(TimeoutError), exchange:
        raise TimeoutError
    assert exchange.seconds == 2.0
