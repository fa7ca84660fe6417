import pytest

from proxy.breaker import AGREEING, FAILED_IN_A_ROW, FIRST_PAUSE, LONGEST_PAUSE, REMEMBERED, TRIAL_SECONDS, Breakers
from tests.proxy.clock import Clock


@pytest.fixture
def breakers(clock: Clock) -> Breakers:
    return Breakers(clock)


def fail(breakers: Breakers, times: int = FAILED_IN_A_ROW, card: str = "mood@1") -> None:
    for _ in range(times):
        breakers.note(card, "nano", failed=True)


def answer(breakers: Breakers, card: str = "mood@1") -> None:
    breakers.note(card, "nano", failed=False)


def test_a_card_nothing_is_known_of_may_be_called(breakers):
    assert breakers.allow("mood@1")


def test_failures_in_a_row_open_it_for_that_card_alone(breakers):
    fail(breakers, FAILED_IN_A_ROW - 1)
    assert breakers.allow("mood@1")
    fail(breakers, 1)
    assert not breakers.allow("mood@1")
    assert breakers.allow("mail@1")


def test_an_answer_in_between_starts_the_row_anew(breakers):
    for _ in range(3):
        fail(breakers, FAILED_IN_A_ROW - 2)
        answer(breakers)
        answer(breakers)
        answer(breakers)
    assert breakers.allow("mood@1")


def test_half_of_the_last_ones_failing_opens_it_though_never_in_a_row(breakers):
    for number in range(REMEMBERED - 2):
        breakers.note("mood@1", "nano", failed=number % 2 == 0)
    assert breakers.allow("mood@1")
    for number in range(2):
        breakers.note("mood@1", "nano", failed=number % 2 == 0)
    assert not breakers.allow("mood@1")


def test_after_its_pause_one_request_tries_and_an_answer_closes_it(breakers, clock):
    fail(breakers)
    clock.now += FIRST_PAUSE
    assert breakers.allow("mood@1")
    assert not breakers.allow("mood@1")
    answer(breakers)
    assert breakers.allow("mood@1")
    fail(breakers, FAILED_IN_A_ROW - 1)  # and what was before is forgotten
    assert breakers.allow("mood@1")


def test_each_trial_that_fails_doubles_the_pause_up_to_the_longest(breakers, clock):
    fail(breakers)
    pause = FIRST_PAUSE
    for _ in range(8):
        clock.now += pause - 0.001
        assert not breakers.allow("mood@1")
        clock.now += 0.001
        assert breakers.allow("mood@1")
        fail(breakers, 1)
        pause = min(2 * pause, LONGEST_PAUSE)
    assert pause == LONGEST_PAUSE


def test_what_was_sent_before_it_opened_changes_nothing(breakers, clock):
    fail(breakers)
    answer(breakers)
    fail(breakers, 3)
    assert not breakers.allow("mood@1")
    clock.now += FIRST_PAUSE
    assert breakers.allow("mood@1")


def test_a_trial_that_never_told_its_end_is_followed_by_another(breakers, clock):
    fail(breakers)
    clock.now += FIRST_PAUSE
    assert breakers.allow("mood@1")
    clock.now += TRIAL_SECONDS
    assert breakers.allow("mood@1")
    assert not breakers.allow("mood@1")


def test_opening_and_closing_are_logged_once_each(breakers, clock, caplog):
    fail(breakers, 3 * FAILED_IN_A_ROW)
    clock.now += FIRST_PAUSE
    assert breakers.allow("mood@1")
    answer(breakers)
    opened, closed = caplog.messages
    assert "mood@1: nano keeps failing" in opened
    assert closed == "mood@1: nano answers again"


# Several cards of one model


def test_a_broken_card_leaves_the_others_of_its_model_their_traffic(breakers):
    for _ in range(3 * FAILED_IN_A_ROW):
        fail(breakers, 1)
        answer(breakers, "mail@1")
    assert not breakers.allow("mood@1")
    assert breakers.allow("mail@1") and breakers.allow("spam@1")
    fail(breakers, FAILED_IN_A_ROW - 1, "mail@1")
    assert breakers.allow("mail@1"), "of its own it had too few"


def test_a_model_that_fails_all_its_cards_is_found_out_sooner_by_each(breakers):
    fail(breakers)
    for card in ("mail@1", "spam@1"):
        fail(breakers, AGREEING - 1, card)
        assert breakers.allow(card)
        fail(breakers, 1, card)
        assert not breakers.allow(card)


def test_cards_of_another_model_say_nothing(breakers):
    fail(breakers)
    for _ in range(AGREEING):
        breakers.note("mail@1", "mini", failed=True)
    assert breakers.allow("mail@1")


def test_once_a_model_answers_one_of_its_cards_the_others_try_as_well(breakers, clock):
    fail(breakers)
    fail(breakers, AGREEING, "mail@1")
    clock.now += FIRST_PAUSE
    assert breakers.allow("mood@1")
    fail(breakers, 1)
    assert breakers.allow("mail@1")
    answer(breakers, "mail@1")
    assert breakers.allow("mood@1"), "though its pause was doubled"
    assert not breakers.allow("mood@1"), "one request at a time"
    answer(breakers)
    assert breakers.allow("mood@1")
