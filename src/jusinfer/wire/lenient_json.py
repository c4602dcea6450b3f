"""Reads JSON that nobody has judged: what is of another type than expected is as if absent."""

from typing import Any


def objects(value: object) -> list[dict[str, Any]]:
    """Give the objects of a list."""
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def member(value: object) -> dict[str, Any]:
    """Give an object."""
    return value if isinstance(value, dict) else {}


def text(value: object) -> str:
    """Give a text."""
    return value if isinstance(value, str) else ""


def first_choice(answer: object) -> dict[str, Any]:
    """Give the first choice of a chat completion."""
    rows = objects(member(answer).get("choices"))
    return rows[0] if rows else {}
