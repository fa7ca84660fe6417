from random import Random

from proxy.deadlines import ENOUGH, LEAST, REMEMBERED, Deadlines


def test_until_enough_is_known_the_configured_time_holds():
    deadlines = Deadlines(2.0)
    assert deadlines.of("mood") == 2.0
    for _ in range(ENOUGH - 1):
        deadlines.record("mood", 9.0)
    assert deadlines.of("mood") == 2.0
    deadlines.record("mood", 9.0)
    assert deadlines.of("mood") == 9.0


def test_a_deadline_is_what_nineteen_of_twenty_keep():
    deadlines = Deadlines(2.0)
    for seconds in reversed(range(100)):
        deadlines.record("mood", float(seconds))
    assert deadlines.of("mood") == 95.0


def test_tasks_are_kept_apart():
    deadlines = Deadlines(2.0)
    for _ in range(ENOUGH):
        deadlines.record("mood", 9.0)
    assert deadlines.of("other") == 2.0


def test_only_recent_times_count():
    deadlines = Deadlines(2.0)
    for seconds in [9.0] * REMEMBERED + [1.0] * REMEMBERED:
        deadlines.record("mood", seconds)
    assert deadlines.of("mood") == 1.0


def test_it_is_the_same_as_if_all_were_sorted_each_time():
    deadlines, times = Deadlines(2.0), Random(1).choices([0.5, 1.0, 2.5, 3.0, 7.25], k=3 * REMEMBERED)
    for count, seconds in enumerate(times, 1):
        deadlines.record("mood", seconds)
        recent = sorted(times[max(0, count - REMEMBERED) : count])
        assert deadlines.of("mood") == (recent[int(len(recent) * 0.95)] if count >= ENOUGH else 2.0)


def test_within_a_twentieth_of_a_second_nobody_is_late():
    deadlines = Deadlines(2.0)
    for _ in range(ENOUGH):
        deadlines.record("mood", 0.001)
    assert deadlines.of("mood") == LEAST
