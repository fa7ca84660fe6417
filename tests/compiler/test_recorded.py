import pytest

from compiler.recognition.catalogue import Catalogue
from compiler.recognition.discovery import Discovery
from compiler.recorded import Recorded
from tests.learned import SUMMARY, TOXIC, observed, request, some

NAME = "decide-whether-comment-toxic"


@pytest.fixture
def recognition(store, observations):
    """With one task known."""
    observations.add(some(TOXIC))
    Discovery(store, observations).step()
    return Catalogue(store).recognition()


def read(recorded, recognition, declared=()):
    while recorded.read(recognition, declared):
        pass


def test_what_came_before_a_task_was_known_is_its_own_too(observations, recognition):
    recorded = Recorded(observations)
    read(recorded, recognition)
    assert recorded.names() == [NAME] and recorded.number(NAME) == 20


def test_what_is_new_is_read_once_and_in_its_order(observations, recognition):
    recorded = Recorded(observations)
    read(recorded, recognition)
    position = recorded.position()
    observations.add([observed(request(TOXIC, text), answer=text) for text in ("One mail", "Two mails")])
    read(recorded, recognition)
    assert [one.answer for _, one in recorded.since(NAME, position)] == ["One mail", "Two mails"]
    assert recorded.number(NAME) == 22


def test_a_declared_task_is_told_by_the_worker_that_named_it(observations, recognition):
    observations.add(some(SUMMARY, 3, template="mood"))
    recorded = Recorded(observations)
    read(recorded, recognition, {"mood"})
    assert recorded.number("mood") == 3


def test_what_is_of_no_task_or_of_one_to_be_left_alone_is_not_kept_in_mind(store, observations, recognition):
    observations.add(some(SUMMARY, 3))
    recorded = Recorded(observations)
    read(recorded, recognition)
    assert recorded.names() == [NAME]
    Catalogue(store).ignore([NAME])
    recorded.again()
    read(recorded, Catalogue(store).recognition())
    assert recorded.names() == []


def test_a_later_turn_of_what_began_as_a_task_is_no_request_of_it_but_says_that_it_goes_on(observations, recognition):
    body = request(TOXIC, "Parcel came late today")
    body["messages"] += [{"role": "assistant", "content": "yes"}, {"role": "user", "content": "Why?"}]
    observations.add([observed(body), observed(body, template="mood")])
    recorded = Recorded(observations)
    read(recorded, recognition, {"mood"})
    assert (recorded.number(NAME), recorded.continued(NAME)) == (20, 1)
    assert (recorded.number("mood"), recorded.continued("mood")) == (0, 1)


def test_after_a_forgetting_only_what_is_left_is_in_mind(observations, recognition):
    recorded = Recorded(observations)
    read(recorded, recognition)
    observations.forget(tenant="default")
    read(recorded, recognition)
    assert recorded.names() == [] and list(recorded.since(NAME)) == []
