import re
from typing import Any

import pytest

from jusinfer.sandbox.schema_examples import fitting
from jusinfer.sandbox.text import digest, fragments, tokens_of, words


def test_words_are_the_same_for_a_seed_and_differ_between_seeds() -> None:
    assert words("a", 40) == words("a", 40)
    assert words("a", 40) != words("b", 40)
    assert words("a", 40)[:10] == words("a", 10)
    assert words("a", 0) == []


def test_words_put_together_are_single_spaced() -> None:
    assert re.fullmatch(r"[a-z]+( [a-z]+){99}", "".join(words("seed", 100)))


def test_unicode_words_need_up_to_four_bytes_a_character() -> None:
    text = "".join(words("seed", 200, is_unicode=True))
    assert {len(character.encode()) for character in text} == {1, 2, 3, 4}


def test_a_digest_knows_where_its_parts_end() -> None:
    assert digest("ab", "c") != digest("a", "bc")
    assert len(digest("lone \ud800 surrogate")) == 64


@pytest.mark.parametrize("text", ["", "a", "  a  b\n\nc ", "one two", " ", "\n"])
def test_tokens_put_together_are_the_text(text: str) -> None:
    assert "".join(tokens_of(text)) == text
    assert "".join(fragments(text, 2)) == text


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string"}, "amber"),
        ({"type": "string", "minLength": 8}, "amberrrr"),
        ({"type": "string", "maxLength": 2}, "am"),
        ({"type": "string", "pattern": "^[0-9]{3}$"}, "123"),
        ({"type": "string", "format": "date"}, "2026-01-31"),
        ({"type": "integer"}, 1),
        ({"type": "integer", "minimum": 7}, 7),
        ({"type": "integer", "maximum": -3}, -3),
        ({"type": "integer", "minimum": -5, "maximum": -3}, -3),
        ({"type": "integer", "exclusiveMinimum": 7}, 8),
        ({"type": "integer", "exclusiveMaximum": 1}, 0),
        ({"type": "integer", "multipleOf": 5}, 5),
        ({"type": "integer", "multipleOf": 5, "maximum": 4}, 0),
        ({"type": "number", "minimum": 1.5}, 1.5),
        ({"type": "boolean"}, True),
        ({"type": "null"}, None),
        ({"type": ["string", "null"]}, "amber"),
        ({"enum": ["x", "y"]}, "x"),
        ({"const": 0}, 0),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, 1),
        ({"type": "array", "items": {"type": "integer"}}, [1]),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 3}, [1, 1, 1]),
        (
            {"type": "array", "items": {"type": "integer"}, "minItems": 3, "uniqueItems": True},
            [1, 2, 3],
        ),
        ({"type": "array", "maxItems": 0}, []),
        ({"type": "object", "properties": {"a": {"type": "integer"}}}, {"a": 1}),
        (
            {
                "type": "object",
                "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
                "required": ["b"],
            },
            {"b": 1},
        ),
        (
            {"$defs": {"n": {"type": "integer"}}, "$ref": "#/$defs/n"},
            1,
        ),
        (
            {
                "allOf": [
                    {"properties": {"a": {"type": "integer"}}, "required": ["a"]},
                    {"properties": {"b": {"type": "boolean"}}, "required": ["b"]},
                ]
            },
            {"a": 1, "b": True},
        ),
    ],
)
def test_the_smallest_value_fits_its_schema(schema: dict[str, Any], value: object) -> None:
    assert fitting(schema) == value


def test_a_schema_that_contains_itself_has_an_end() -> None:
    node = {
        "type": "object",
        "properties": {
            "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
            "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
        },
        "required": ["next", "children"],
    }
    value = fitting({"$defs": {"node": node}, "$ref": "#/$defs/node"})
    depth = 0
    while value is not None:
        assert set(value) == {"next", "children"}
        value = value["next"]
        depth += 1
    assert 1 < depth < 10
