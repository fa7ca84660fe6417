import pytest

from proxy.breaker import FAILED_IN_A_ROW, FIRST_PAUSE, LONGEST_PAUSE, REMEMBERED, TRIAL_SECONDS, Breakers
from tests.proxy.clock import Clock


@pytest.fixture
def breakers(clock: Clock) -> Breakers:
    return Breakers(clock)


def fail(breakers: Breakers, times: int = FAILED_IN_A_ROW) -> None:
    for _ in range(times):
        breakers.note("nano", failed=True)


def test_a_model_nothing_is_known_of_may_be_called(breakers):
    assert breakers.allow("nano")


def test_failures_in_a_row_open_it_for_that_model_alone(breakers):
    fail(breakers, FAILED_IN_A_ROW - 1)
    assert breakers.allow("nano")
    fail(breakers, 1)
    assert not breakers.allow("nano")
    assert breakers.allow("mini")


def test_an_answer_in_between_starts_the_row_anew(breakers):
    for _ in range(3):
        fail(breakers, FAILED_IN_A_ROW - 2)
        breakers.note("nano", failed=False)
        breakers.note("nano", failed=False)
        breakers.note("nano", failed=False)
    assert breakers.allow("nano")


def test_half_of_the_last_ones_failing_opens_it_though_never_in_a_row(breakers):
    for number in range(REMEMBERED - 2):
        breakers.note("nano", failed=number % 2 == 0)
    assert breakers.allow("nano")
    for number in range(2):
        breakers.note("nano", failed=number % 2 == 0)
    assert not breakers.allow("nano")


def test_after_its_pause_one_request_tries_and_an_answer_closes_it(breakers, clock):
    fail(breakers)
    clock.now += FIRST_PAUSE
    assert breakers.allow("nano")
    assert not breakers.allow("nano")
    breakers.note("nano", failed=False)
    assert breakers.allow("nano")
    fail(breakers, FAILED_IN_A_ROW - 1)  # and what was before is forgotten
    assert breakers.allow("nano")


def test_each_trial_that_fails_doubles_the_pause_up_to_the_longest(breakers, clock):
    fail(breakers)
    pause = FIRST_PAUSE
    for _ in range(8):
        clock.now += pause - 0.001
        assert not breakers.allow("nano")
        clock.now += 0.001
        assert breakers.allow("nano")
        breakers.note("nano", failed=True)
        pause = min(2 * pause, LONGEST_PAUSE)
    assert pause == LONGEST_PAUSE


def test_what_was_sent_before_it_opened_changes_nothing(breakers, clock):
    fail(breakers)
    breakers.note("nano", failed=False)
    fail(breakers, 3)
    assert not breakers.allow("nano")
    clock.now += FIRST_PAUSE
    assert breakers.allow("nano")


def test_a_trial_that_never_told_its_end_is_followed_by_another(breakers, clock):
    fail(breakers)
    clock.now += FIRST_PAUSE
    assert breakers.allow("nano")
    clock.now += TRIAL_SECONDS
    assert breakers.allow("nano")
    assert not breakers.allow("nano")


def test_opening_and_closing_are_logged_once_each(breakers, clock, caplog):
    fail(breakers, 3 * FAILED_IN_A_ROW)
    clock.now += FIRST_PAUSE
    assert breakers.allow("nano")
    breakers.note("nano", failed=False)
    opened, closed = caplog.messages
    assert "nano keeps failing" in opened
    assert closed == "nano answers again"
