import pytest

from proxy.sampler import ALL_A_SECOND, BURST, BURST_SECONDS, KINDS, Sampler

ALL_BURST = BURST_SECONDS * ALL_A_SECOND


def taken(sampler: Sampler, kind: str, times: int) -> int:
    return sum(sampler.take(kind) for _ in range(times))


def test_of_one_kind_a_burst_is_taken_then_one_every_two_seconds(clock):
    sampler = Sampler(clock=clock)
    assert taken(sampler, "busy", 500) == BURST == 60
    found = []
    for _ in range(8):
        clock.now += 1.0
        found.append(taken(sampler, "busy", 100))
    assert found == [0, 1, 0, 1, 0, 1, 0, 1]


def test_a_busy_kind_costs_a_rare_one_nothing(clock):
    sampler = Sampler(clock=clock)
    taken(sampler, "busy", 500)
    assert taken(sampler, "rare", 5) == 5


def test_a_kind_that_rested_has_its_burst_again_and_no_more(clock):
    sampler = Sampler(clock=clock)
    taken(sampler, "busy", 500)
    clock.now += 100_000
    assert taken(sampler, "busy", 500) == BURST


@pytest.mark.parametrize("workers", [1, 4])
def test_all_kinds_and_workers_together_are_bounded(clock, workers):
    samplers = [Sampler(workers, clock) for _ in range(workers)]
    assert sum(sampler.take(n) for n in range(1_000) for sampler in samplers) == ALL_BURST
    clock.now += 2
    assert sum(sampler.take(n) for n in range(1_000) for sampler in samplers) == 2 * ALL_A_SECOND


def test_what_is_not_taken_for_all_does_not_count_for_its_kind(clock):
    sampler = Sampler(clock=clock)
    for n in range(int(ALL_BURST)):
        sampler.take(n)
    assert taken(sampler, "late", 10) == 0
    clock.now += 60
    assert taken(sampler, "late", 100) == BURST


def test_what_costs_much_is_paid_for_by_those_behind_it(clock):
    sampler = Sampler(clock=clock)
    assert [sampler.take(n, cost=ALL_BURST - 1) for n in range(3)] == [True, True, False]
    clock.now += (ALL_BURST - 0.999) / ALL_A_SECOND  # one is left
    assert [sampler.take(n) for n in range(3)] == [True, False, False]


def test_as_many_kinds_as_there_are_take_no_more_memory(clock):
    sampler = Sampler(clock=clock, a_second=1e9)
    taken(sampler, "busy", 60)
    for n in range(3 * KINDS):
        sampler.take(n)
        sampler.take("busy")  # it is seen all the time, and so not forgotten: it gets no new burst
        clock.now += 0.001
    assert len(sampler._kinds) == KINDS
    assert taken(sampler, "busy", 100) <= 1


def test_it_is_dry_while_nothing_is_taken_of_any_kind(clock):
    sampler = Sampler(clock=clock)
    assert not sampler.dry()
    assert sampler.take("long", cost=ALL_BURST + 1)
    assert sampler.dry() and not sampler.take("another")
    clock.now += 3 / ALL_A_SECOND
    assert not sampler.dry() and sampler.take("another")


def test_what_is_sought_is_taken_as_far_as_all_together_may_be(clock):
    sampler = Sampler(clock=clock)
    assert sum(sampler.take("sought", sought=True) for _ in range(1_000)) == ALL_BURST
    clock.now += 10
    assert sum(sampler.take("sought", sought=True) for _ in range(1_000)) == 10 * ALL_A_SECOND
    assert not sampler.take("another")


def test_how_many_a_second_is_a_choice(clock):
    sampler = Sampler(2, clock, a_second=4)
    assert sum(sampler.take(n) for n in range(1_000)) == 2 * BURST_SECONDS
