"""Which requests of a task are the compile's, and which are its pairs."""

from dataclasses import replace

import pytest

from compiler.models import Models, Options
from compiler.observation import input_of
from compiler.task import Task
from proxy.prove.case import EXAMPLES, Case, answering, divide, number_of
from proxy.prove.kept import Begun, Kept, digest
from proxy.prove.redacted import Redacted
from proxy.prove.traffic import Requests
from proxy.replay.recogniser import Match
from tests.compiler.moods import MOOD, card_of, seen, texts


@pytest.mark.parametrize(
    ("requests", "least", "first"), [(100, 20, 25), (100, 40, 40), (1_000, 40, EXAMPLES), (39, 40, None), (0, 1, None)]
)
def test_a_quarter_is_the_compiles_with_enough_examples_and_no_more_than_it_can_use(requests, least, first):
    assert divide(texts(requests), least) == first


def test_what_came_twice_is_one_example():
    twice = [one for one in texts(50) for _ in (0, 1)]
    assert divide(twice, 40) == 79


def test_the_model_that_answers_now_is_the_one_of_most_of_the_newest():
    before, now = texts(200), [replace(one, model="fake-strong-2") for one in texts(60)]
    assert answering([*before, *now]) == "fake-strong-2"
    assert answering([*before, now[0]]) == "fake-strong"
    assert answering([]) == ""


# What is kept between two runs


OBSERVED = texts(30)


@pytest.fixture
def kept(store, models):
    return Kept(store, "log", models, Options())


def begun(number: int = 1, first: int = 10) -> Begun:
    return Begun(number, card_of(MOOD), first, digest(OBSERVED[:first]), 0.02)


def test_a_card_is_found_again_for_the_same_first_requests_only(kept):
    assert kept.find(MOOD, OBSERVED) is None
    kept.begin(MOOD, begun())
    assert kept.find(MOOD, OBSERVED) == begun()
    assert kept.find(MOOD, [*OBSERVED, *texts(5, 40)]) == begun(), "the log has grown"
    assert kept.find(MOOD, OBSERVED[1:]) is None
    assert kept.find(MOOD, OBSERVED[:10]) is None, "nothing is left to prove it on"
    changed = [replace(OBSERVED[0], answer="otherwise"), *OBSERVED[1:]]
    assert kept.find(MOOD, changed) is None


def test_another_wording_other_models_and_another_log_have_other_cards_and_proofs_are_counted(store, models, kept):
    kept.begin(MOOD, begun())
    assert kept.find(replace(MOOD, description="Otherwise."), OBSERVED) is None
    others: list[tuple[str, Models]] = [("log", replace(models, production=("fake-mini",))), ("another", models)]
    for mark, chosen in others:
        other = Kept(store, mark, chosen, Options())
        assert other.find(MOOD, OBSERVED) is None
        assert other.begun(MOOD) == 1, "the next one is the second proof of the task, whichever card it is of"
    kept.begin(MOOD, begun(3))
    kept.begin(MOOD, begun(2))
    assert kept.begun(MOOD) == 3
    assert kept.begun(Task("another", "")) == 0


# Redaction


MAIL = "Write to jane.roe@corp.example, or call +49 171 5550123."


def test_the_same_request_is_redacted_alike_each_time_and_by_another_key_otherwise():
    observed = [seen(MAIL, "jane.roe@corp.example"), seen("nothing to hide", "good")]
    first, again, other = (Redacted(observed, key)[0] for key in (b"1", b"1", b"2"))
    assert first == again != other
    assert "corp.example" not in str(first) and "5550123" not in str(first)
    assert first.answer in input_of(first), "the answer is still in the request"
    assert first.request["model"] == "fake-strong"
    assert Redacted(observed, b"1")[1] == observed[1]


def test_without_a_key_nothing_is_changed():
    observed = texts(3)
    assert [*Redacted(observed, None)] == observed
    assert Redacted(observed, None)[1:] == observed[1:]


def test_a_compile_that_found_nothing_is_remembered_for_the_same_requests_and_its_looks_are_counted(kept):
    assert kept.failure(MOOD, OBSERVED[:10]) is None
    kept.fail(MOOD, OBSERVED[:10], "nothing works", 2)
    assert kept.failure(MOOD, OBSERVED[:10]) == "nothing works"
    assert kept.failure(MOOD, OBSERVED[:12]) is None, "with more examples it is worth another try"
    assert kept.begun(MOOD) == 2


def test_each_look_at_sealed_examples_and_each_margin_is_as_good_as_a_proof(kept):
    case = Case(MOOD, Requests(Match("t1", "mood", "")), OBSERVED, 10, "fake-strong")
    assert [number_of(case, kept, 0.02), number_of(case, kept, 0.02, looks=2)] == [1, 3]
    kept.begin(MOOD, begun(3))
    goes_on = replace(case, begun=kept.find(MOOD, OBSERVED))
    assert [number_of(goes_on, kept, 0.02), number_of(goes_on, kept, 0.05)] == [3, 4]
    assert case.pairs == 20 and len(case.compiled_from) == 10
