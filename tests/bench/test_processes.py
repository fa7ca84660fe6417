import os

from bench.processes import Usage, cpu_seconds, descendants, usage_of


def process(pid: int, parent: int) -> Usage:
    return Usage(pid, parent, 1.0, 0)


def test_a_name_with_spaces_and_brackets_does_not_shift_the_fields() -> None:
    stat = "7 (a) b (c) S 3 7 7 0 -1 0 0 0 0 0 150 50 0 0 20 0 1 0 100 4096 25 0 0"
    usage = usage_of(stat)
    ticks = os.sysconf("SC_CLK_TCK")
    assert (usage.pid, usage.parent, usage.cpu_seconds) == (7, 3, 200 / ticks)
    assert usage.rss_bytes == 25 * os.sysconf("SC_PAGE_SIZE")


def test_children_of_children_count_and_strangers_do_not() -> None:
    found = descendants(2, [process(4, 3), process(3, 2), process(2, 1), process(9, 1)])
    assert [p.pid for p in found] == [2, 3, 4]


def test_this_process_has_used_the_processor() -> None:
    assert cpu_seconds(os.getpid()) > 0
