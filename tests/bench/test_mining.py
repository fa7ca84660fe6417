"""What is asked while it mines, and the proof that it did."""

import math
from pathlib import Path

import pytest

from bench.figures import Case
from bench.mining import MINING, OBSERVING, NotMining, Seen, Work, minings, notes, require
from bench.requests import STRIDE, Requests
from bench.servers import Ask, Contender

CASE = Case("whole", 8, 1)


def contender(name: str = "bare", folder: Path | None = None) -> Contender:
    return Contender(Ask(name), 1, 1, None, folder)


def body(number: int) -> dict[str, object]:
    return {"model": "m", "messages": [{"role": "user", "content": f"text {number}."}]}


def asked(requests: Requests, name: str, count: int) -> list[bytes]:
    found = requests.of(contender(name), "whole")
    return [next(found) for _ in range(count)]


def test_all_are_asked_the_same_in_a_turn_and_something_else_in_the_next() -> None:
    requests = Requests([body(number) for number in range(10)])
    first = asked(requests, "bare", 10)
    assert len(set(first)) == 10
    assert asked(requests, "mining", 10) == first
    requests.next_turn()
    assert asked(requests, "bare", 10) == asked(requests, "mining", 10) == first[STRIDE % 10 :] + first[: STRIDE % 10]


def test_a_body_keeps_its_model_and_becomes_a_stream() -> None:
    request = contender().request("stream", body(1), usage=False)
    assert b'"model": "m"' in request
    assert b'"stream": true' in request
    assert b"include_usage" not in request


def test_mining_counts_as_far_as_it_falls_into_the_turn() -> None:
    work = Work()
    before, after = Seen(10.0, 100, 3, 1.0), Seen(14.0, 160, 4, 3.0)
    work.add(before, after, [(1.0, 2.0), (9.0, 11.0), (12.0, 12.5), (13.0, math.inf), (20.0, math.inf)])
    assert (work.seconds, work.mined, work.minings) == (4.0, 2.5, 3)
    assert (work.captured, work.published, work.cpu) == (60, 1, 2.0)
    work.add(before, after, [])
    assert work.share == pytest.approx(2.5 / 8)


def test_a_mining_under_way_has_no_end(tmp_path: Path) -> None:
    assert minings(contender(folder=tmp_path)) == []
    notes(tmp_path).write_text("1.5 2.5\n3.5 ")
    assert minings(contender(folder=tmp_path)) == [(1.5, 2.5), (3.5, math.inf)]


@pytest.mark.parametrize(
    ("name", "work", "why"),
    [
        (MINING, Work(seconds=4.0, mined=4.0, published=1), "nothing was captured"),
        (MINING, Work(seconds=4.0, mined=0.1, published=1, captured=9), "2% of the time"),
        (OBSERVING, Work(seconds=4.0, mined=4.0, captured=9), "published nothing"),
    ],
)
def test_a_run_that_did_not_mine_is_none(name: str, work: Work, why: str) -> None:
    with pytest.raises(NotMining, match=why):
        require({(name, CASE): work})


def test_one_that_did_is_one() -> None:
    done = Work(seconds=4.0, mined=3.0, captured=9, published=1)
    require({(MINING, CASE): done, (OBSERVING, CASE): Work(seconds=4.0, captured=1, published=1)})
