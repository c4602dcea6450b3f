"""The tables of members: complete for the official types of today, and what they say is done."""

import types
import typing
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from anthropic.types.beta.message_create_params import (
    MessageCreateParamsNonStreaming as MessagesParams,
)
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming as ChatParams,
)
from openai.types.completion_create_params import (
    CompletionCreateParamsNonStreaming as LegacyParams,
)
from openai.types.embedding_create_params import EmbeddingCreateParams
from openai.types.responses.response_create_params import (
    ResponseCreateParamsNonStreaming as ResponsesParams,
)
from tools.member_pages import PAGE, page

from jusinfer.domain.errors import InvalidRequest
from jusinfer.wire.member_table import COLUMNS, judge, table_of

LISTS = ("Iterable", "Sequence", "SequenceNotStr", "list", "List")
DEPTH_MAX = 9
# `type` and `id` of a reference to a kept item, whose `type` may be left out.
LOOSE = {"input[].id", "input[].type"}


def alternatives(hint: Any) -> Iterator[Any]:
    while getattr(get_origin(hint), "__name__", "") in {"Required", "NotRequired", "Annotated"}:
        hint = get_args(hint)[0]
    if get_origin(hint) in {typing.Required, typing.NotRequired, typing.Annotated}:
        hint = get_args(hint)[0]
    if get_origin(hint) in {typing.Union, types.UnionType}:
        for one in get_args(hint):
            yield from alternatives(one)
    else:
        yield hint


def is_typed_dict(hint: Any) -> bool:
    return isinstance(hint, type) and hasattr(hint, "__required_keys__")


def kinds_of(hints: dict[str, Any]) -> list[str]:
    for one in alternatives(hints.get("type")):
        if get_origin(one) is Literal:
            return [f"<{kind}>" for kind in get_args(one)]
    return [""]


def paths_of(hint: Any, path: str, above: tuple[Any, ...] = ()) -> Iterator[str]:
    """Name every member of a parameter's type, nested ones included."""
    for one in alternatives(hint):
        if getattr(get_origin(one), "__name__", "") in LISTS:
            yield from paths_of(get_args(one)[0], f"{path}[]", above)
        elif is_typed_dict(one) and one not in above and len(above) < DEPTH_MAX:
            hints = get_type_hints(one, include_extras=True)
            for kind in kinds_of(hints):
                for name, inner in hints.items():
                    here = f"{path}{kind}.{name}" if path else name
                    yield here
                    yield from paths_of(inner, here, (*above, one))


@pytest.mark.parametrize(
    ("client_api", "params"),
    [
        ("chat", ChatParams),
        ("responses", ResponsesParams),
        ("messages", MessagesParams),
        ("embeddings", EmbeddingCreateParams),
        ("completions", LegacyParams),
    ],
)
def test_every_member_of_the_official_types_has_a_rule(client_api: str, params: Any) -> None:
    table = table_of(client_api)
    found = set(paths_of(params, ""))
    assert len(found) > 4
    assert {path for path in found if not table.knows(path)} - LOOSE == set()


def test_the_page_shows_the_tables() -> None:
    assert PAGE.read_text("utf-8") == page(), "run `python -m tools.member_pages`"


@pytest.mark.parametrize("client_api", COLUMNS)
def test_whatever_is_refused_has_a_reason(client_api: str) -> None:
    for row in table_of(client_api).rows:
        assert row.why or all(rule.word != "refuse" for rule in row.rules), row.path


def refused(client_api: str, column: str, request: dict[str, Any]) -> str | None:
    try:
        judge(table_of(client_api).notes(request), column)
    except InvalidRequest as error:
        return error.param if error.hint else "an error without a hint"
    return None


@pytest.mark.parametrize(
    ("client_api", "column", "request_", "param"),
    [
        ("messages", "chat", {"strange": 1}, "strange"),
        ("messages", "anthropic", {"strange": 1}, None),
        ("messages", "chat", {"strange": None}, None),
        ("messages", "anthropic", {"speed": "fast"}, "speed"),
        ("messages", "anthropic", {"speed": "standard"}, None),
        ("messages", "chat", {"mcp_servers": []}, None),
        ("messages", "anthropic", {"mcp_servers": [{"type": "url"}]}, "mcp_servers"),
        (
            "messages",
            "chat",
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "", "odd": 1}]}]},
            "messages[0].content[0].odd",
        ),
        (
            "messages",
            "chat",
            {"context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}},
            None,
        ),
        (
            "messages",
            "chat",
            {"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}},
            "context_management.edits[0].type",
        ),
        ("messages", "anthropic", {"tools": [{"type": "of_tomorrow"}]}, "tools[0].type"),
        ("messages", "anthropic", {"tools": [{"name": "f", "of_tomorrow": 1}]}, None),
        ("messages", "chat", {"tools": [{"name": "f", "of_tomorrow": 1}]}, "tools[0].of_tomorrow"),
        ("responses", "chat", {"client_metadata": {"a": "b"}}, None),
        ("responses", "responses", {"previous_response_id": "r"}, "previous_response_id"),
        ("responses", "chat", {"input": [{"type": "item_reference", "id": "i"}]}, "input[0].type"),
        ("responses", "chat", {"tools": [{"type": "web_search"}]}, None),
        ("responses", "responses", {"tools": [{"type": "file_search"}]}, "tools[0].type"),
        ("responses", "chat", {"background": False}, None),
        ("responses", "chat", {"background": True}, "background"),
        ("chat", "anthropic", {"seed": 1}, "seed"),
        ("chat", "chat", {"seed": 1}, None),
        ("chat", "chat", {"plugins": [{}]}, "plugins"),
        ("chat", "workers_ai", {"n": 2}, "n"),
        ("chat", "workers_ai", {"n": True}, "n"),
    ],
)
def test_a_rule_is_what_is_done(
    client_api: str, column: str, request_: dict[str, Any], param: str | None
) -> None:
    assert refused(client_api, column, request_) == param


@pytest.mark.parametrize("odd", [5, "x", [], {"type": 5}, {"type": "x" * 500}, [[{}]], None])
@pytest.mark.parametrize("client_api", COLUMNS)
def test_no_value_fells_a_table(client_api: str, odd: Any) -> None:
    table = table_of(client_api)
    for name in {row.path.partition("[")[0].partition(".")[0] for row in table.rows}:
        for value in (odd, [odd], {"type": "text", "content": odd}, {"content": [odd]}):
            for column in table.columns:
                refused(client_api, column, {name: value})


def test_names_that_a_client_made_up_are_not_repeated_whole() -> None:
    assert refused("messages", "chat", {"x" * 500: 1}) == "a member"
    assert refused("messages", "chat", {"a b\r\n": 1}) == "a member"
