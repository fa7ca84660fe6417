import pytest

from proxy.plot import COLUMNS, ROWS, plot

FALLING = [(pairs, min(1.0, 12 / pairs)) for pairs in range(5, 600, 10)]


def test_a_bound_falls_from_the_left_to_the_margin_at_the_right():
    lines = plot(FALLING, 0.02)
    stars = [(line.index("*"), line.rindex("*")) for line in lines if "*" in line]
    assert stars == sorted(stars)
    (margin,) = [line for line in lines if "2 % |" in line]
    assert len(margin.partition("|")[2]) == COLUMNS
    assert margin.endswith("*")
    assert "100 % |*" in lines[0]
    assert lines[-1].split() == ["0", "595", "pairs"]


@pytest.mark.parametrize(
    ("points", "margin"),
    [
        (FALLING, 0.02),
        ([(1, 1.0)], 0.05),
        ([(1, 1.0), (2_000_000, 0.0)], 0.02),
        ([(10, 0.9), (20, 0.95)], 0.5),
        ([(10, 0.0)], 0.99),
        ([(0, 1.0)], 0.02),
    ],
)
def test_whatever_there_is_fits_a_terminal_in_plain_characters(points, margin):
    lines = plot(points, margin)
    assert len(lines) == ROWS + 2
    assert max(map(len, lines)) <= 80
    assert all(line.isascii() for line in lines)
    assert any("*" in line for line in lines)


def test_nothing_is_drawn_of_nothing():
    assert plot([], 0.02) == []
