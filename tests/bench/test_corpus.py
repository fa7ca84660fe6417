"""The labelled corpus, its edits, and what recognisers are scored by."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from bench.corpus.draft import Draft, Labelled, Turn
from bench.corpus.edits import KINDS, Edit, edits, instructions
from bench.corpus.jsonl import CorpusError, read, write
from bench.corpus.tasktypes import generate, task_types
from bench.corpus.text import Literal, Variable, fill, joined
from bench.recognise import Halves, Measured, halves, measure
from bench.recognisers import ENTRIES, SystemHash
from bench.scoring import (
    CATCH_ALL,
    Assigned,
    AssignedEdit,
    Times,
    completeness,
    homogeneity,
    over_seeds,
    score,
    wrong_types,
)
from bench.tables import recognition


@pytest.fixture(scope="module")
def corpus() -> list[Labelled]:
    return generate(seed=7)


def ask(text: str, system: str = "Sort mails.") -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "system", "content": system}, {"role": "user", "content": text}]}


def test_the_same_seed_makes_the_same_requests_and_another_seed_others(corpus: list[Labelled]) -> None:
    again, other = generate(seed=7, requests=3), generate(seed=8, requests=3)
    made = {orjson.dumps(sample.request) for sample in corpus}
    assert all(orjson.dumps(sample.request) in made for sample in again)
    same = sum(orjson.dumps(sample.request) in made for sample in other)
    assert same < len(other) / 20  # short ones may meet by chance


def test_every_type_has_100_different_requests(corpus: list[Labelled]) -> None:
    by_type: dict[str, set[bytes]] = {}
    for sample in corpus:
        by_type.setdefault(sample.type, set()).add(orjson.dumps(sample.request))
    assert {len(requests) for requests in by_type.values()} == {100}
    parts = Counter(kind.part for kind in task_types().values())
    assert parts["main"] >= 45 and parts["adversarial"] >= 8


def test_no_request_is_of_two_types(corpus: list[Labelled]) -> None:
    types: dict[bytes, str] = {}
    for sample in corpus:
        assert types.setdefault(orjson.dumps(sample.request), sample.type) == sample.type


def test_what_types_are_is_told_by_their_literals_and_by_what_is_declared() -> None:
    def shown(name: str) -> bytes:
        draft = task_types()[name].draft(lambda slot: "#")
        return orjson.dumps(draft.request())

    assert len({shown(name) for name in task_types()}) == len(task_types())


def test_some_documents_are_long_and_none_is_longer_than_50_kb(corpus: list[Labelled]) -> None:
    longest = max(len(orjson.dumps(sample.request)) for sample in corpus)
    assert 20_000 < longest < 60_000


def test_braces_that_name_no_slot_stay() -> None:
    text = fill('{"a": {x}} {name} {name#2}', lambda slot: slot.upper())
    assert joined(text) == '{"a": X} NAME NAME#2'
    assert [type(segment) for segment in text] == [Literal, Variable, Literal, Variable, Literal, Variable]


def test_a_slot_that_comes_again_has_the_same_value(corpus: list[Labelled]) -> None:
    sample = next(sample for sample in corpus if sample.type == "offer_with_prices")
    assert sample.draft
    name = [segment.text for turn in sample.draft.turns for text in turn.texts for segment in text][3]
    assert name in sample.request["messages"][1]["content"]


@pytest.fixture(scope="module")
def edited(corpus: list[Labelled]) -> list[Edit]:
    return list(edits(corpus[::7], seed=1))


def test_each_request_is_edited_once_in_every_kind(corpus: list[Labelled], edited: list[Edit]) -> None:
    assert Counter(edit.kind for edit in edited) == dict.fromkeys(KINDS, len(corpus[::7]))
    assert list(edits(corpus[:5], seed=1)) == list(edits(corpus[:5], seed=1))


def test_edits_differ_from_their_originals_which_stay_as_they_were(edited: list[Edit]) -> None:
    for edit in edited:
        assert edit.request != edit.original.request, edit.how
        assert edit.original.draft and edit.original.draft.request() == edit.original.request


def test_edits_of_texts_leave_the_rest_alone_and_those_of_the_rest_leave_texts(edited: list[Edit]) -> None:
    for edit in edited:
        texts, rest = edit.request["messages"], {k: v for k, v in edit.request.items() if k != "messages"}
        was, was_rest = edit.original.request["messages"], {**edit.original.request}
        del was_rest["messages"]
        assert (texts == was, rest == was_rest) == ((True, False) if edit.kind == "c" else (False, True))


def test_all_ways_of_editing_come_up(edited: list[Edit]) -> None:
    assert {edit.how for edit in edited if edit.kind == "a"} == {"added", "added at an end", "removed", "negated"}
    assert {edit.how for edit in edited if edit.kind == "b"} >= {f"inserted into {r}" for r in ("system", "user")}
    ways = {"tool added", "tool removed", "description changed", "field changed", "format changed"}
    assert {edit.how for edit in edited if edit.kind == "c"} == ways


def test_edits_of_literals_leave_variables_alone() -> None:
    secret = "Keep this. Do not change it."
    turn = Turn("user", [(Literal("Do answer this question now. "), Variable(secret), Literal("\nNever guess."))])
    draft = Draft([turn])
    sample = Labelled("t", draft.request(), draft=draft)
    for seed in range(200):
        edit = next(edits([sample], seed))
        assert edit.kind == "a"
        assert secret in edit.request["messages"][0]["content"], edit.how


def test_an_instruction_stands_where_data_begins() -> None:
    draft = Draft([Turn("user", [(Literal("Mail: "), Variable("hello"))])])
    sample = Labelled("t", draft.request(), draft=draft)
    found = {next(edits([sample], seed)).request["messages"][0]["content"] for seed in range(100)}
    assert f"Mail: {instructions()[0]} hello" in found


def test_requests_out_of_a_file_have_no_edits_of_literals() -> None:
    found = list(edits([Labelled("t", ask("hello"))], seed=1))
    assert [edit.kind for edit in found] == ["b", "c"]
    without_text = {"messages": [{"role": "user", "content": None}]}
    assert [edit.kind for edit in edits([Labelled("t", without_text)], seed=1)] == ["c"]


def test_there_are_60_instructions_in_five_languages() -> None:
    assert len(set(instructions())) >= 60


def test_a_corpus_is_read_as_it_was_written(tmp_path: Path) -> None:
    given = [Labelled("a", ask("x")), Labelled("b", ask("y"), "adversarial", "score")]
    write(tmp_path / "c.jsonl", given)
    assert read(tmp_path / "c.jsonl") == given


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "no JSON"),
        ("[]", "not an object"),
        ('{"request": {}}', '"type"'),
        ('{"type": "a"}', '"request" must be an object'),
        ('{"type": "a", "request": {"messages": []}}', '"messages"'),
        ('{"type": "a", "request": {"messages": ["hi"]}}', 'messages[0] must be an object with a "role"'),
        ('{"type": "a", "request": {"messages": [{"role": "user", "content": 3}]}}', 'messages[0]: "content"'),
        (
            '{"type": "a", "part": "x", "request": {"messages": [{"role": "user", "content": ""}]}}',
            '"part" must be one',
        ),
        ('{"type": "a", "split": "x", "request": {"messages": [{"role": "user", "content": ""}]}}', '"split" must be'),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text(json.dumps({"type": "a", "request": ask("x")}) + "\n\n" + line + "\n")
    with pytest.raises(CorpusError) as error:
        read(path)
    assert str(error.value).startswith(f"{path}:3: ") and says in str(error.value)


def test_a_file_that_is_not_there_or_empty_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="No such file"):
        read(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(CorpusError, match="no requests"):
        read(tmp_path / "empty.jsonl")


def test_each_type_is_cut_in_two_and_a_given_split_is_kept() -> None:
    free = [Labelled(name, ask(str(number))) for name in "ab" for number in range(10)]
    told = [Labelled("c", ask("x"), split="score"), Labelled("c", ask("y"), split="learn")]
    cut = halves(free + told, seed=1)
    assert Counter(sample.type for sample in cut.learn) == {"a": 5, "b": 5, "c": 1}
    assert Counter(sample.type for sample in cut.score) == {"a": 5, "b": 5, "c": 1}
    assert all(sample.split != "score" for sample in cut.learn)
    assert halves(free, seed=1) == halves(free, seed=1) != halves(free, seed=2)
    assert Counter(sample.type for sample in halves(free, seed=1, per_type=4).score) == {"a": 2, "b": 2}


def assigned(*of: tuple[str, str | None]) -> list[Assigned]:
    return [Assigned(name, "main", found) for name, found in of]


NO_TIME = Times(0.0, [0.0])


def test_a_match_is_wrong_on_another_types_id_and_on_one_that_learned_two() -> None:
    learned = assigned(("a", "1"), ("b", "2"), ("b", "3"), ("c", "3"))
    scored = assigned(
        ("a", "1"), ("a", "2"), ("b", "3"), ("c", "3"), ("c", None), ("c", CATCH_ALL), ("c", "new"), ("b", "2")
    )
    found = score(learned, scored, [], NO_TIME)
    assert found.wrong == 4 / 8  # a on b's, b and c on the shared one, c on one that nobody learned
    assert wrong_types(learned, scored) == {"a": 1, "b": 1, "c": 2}
    assert (found.recognised, found.catch_all) == (7 / 8, 1 / 8)
    assert found.wrong_adversarial is None


def test_the_adversarial_part_is_counted_apart() -> None:
    learned = assigned(("a", "1"), ("b", "2"))
    scored = [*assigned(("a", "1")), Assigned("b", "adversarial", "1"), Assigned("b", "adversarial", "2")]
    found = score(learned, scored, [], NO_TIME)
    assert (found.wrong, found.wrong_adversarial) == (0, 1 / 2)


def test_homogeneity_and_completeness_of_known_clusterings() -> None:
    perfect = [("a", "1"), ("a", "1"), ("b", "2"), ("b", "2")]
    split = [("a", "1"), ("a", "2"), ("b", "3"), ("b", "4")]
    merged = [("a", "1"), ("a", "1"), ("b", "1"), ("b", "1")]
    assert (homogeneity(perfect), completeness(perfect)) == (1, 1)
    assert (homogeneity(split), completeness(split)) == (1, pytest.approx(0.5))
    assert (homogeneity(merged), completeness(merged)) == (pytest.approx(0), 1)
    mixed = [("a", "1"), ("a", "1"), ("a", "2"), ("b", "2")]
    assert homogeneity(mixed) == pytest.approx(0.3836885)  # 1 - (2/4 · ln 2) / 0.562335
    assert homogeneity([]) is None and completeness([]) is None


def test_what_is_known_to_be_of_no_task_is_in_no_cluster() -> None:
    learned = assigned(("a", CATCH_ALL), ("b", CATCH_ALL))
    found = score(learned, assigned(("a", CATCH_ALL), ("b", CATCH_ALL)), [], NO_TIME)
    assert (found.wrong, found.recognised, found.homogeneity, found.ids_mean) == (0, 1, None, 0)


def test_splits_are_the_ids_of_a_type() -> None:
    found = score(assigned(("a", "1"), ("a", "2"), ("b", "3")), assigned(("a", "4"), ("c", None)), [], NO_TIME)
    assert (found.ids_mean, found.ids_max) == (2, 3)


def test_an_edit_is_matched_if_it_gets_its_originals_task() -> None:
    learned = assigned(("a", "1"), ("b", "2"))
    edited = [AssignedEdit("a", "added", "a", found) for found in ("1", "2", None, CATCH_ALL)]
    found = score(learned, assigned(("a", "1")), [*edited, AssignedEdit("b", "inserted", "b", "2")], NO_TIME)
    assert (found.edits_a, found.edits_b, found.edits_c) == (1 / 4, 1, None)


def test_times_are_percentiles_in_microseconds() -> None:
    found = score([], [], [], Times(2.0, [n / 1e6 for n in range(1, 101)]))
    assert (found.learn_seconds, found.p50_us, found.p99_us) == (2.0, pytest.approx(51), pytest.approx(100))


def test_seeds_are_averaged_where_there_is_a_figure() -> None:
    one = score(assigned(("a", "1")), assigned(("a", "1")), [], NO_TIME)
    two = score(assigned(("a", "1"), ("b", "1")), assigned(("a", "1"), ("a", "2")), [], NO_TIME)
    mean = over_seeds([one, two])
    assert (mean.wrong, mean.ids_max, mean.edits_a) == (1 / 2, 2, None)


class Scripted:
    """Says what it was told to say, and keeps what it learned."""

    name = "scripted"

    def __init__(self, says: Mapping[str, str | None]) -> None:
        self.says = says
        self.learned: list[Any] = []

    def learn(self, requests: Sequence[Mapping[str, Any]]) -> None:
        self.learned += requests

    def assign(self, request: Mapping[str, Any]) -> str | None:
        return self.says.get(request["messages"][1]["content"])


def test_a_recogniser_learns_one_half_and_is_scored_on_the_other() -> None:
    learn = [Labelled("a", ask("a1")), Labelled("b", ask("b1"))]
    scored = [Labelled("a", ask("a2")), Labelled("b", ask("b2"))]
    edit = Edit("a", "added", scored[0], ask("a2 Be brief."))
    recogniser, into = Scripted({"a1": "1", "b1": "2", "a2": "1", "b2": "1", "a2 Be brief.": "1"}), Measured("scripted")
    measure(recogniser, Halves(learn, scored, [edit]), into)
    assert recogniser.learned == [ask("a1"), ask("b1")]
    (found,) = into.scores
    assert (found.wrong, found.edits_a, found.recognised) == (1 / 2, 1, 1)
    assert (into.wrong, into.matched) == ({"b": 1}, {"a: added": 1})
    assert into.to_json()["wrong_types"] == {"b": 1}
    assert recognition([("scripted", over_seeds(into.scores))]).row_count == 1


def test_the_hash_of_the_system_prompt_knows_what_it_has_seen() -> None:
    recogniser = SystemHash()
    recogniser.learn([ask("x", "One."), ask("y", "Two."), {"messages": [{"role": "user", "content": "hi"}]}])
    assert (
        recogniser.assign(ask("z", "One."))
        == recogniser.assign(ask("x", "One."))
        != recogniser.assign(ask("x", "Two."))
    )
    assert recogniser.assign(ask("x", "Three.")) is None
    assert recogniser.assign({"messages": [{"role": "user", "content": "hi"}]}) is None


def test_names_of_recognisers_are_unique() -> None:
    assert len({entry.name for entry in ENTRIES}) == len(ENTRIES)
