import json
from pathlib import Path

import pytest

from compiler.errors import ExampleError
from compiler.example import (
    Example,
    Split,
    choose_demonstrations,
    example_from_json,
    load_examples,
    read_contract,
    split,
)
from compiler.task import Contract


def write(tmp_path: Path, *lines: object) -> Path:
    path = tmp_path / "examples.jsonl"
    path.write_text(
        "\n".join(line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines), "utf-8"
    )
    return path


def labelled(n: int, *labels: str) -> list[Example]:
    return [Example(f"input {i}", labels[i % len(labels)]) for i in range(n)]


def test_a_file_of_inputs_and_answers_is_read_in_order(tmp_path):
    path = write(tmp_path, {"input": "a", "expected": "1"}, "", "   ", {"input": "b", "expected": "2"})
    assert load_examples(path) == [Example("a", "1"), Example("b", "2")]


def test_the_fine_tuning_form_is_accepted_beside_it(tmp_path):
    turns = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "1"},
    ]
    path = write(tmp_path, {"messages": turns}, {"messages": [*turns[1:]]})
    assert load_examples(path) == [Example("a", "1")]


def test_an_expected_answer_that_is_no_text_becomes_json_text():
    assert example_from_json({"input": "a", "expected": {"größe": 1}}) == Example("a", '{"größe": 1}')
    assert example_from_json({"input": "a", "expected": False}) == Example("a", "false")
    assert example_from_json({"input": "a", "expected": 0}) == Example("a", "0")


def test_a_repeated_input_is_kept_once_with_its_first_answer(tmp_path):
    path = write(
        tmp_path, {"input": "a", "expected": "1"}, {"input": "b", "expected": "2"}, {"input": "a", "expected": "3"}
    )
    assert load_examples(path) == [Example("a", "1"), Example("b", "2")]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85"])
def test_a_line_separator_inside_a_text_does_not_end_the_line(tmp_path, separator):
    assert load_examples(write(tmp_path, {"input": f"a{separator}b", "expected": "1"})) == [
        Example(f"a{separator}b", "1")
    ]


def test_a_file_from_windows_is_read_with_its_byte_order_mark_and_line_ends(tmp_path):
    path = tmp_path / "windows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"input": "a", "expected": "1"}\r\n{"input": "b", "expected": "2"}\r\n')
    assert load_examples(path) == [Example("a", "1"), Example("b", "2")]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"input": "a"', "not JSON"),
        ('["a", "b"]', "an example is a JSON object, this is list"),
        ('{"inputs": "a"}', "lacks input and expected"),
        ('{"input": "a"}', "lacks expected"),
        ('{"input": " ", "expected": "b"}', "`input` must be text"),
        ('{"input": ["a"], "expected": "b"}', "`input` must be text"),
        ('{"input": "a", "expected": null}', "`expected` must not be empty"),
        ('{"input": "a", "expected": " "}', "`expected` must not be empty"),
        ('{"messages": "a"}', "`messages` must be a list"),
        ('{"messages": [{"role": "user", "content": "a"}]}', "one user text and then one assistant text"),
        (
            '{"messages": [{"role": "user", "content": [{"type": "text"}]}, {"role": "assistant", "content": "b"}]}',
            "one user text and then one assistant text",
        ),
    ],
)
def test_a_broken_line_is_reported_with_file_and_line(tmp_path, line, says):
    path = write(tmp_path, {"input": "a", "expected": "1"}, "", line)
    with pytest.raises(ExampleError) as caught:
        load_examples(path)
    assert str(caught.value).startswith(f"{path}:3: ")
    assert says in str(caught.value)
    assert (caught.value.path, caught.value.line) == (str(path), 3)


def test_a_missing_file_an_empty_file_and_one_that_is_no_text_are_reported_by_name(tmp_path):
    missing, empty, binary = tmp_path / "missing.jsonl", tmp_path / "empty.jsonl", tmp_path / "binary.jsonl"
    empty.write_text("\n\n")
    binary.write_bytes(b"\xff\xfe\x00")
    for path, says in ((missing, "no such file"), (empty, "holds no example"), (binary, "UTF-8"), (tmp_path, "read")):
        with pytest.raises(ExampleError) as caught:
            load_examples(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert says in str(caught.value)


def test_the_newest_are_sealed_and_those_before_choose():
    examples = labelled(50, "a", "b")
    parts = split(examples, enough=40)
    assert (parts.reflect, parts.dev, parts.holdout) == (*map(tuple, (examples[:20], examples[20:35], examples[35:])),)


def test_never_more_are_scored_on_than_a_compile_can_pay():
    parts = split(labelled(1_000, "a"), enough=40)
    assert (len(parts.dev), len(parts.holdout)) == (32, 40)


def test_none_is_kept_back_of_too_few_examples():
    examples = labelled(39, "a", "b")
    assert split(examples, enough=40) == Split(tuple(examples), (), ())


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_a_handful_of_examples_is_never_kept_back_whole(n):
    examples = labelled(n, "a")
    parts = split(examples, enough=0)
    assert parts.reflect + parts.dev + parts.holdout == tuple(examples)
    assert len(parts.reflect) >= len(parts.dev) == len(parts.holdout)


def test_a_few_short_answers_that_repeat_are_labels():
    assert read_contract(labelled(10, "b", "a ")) == Contract("label", ("a", "b"))


def test_answers_that_hardly_repeat_are_text():
    assert read_contract([Example(str(i), f"answer {i}") for i in range(10)]) == Contract("text")
    assert read_contract(labelled(10, "a" * 81)) == Contract("text")
    assert read_contract(labelled(10, "a\nb")) == Contract("text")


def test_answers_that_are_nothing_but_a_fence_are_code():
    fenced = [Example(str(i), f"```python\nprint({i})\n```") for i in range(10)]
    assert read_contract(fenced) == Contract("code")
    assert read_contract([*fenced, Example("x", "Here it is:\n```python\nprint(1)\n```")]) == Contract("text")
    assert read_contract([]) == Contract("text")


def test_answers_that_are_objects_share_their_keys_as_contract():
    examples = [Example("a", '{"x": 1, "y": 2}'), Example("b", '{"y": 3, "z": 4}')]
    assert read_contract(examples) == Contract("json", keys=("y",))


def test_one_answer_that_is_no_object_makes_it_text():
    assert read_contract([Example("a", '{"x": 1}'), Example("b", "[1]")]).kind == "text"


def test_demonstrations_go_round_the_labels():
    contract = Contract("label", ("a", "b", "c"))
    examples = [Example(f"{i}", "a") for i in range(10)] + [Example("x", "b"), Example("y", "c")]
    shown = choose_demonstrations(examples, contract, at_most=6)
    assert [e.expected for e in shown] == ["a", "b", "c", "a"], "no label is shown more often than its share"


def test_demonstrations_of_many_labels_show_one_of_each_and_never_more_than_asked():
    labels = tuple(f"l{i}" for i in range(20))
    examples = labelled(100, *labels)
    assert sorted(e.expected for e in choose_demonstrations(examples, Contract("label", labels))) == sorted(labels)
    assert len(choose_demonstrations(examples, Contract("label", labels), at_most=7)) == 7


def test_long_inputs_are_never_demonstrations():
    examples = [Example("x" * 2_000, "a"), Example("short", "a")]
    assert choose_demonstrations(examples, Contract("label", ("a",))) == (Example("short", "a"),)
    assert choose_demonstrations(examples, Contract("text")) == (Example("short", "a"),)


def test_text_is_shown_with_a_few_demonstrations_in_order():
    examples = [Example(str(i), f"answer {i}") for i in range(10)]
    assert choose_demonstrations(examples, Contract("text")) == tuple(examples[:5])
