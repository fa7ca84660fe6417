import pytest

from proxy.replay import mining
from proxy.replay.mining import FREE_CHAT, Mining
from tests.proxy.replay.samples import REQUEST

WORDS = ("parcel", "invoice", "refund", "login", "colour", "delivery", "password", "box", "order", "shirt", "table")
PATH = "/v1/chat/completions"


def body(system: str, number: int) -> dict:
    user = f"My {WORDS[number % 11]} {number} and the {WORDS[number * 3 % 7]} {number * 13} did not come, why?"
    return {**REQUEST, "messages": [{"role": "system", "content": system}, {"role": "user", "content": user}]}


def learned(*bodies: dict) -> Mining:
    miner = Mining()
    for one in bodies:
        miner.add("default", PATH, one)
    miner.finish()
    return miner


SORT, SUM = "Classify the ticket by its topic, in one word.", "Summarise the ticket in one short sentence."


def test_two_tasks_are_told_apart_and_named():
    miner = learned(*(body(system, i) for i in range(40) for system in (SORT, SUM)))
    matches = [miner.match("default", PATH, body(system, 77)) for system in (SORT, SUM)]
    assert [match.name for match in matches if match] == [
        "classify-ticket-topic-one-word",
        "summarise-ticket-one-short-sentence",
    ]
    assert len({match.id for match in matches if match}) == 2
    assert all("{text" in match.template_text and not match.catch_all for match in matches if match)


def test_another_tenant_endpoint_or_instruction_is_not_the_same_task():
    miner = learned(*(body(SORT, i) for i in range(40)))
    assert miner.match("default", PATH, body(SORT, 77))
    assert miner.match("other", PATH, body(SORT, 77)) is None
    assert miner.match("default", "/v1/other", body(SORT, 77)) is None
    assert miner.match("default", PATH, body("Is the ticket rude? Say yes or no.", 77)) is None


def test_free_chat_is_recognised_and_never_compiled():
    def chat(number: int) -> dict:
        said = f"{WORDS[number % 11]} {number}? {WORDS[number * 5 % 11]} or {WORDS[number * 3 % 11]} {number * 7}!"
        return {
            **REQUEST,
            "messages": [
                {"role": "system", "content": "You are a helpful assistant."},
                {"role": "user", "content": said},
            ],
        }

    match = learned(*map(chat, range(60))).match("default", PATH, chat(99))
    assert match is None or (match.catch_all and match.name == FREE_CHAT)


def test_what_holds_no_text_is_of_no_task():
    picture = {**REQUEST, "messages": [{"role": "user", "content": [{"type": "image_url"}]}]}
    miner = learned(picture, {"model": "m"})
    assert miner.match("default", PATH, picture) is None
    assert miner.match("default", PATH, {"model": "m"}) is None


def test_of_a_template_with_plenty_only_some_are_looked_at(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(mining, "UNKNOWN_AT_MOST", 50)
    miner = Mining()
    added: list[object] = []
    original = miner._miner.add
    monkeypatch.setattr(miner._miner, "add", lambda sample: (added.append(sample), original(sample))[1])
    for i in range(2_000):
        miner.add("default", PATH, body(SORT, i))
    assert 50 < len(added) < 400


def test_looking_at_what_stays_unknown_gets_rarer(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(mining, "UNKNOWN_AT_MOST", 10)
    miner = Mining()
    looks: list[int] = []
    monkeypatch.setattr(miner._miner, "mine", lambda: (looks.append(i), set())[1])
    for i in range(1, 501):
        miner.add("default", PATH, body(f"{WORDS[i % 11]}{i}", i))
    assert looks == [10, 30, 70, 150, 310]
