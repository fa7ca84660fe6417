import pytest

from compiler.patience import FIRST_REST, LONGEST_REST, MORE, TRIES, Patience
from tests.proxy.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def patience(clock: Clock) -> Patience:
    return Patience(clock)


def test_each_rest_is_twice_as_long_up_to_the_longest_until_a_pair_comes_through(patience, clock):
    for length in (FIRST_REST, 2 * FIRST_REST, 4 * FIRST_REST):
        patience.rest("mood")
        clock.now += length - 0.01
        assert patience.rests("mood") and not patience.rests("mail")
        clock.now += 0.01
        assert not patience.rests("mood")
    for _ in range(20):
        patience.rest("mood")
    clock.now += LONGEST_REST
    assert not patience.rests("mood")
    patience.through("mood", [1])
    patience.rest("mood")
    clock.now += FIRST_REST
    assert not patience.rests("mood")


def test_who_asks_for_a_longer_rest_has_it(patience, clock):
    patience.rest("mood", 3_600.0)
    clock.now += 3_599.0
    assert patience.rests("mood")


def test_an_outage_is_never_a_pairs_own_fault(patience):
    for _ in range(10 * TRIES):
        assert not patience.failed("mood", 7, answered=5, before=5)
    assert not patience.is_last("mood", 7)


def test_a_pair_that_fails_while_its_model_answers_others_is_given_up_after_some_tries(patience):
    assert patience.failed("mood", 7, answered=5, before=1)
    assert not patience.failed("mood", 7, answered=5, before=5), "nobody was answered since"
    for answered in range(6, 5 + TRIES):
        assert not patience.is_last("mood", 7)
        assert patience.failed("mood", 7, answered=answered, before=answered), "others were, in between"
    assert patience.is_last("mood", 7) and not patience.is_last("mood", 8)
    patience.through("mood", [7])
    assert not patience.is_last("mood", 7)


def test_one_that_holds_up_the_others_has_more_and_more_run_beside_it(patience):
    assert patience.more("mood", 7) == 0
    for failures in range(1, 2 * MORE):
        patience.failed("mood", 7, answered=0, before=0)
        assert patience.more("mood", 7) == min(failures, MORE)
