import pytest

from compiler.schema import DEEPEST, breach, fault

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "minLength": 1}, "age": {"type": ["integer", "null"], "minimum": 0}},
    "required": ["name"],
    "additionalProperties": False,
}
DEEP: dict[str, object] = {}
for _ in range(DEEPEST + 1):
    DEEP = {"items": DEEP}


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"name": "Ann", "age": 3}, None),
        ({"name": "Ann", "age": None}, None),
        ({"name": "Ann"}, None),
        ({}, "the answer lacks 'name'"),
        ([], "the answer has to be of type object"),
        ({"name": 1}, "/name has to be of type string"),
        ({"name": ""}, "/name breaks minLength 1"),
        ({"name": "Ann", "age": True}, "/age has to be of type integer or null"),
        ({"name": "Ann", "age": 1.5}, "/age has to be of type integer or null"),
        ({"name": "Ann", "age": -1}, "/age breaks minimum 0"),
        ({"name": "Ann", "secret": "x"}, "the answer has properties that the schema doesn't name"),
    ],
)
def test_an_answer_is_as_the_schema_says_or_it_is_told_how_not(value, problem):
    assert fault(PERSON) is None
    assert breach(value, PERSON) == problem


@pytest.mark.parametrize(
    ("value", "schema", "good"),
    [
        (["a", "b"], {"items": {"enum": ["a", "b"]}}, True),
        (["a", "c"], {"items": {"enum": ["a", "b"]}}, False),
        (1, {"enum": [True]}, False),
        (1.0, {"const": 1, "type": "integer"}, True),
        ([1, 2, 3], {"maxItems": 2}, False),
        ("abc", {"maxItems": 2}, True),
        (5, {"maximum": 4.5}, False),
        ("x", {}, True),
        (None, {"type": "null", "title": "Nothing"}, True),
    ],
)
def test_what_is_bound_is_checked(value, schema, good):
    assert fault(schema) is None
    assert (breach(value, schema) is None) == good


@pytest.mark.parametrize(
    "schema",
    [
        [],
        {"$ref": "#/x"},
        {"anyOf": [{}]},
        {"type": "text"},
        {"type": []},
        {"type": [{}]},
        {"properties": []},
        {"properties": {"a": {"pattern": "x"}}},
        {"required": "name"},
        {"additionalProperties": {}},
        {"items": [{}]},
        {"enum": []},
        {"minItems": -1},
        {"minItems": True},
        {"minimum": "0"},
        {"description": "x" * 5_000},
        {"const": {1, 2}},
        DEEP,
    ],
)
def test_a_schema_that_can_not_be_checked_is_a_fault(schema):
    assert fault(schema)
