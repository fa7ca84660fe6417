import json
import subprocess
import sys
from dataclasses import replace

import pytest

from compiler.recognition import align, mine
from compiler.recognition.mine import Miner, sample_of
from compiler.recognition.template import Template
from tests.compiler.recognition.traffic import Learned, Prose, chat, filled, never_merged, sample, shuffled, told, user

ORDERS = [
    "Summarise this mail of a customer in one short line for the support desk.\n\n{}",
    "Say in one word what this customer is angry about.\n\nMessage: {}\n\nOne word:",
    "{}\n\nWrite a friendly answer to the customer who wrote this, in three lines.",
    "Translate this mail of a customer into French. Give the translation only.\n\n{}",
    "Translate this mail of a customer into German. Give the translation only.\n\n{}",
]
SUMMARY = ORDERS[0]


def traffic(each: int = 40, seed: object = "traffic"):
    prose = Prose(seed)
    return [request for order in ORDERS for request in filled(order, prose.texts(each))]


def ids(learned: Learned) -> list[str | None]:
    """What new requests are of, by order."""
    texts = Prose("new").texts(8)
    return [learned.the_task(filled(order, texts)) for order in ORDERS]


def only(learned: Learned) -> Template:
    (found,) = learned.templates
    return found


def test_the_same_requests_in_another_order_make_the_same_tasks():
    found = [ids(Learned(shuffled(traffic(), seed))) for seed in range(4)]
    assert found == [found[0]] * 4


def test_the_same_requests_in_batches_make_the_same_tasks():
    requests = shuffled(traffic())
    batched = Learned(requests[:80])
    for at in range(80, len(requests), 30):
        batched.more(requests[at : at + 30])
    assert ids(batched) == ids(Learned(requests))


def test_tasks_stay_while_more_of_the_same_comes():
    learned = Learned(shuffled(traffic()))
    before = ids(learned)
    for seed in range(5):
        learned.more(shuffled(traffic(20, seed)))
        assert ids(learned) == before


def test_tasks_stay_after_a_restart_from_what_was_published():
    learned = Learned(shuffled(traffic()))
    published = [Template.from_json(json.loads(json.dumps(t.to_json()))) for t in learned.templates]
    again = Learned([], published)
    assert ids(again) == ids(learned)
    again.more(shuffled(traffic(30, "after")))
    assert ids(again) == ids(learned)


MINED = """
from tests.compiler.recognition.test_mine import Learned, tangled
print(sorted(template.signature for template in Learned(tangled()).templates))
"""


def tangled():
    """Requests that share several phrases as often as each other, so that any of them could come first."""
    prose = Prose("tangled")
    phrases = [" ".join(prose.word() for _ in range(6)) for _ in range(12)]
    picked = [prose.random.sample(phrases, 3) for _ in range(90)]
    return [user(f"{prose.word()} {a} {prose.text()} {b}\n{prose.text()} {c}") for a, b, c in picked]


def test_the_same_requests_make_the_same_templates_in_every_process():
    """Sets of strings have another order in each."""
    found = {
        subprocess.run(
            [sys.executable, "-c", MINED],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": "."},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(found) == 1
    assert found.pop().strip() != "[]"


def test_nothing_new_changes_nothing():
    learned = Learned(traffic())
    assert learned.miner.mine() == set()


def test_templates_of_requests_long_gone_stay():
    learned = Learned(traffic())
    before = ids(learned)
    learned.miner.forget()
    learned.more(filled("Count the chairs that this mail of a customer is about: {}", Prose("other").texts(40)))
    assert ids(learned) == before


def test_bounds_widen_and_the_task_stays():
    prose = Prose("wider")
    learned = Learned(filled(SUMMARY, [prose.sentence() for _ in range(30)]))
    task = only(learned).id
    long = [prose.document(3_000) for _ in range(30)]
    assert learned.tasks(filled(SUMMARY, long)) == {None}
    learned.more(filled(SUMMARY, long))
    assert learned.the_task(filled(SUMMARY, [prose.document(3_000) for _ in range(10)])) == task
    assert learned.the_task(filled(SUMMARY, prose.texts(10))) == task


def test_bounds_never_narrow():
    prose = Prose("narrow")
    learned = Learned(filled(SUMMARY, [prose.document(3_000) for _ in range(30)]))
    learned.miner.forget()
    learned.more(filled(SUMMARY, [prose.text(1, 1) for _ in range(60)]))
    assert learned.task(user(SUMMARY.replace("{}", prose.document(3_000)))) == only(learned).id


def test_a_literal_that_turns_out_to_be_data_leaves_the_task_its_id():
    prose = Prose("refined")
    order = "Write a birthday card in four lines for our customer {} in the town of {}. She said: "

    def requests(name, count: int):
        return [user(order.replace("{}", name(), 1).replace("{}", "Rome") + text) for text in prose.texts(count)]

    learned = Learned(requests(lambda: "Ann Miller", 20))
    before = only(learned).id
    assert "Ann Miller" in only(learned).shown()
    learned.more(requests(prose.name, 8))
    learned.more(requests(prose.name, 60))
    after = [t for t in learned.templates if "Ann Miller" not in t.shown()]
    assert before in [t.id for t in learned.templates]
    assert after


def test_ids_never_collide():
    learned = Learned(shuffled(traffic()))
    for seed in range(3):
        learned.more(shuffled(traffic(15, seed)))
    found = [template.id for template in learned.templates]
    assert len(found) == len(set(found))


def test_an_id_that_another_template_has_is_given_to_no_new_one():
    wanted = only(Learned(filled(SUMMARY, Prose("ids").texts(30)))).id
    holder = replace(only(Learned(filled(ORDERS[1], Prose("ids").texts(30)))), id=wanted)
    learned = Learned(filled(SUMMARY, Prose("ids").texts(30)), [holder])
    assert len({template.id for template in learned.templates}) == len(learned.templates) == 2


def test_tenants_never_share_a_template():
    miner = Miner()
    for tenant in ("shop", "bank"):
        for request in filled(SUMMARY, Prose(tenant).texts(20)):
            miner.add(sample(request, tenant))
    miner.mine()
    assert sorted(t.tenant for t in miner.templates) == ["bank", "shop"]
    assert len({t.id for t in miner.templates}) == 2


@pytest.mark.parametrize(
    "more",
    [
        {"model": "gpt-small"},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"response_format": {"type": "json_object"}},
    ],
)
def test_what_differs_in_structure_is_another_task(more):
    requests = filled(SUMMARY, Prose("structure").texts(30))
    learned = Learned(requests + [request | more for request in requests])
    never_merged(
        learned,
        [lambda text: user(SUMMARY.replace("{}", text)), lambda text: user(SUMMARY.replace("{}", text), **more)],
    )
    assert len(learned.templates) == 2


VALUES = {
    "email": lambda n: f"jane{n}@example.org",
    "url": lambda n: f"https://example.org/orders/{n}",
    "uuid": lambda n: f"123e4567-e89b-12d3-a456-{n:012d}",
    "datetime": lambda n: f"2026-11-{n % 28 + 1:02d}",
    "ip": lambda n: f"192.0.2.{n % 250 + 1}",
}


@pytest.mark.parametrize("kind", VALUES)
def test_a_value_of_a_type_makes_a_slot_that_takes_no_other(kind):
    order = "Write a short note for the support desk about what came from {} and say what is to be done: "
    texts = Prose(kind).texts(40)
    learned = Learned(user(order.replace("{}", VALUES[kind](n)) + text) for n, text in enumerate(texts))
    assert f"{{{kind}1}}" in only(learned).shown()
    text = Prose("new").text()
    assert learned.task(user(order.replace("{}", VALUES[kind](999 if kind != "ip" else 7)) + text))
    for other in (
        "nobody",
        "",
        f"{VALUES[kind](3)} and whoever",
        *(make(3) for k, make in VALUES.items() if k != kind),
    ):
        assert learned.task(user(order.replace("{}", other) + text)) is None, other


def test_an_address_that_never_differs_is_literal_and_a_date_is_never():
    order = "See https://example.org/rules first. Today is 2026-11-24. Say in a word what this is about: "
    learned = Learned(user(order + text) for text in Prose("constant").texts(30))
    text = Prose("new").text()
    assert learned.task(user(order + text))
    assert learned.task(user(order.replace("2026-11-24", "2027-01-02") + text))
    assert learned.task(user(order.replace("/rules", "/other") + text)) is None
    assert learned.task(user(order.replace("2026-11-24", "some day") + text)) is None


def test_a_request_of_no_text_is_left_out():
    image = {"role": "user", "content": [{"type": "image_url", "image_url": {}}]}
    assert sample_of("shop", "s", {"messages": [image]}) is None
    assert sample_of("shop", "s", {}) is None


STRANGE = {
    "private characters": "\ue000\ue0ff and \ue005",
    "lone surrogates": "so \ud800 happy \udfff",
    "empty": "",
    "white space": " \n\t \r\n ",
    "control characters": "a\0b\x01\x1b[31m\x7f",
    "one huge word": "x" * 200_000,
    "a huge text": "so happy " * 30_000,
    "a separator": "a\x1fb\x1fc",
    "signs": "{}{}{0}%s\\1$1[[((",
    "combining": "e\u0301\u200d\ufeff\u202e",
    "emoji": "👩‍👩‍👧‍👦" * 20,
}


@pytest.mark.parametrize("strange", STRANGE)
@pytest.mark.parametrize("system", [None, "Decide what the customer wants: refund, exchange or repair."])
def test_a_strange_text_breaks_nothing_and_is_matched_wrongly_by_nothing(strange, system):
    text = STRANGE[strange]
    requests = [
        request for n in range(6) for request in ([told(system, f"{text}{n}")] if system else [user(f"{text}{n}")])
    ]
    usual = filled(SUMMARY, Prose("usual").texts(30))
    learned = Learned(shuffled([*requests, *usual, user(text), user(text), user(text)]))
    assert learned.the_task(usual)
    assert learned.the_task(usual) not in learned.tasks([*requests, user(text)])


@pytest.mark.parametrize("strange", [name for name in STRANGE if name != "empty"])
def test_a_strange_value_in_a_slot_is_data_or_of_no_task(strange):
    learned = Learned(filled(SUMMARY, Prose("usual").texts(30)))
    found = learned.match(user(SUMMARY.replace("{}", STRANGE[strange])))
    assert found is None or SUMMARY.replace("{}", found.values[0]) == SUMMARY.replace("{}", STRANGE[strange])


def test_messages_of_several_parts_are_learned_like_others():
    def request(text: str):
        parts = [{"type": "text", "text": "Say in one short line what this mail of a customer is about."}]
        return {"model": "gpt-big", "messages": [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]}

    prose = Prose("parts")
    learned = Learned(map(request, prose.texts(30)))
    assert learned.the_task(map(request, prose.texts(10)))
    joined = user("Say in one short line what this mail of a customer is about.\x1fHm")
    assert learned.task(joined) is None


def test_no_messages_are_no_task():
    assert Learned([chat()] * 5).templates == []


def test_five_thousand_times_the_same_request_is_one_task_in_little_memory():
    learned = Learned([user("Write a joke about garden furniture that nobody has told before.")] * 20)
    learned.more([user("Write a joke about garden furniture that nobody has told before.")] * 5_000)
    assert only(learned).patterns[0].constant
    assert held(learned.miner) <= mine.PER_TEMPLATE + 1


def held(miner: Miner) -> int:
    return sum(len(structure.kept) for structure in miner._structures.values())


def test_of_one_template_few_requests_are_kept(monkeypatch):
    monkeypatch.setattr(mine, "PER_TEMPLATE", 20)
    learned = Learned(filled(SUMMARY, Prose("many").texts(15)))
    for seed in range(10):
        learned.more(filled(SUMMARY, Prose(seed).texts(30)))
    assert held(learned.miner) <= 40
    assert learned.the_task(filled(SUMMARY, Prose("new").texts(10)))


def test_of_one_structure_no_more_than_so_many_are_kept(monkeypatch):
    monkeypatch.setattr(mine, "PER_STRUCTURE", 50)
    miner = Miner()
    for text in Prose("free").texts(200):
        miner.add(sample(user(text)))
    assert held(miner) == 50


def test_what_turns_out_to_be_of_one_template_is_thinned_out(monkeypatch):
    monkeypatch.setattr(mine, "PER_TEMPLATE", 20)
    miner, others = Miner(), filled("Say who wrote this, in one word: {}", Prose("other").texts(3))
    for request in [*filled(SUMMARY, Prose("many").texts(60)), *others]:
        miner.add(sample(request))
    miner.mine()
    assert held(miner) == 20 + 3, "what is of no template yet stays"
    (structure,) = miner._structures.values()
    assert structure.chars == miner._chars == sum(kept.size for kept in structure.kept)


def test_of_one_structure_no_more_than_so_many_characters_are_kept(monkeypatch):
    monkeypatch.setattr(mine, "CHARS_OF_STRUCTURE", 2_000)
    miner = Miner()
    for number, text in enumerate(Prose("free").texts(100)):
        miner.add(sample(user(text, model=f"m{number % 2}")))
    sizes = [sum(kept.size for kept in structure.kept) for structure in miner._structures.values()]
    assert len(sizes) == 2
    assert all(1_000 < size <= 2_000 for size in sizes)


def test_of_all_requests_no_more_than_so_many_characters_are_kept(monkeypatch):
    monkeypatch.setattr(mine, "KEPT_CHARS", 10_000)
    miner = Miner()
    for number, text in enumerate(Prose("free").texts(300)):
        miner.add(sample(user(text, model=f"m{number % 5}")))
        kept = sum(len(one.text) for structure in miner._structures.values() for one in structure.kept)
        assert kept <= 10_000
    miner.forget()
    assert held(miner) == 0
    miner.add(sample(user(Prose("after").document(5_000))))
    assert held(miner) == 1, "what was forgotten takes no room"


def test_a_request_too_large_to_learn_from_is_recognised_nevertheless(monkeypatch):
    learned = Learned(filled(SUMMARY, [Prose(n).document(600) for n in range(20)]))
    monkeypatch.setattr(mine, "MOST_CHARS", 100)
    before = held(learned.miner)
    large = user(SUMMARY.replace("{}", Prose("large").document(600)))
    assert learned.miner.add(sample(large)) == only(learned)
    assert held(learned.miner) == before


HOSTILE = {
    "long runs": lambda n: "a" * 20_000 + str(n),
    "repeated phrases": lambda n: "so very happy with it " * 900 + f"number {n}",
    "every line the same": lambda n: "the same line\n" * 1_500 + str(n),
    "one token": lambda n: "x" * 200_000 + str(n),
    "growing": lambda n: " ".join(f"w{i}" for i in range(n * 60)),
    "no word at all": lambda n: "-=" * 10_000 + "!" * n,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_texts_end_in_bounded_work(kind, monkeypatch):
    """Twice the requests ask for little more than twice the comparisons, and not for millions."""

    def comparisons(count: int) -> int:
        calls = 0
        whole = align._whole

        def counted(anchor: str, value: str) -> bool:
            nonlocal calls
            calls += 1
            return whole(anchor, value)

        with monkeypatch.context() as patched:
            patched.setattr(align, "_whole", counted)
            Learned(user(f"Summarise this for us: {HOSTILE[kind](n)}") for n in range(count))
        return calls

    few, many = comparisons(8), comparisons(16)
    assert many <= 8 * few + 20_000
