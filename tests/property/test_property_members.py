"""Each member of a request reaches its provider, is a hint by the table, or is refused by name."""

import json
import random
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any, Final

import msgspec
import pytest
from anthropic.types.beta.message_create_params import (
    MessageCreateParamsNonStreaming as MessagesParams,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming as ChatParams,
)
from openai.types.completion_create_params import (
    CompletionCreateParamsNonStreaming as CompletionsParams,
)
from openai.types.embedding_create_params import EmbeddingCreateParams
from openai.types.responses.response_create_params import (
    ResponseCreateParamsNonStreaming as ResponsesParams,
)
from tests.effort import examples
from tests.property.official_requests import Place, leaves, name_of, requests

from jusinfer.domain.errors import InvalidRequest
from jusinfer.domain.sender import Stamp
from jusinfer.gateway.inference.endpoints import ENDPOINTS
from jusinfer.wire.member_table import MemberTable, Rule, table_of
from jusinfer.wire.upstream.registry import PROVIDER_APIS

MARKER: Final = re.compile(r"leaf[0-9]{4}")
STAMP: Final = Stamp(sender="opaque")
CLIENTS: Final[Mapping[str, Any]] = {
    "chat": ChatParams,
    "responses": ResponsesParams,
    "messages": MessagesParams,
    "completions": CompletionsParams,
    "embeddings": EmbeddingCreateParams,
}
PATHS: Final[Mapping[str, str]] = {
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
    "completions": "/v1/completions",
    "embeddings": "/v1/embeddings",
}


class Provider(msgspec.Struct, frozen=True):
    """A provider's API, by its column in the tables, and how this provider differs."""

    column: str
    flags: tuple[str, ...] = ()


PROVIDERS: Final = (
    Provider("chat"),
    Provider("chat", ("deepseek", "user_id", "no_custom_tools")),
    Provider("chat", ("openrouter", "no_custom_tools")),
    Provider(
        "chat",
        (
            *("store_false", "no_obfuscation", "max_completion_tokens"),
            *("safety_identifier", "developer_role"),
        ),
    ),
    Provider("chat", ("thought_signature", "no_custom_tools")),
    Provider("anthropic"),
    Provider("anthropic", ("thinking_budget",)),
    Provider("workers_ai"),
    Provider("responses", ("responses", "store_false", "no_obfuscation", "safety_identifier")),
    Provider("responses", ("responses", "openrouter")),
)


def providers_of(client_api: str) -> Iterator[Provider]:
    if client_api == "embeddings":
        yield Provider("embeddings")
        return
    for provider in PROVIDERS:
        if provider.column != "responses" or client_api == "responses":
            yield provider


def sent(client_api: str, request: Any, provider: Provider) -> bytes:
    """Give the bytes that reach a provider; raises InvalidRequest."""
    body = request if isinstance(request, bytes) else json.dumps(request).encode()
    endpoint = ENDPOINTS[PATHS[client_api]]
    asked = endpoint.decode(body)
    translator = endpoint.translator(
        PROVIDER_APIS.get(provider.column), flags=provider.flags, completion_id="c"
    )
    return translator.encode(asked, body, "upstream-model", None, provider.flags, STAMP)


def outcome(client_api: str, request: Any, provider: Provider) -> bytes | InvalidRequest:
    """Give the bytes that reach a provider, or the refusal, which has a hint."""
    try:
        return sent(client_api, request, provider)
    except InvalidRequest as error:
        refusal = error
    assert refusal.message
    assert refusal.hint, refusal.message
    return refusal


# ---------------------------------------------------------------------- places in a request


def place_of(path: str) -> Place:
    """Read a path such as `messages[0].content` back into a place."""
    # A name that a client made up is not repeated.
    steps = re.findall(r"[^.\[\]]+", path.replace("[…]", ""))
    return tuple(int(step) if step.isdigit() else step for step in steps)


def found_at(request: Any, place: Place) -> Any:
    for step in place:
        request = request[step]
    return request


def without(request: Any, place: Place) -> Any:
    """Give a copy without what stands at a place."""
    if not place:
        return request
    copy = json.loads(json.dumps(request))
    above = found_at(copy, place[:-1])
    del above[place[-1]]
    return copy


def rules_at(table: MemberTable, request: Any, place: Place, column: str) -> list[Rule]:
    """Give the table's rules on the way down to a place."""
    at = table.columns.index(column)
    node, value = table._root, request
    rules: list[Rule] = []
    for step in place:
        if isinstance(value, dict):
            kind = node.of_kind(value.get("type"))
            if kind is None:
                break
            if kind.row is not None:
                rules.append(kind.row.rules[at])
            below = kind.members.get(str(step))
        else:
            below = node.items
        if below is None:
            break
        if below.row is not None:
            rules.append(below.row.rules[at])
        node, value = below, value[step]
    return rules


def all_rules(client_api: str, request: Any, place: Place, column: str) -> list[Rule]:
    # Legacy completions have the members of chats, but for a few.
    names = [client_api, "chat"] if client_api == "completions" else [client_api]
    return [rule for name in names for rule in rules_at(table_of(name), request, place, column)]


def is_hint(client_api: str, request: Any, place: Place, column: str) -> bool:
    return any(rule.word == "hint" for rule in all_rules(client_api, request, place, column))


# ---------------------------------------------------------------------- what is checked


def peeled(client_api: str, request: Any, provider: Provider) -> tuple[Any, bytes] | None:
    """Leave out what is refused until the rest is sent; None where nothing is left to send.

    Each refusal must name something that stands in the request as the client wrote it.
    """
    last: Place = ()
    named: str | None = None
    for _ in range(80):
        found = outcome(client_api, request, provider)
        if isinstance(found, bytes):
            return request, found
        named = found.param
        place = place_of(named or "")
        while place:
            try:
                found_at(request, place)
                break
            except (KeyError, IndexError, TypeError):
                # What is missing or of a wrong type is named by where it should stand.
                place = place[:-1]
        assert place or named is None, (named, request)
        if place[-1:] == ("type",) or place == last:
            place = place[:-1]
        if not place or place in {(name,) for name in NEEDED[client_api]}:
            return None
        last = place
        request = without(request, place)
    raise AssertionError(f"never sent: {named} of {json.dumps(request)}")


NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "chat": ("model", "messages"),
    "responses": ("model", "input"),
    "messages": ("model", "messages", "max_tokens"),
    "completions": ("model", "prompt"),
    "embeddings": ("model", "input"),
}


def lost(client_api: str, request: Any, provider: Provider) -> list[str]:
    """Name the texts of a request that are neither sent nor hints."""
    found = peeled(client_api, request, provider)
    if found is None:
        return []
    left, body = found
    said = body.decode()
    return [
        f"{'.'.join(map(str, place))}={value}"
        for place, value in leaves(left)
        if any(marker not in said for marker in MARKER.findall(json.dumps([*place, value])))
        and not is_hint(client_api, left, place, provider.column)
        and not is_allowed(client_api, left, place)
    ]


def unheeded(client_api: str, request: Any, provider: Provider) -> list[str]:
    """Name the words, numbers and switches of a request without which the same bytes are sent."""
    found = peeled(client_api, request, provider)
    if found is None:
        return []
    left, body = found
    return [
        f"{'.'.join(map(str, place))}={value}"
        for place, value in leaves(left)
        if isinstance(place[-1], str)
        and not MARKER.search(json.dumps([*place, value]))
        and place[-1] not in {"type", "role", "model"}
        and not is_hint(client_api, left, place, provider.column)
        and not is_allowed(client_api, left, place)
        and not asks_nothing(client_api, left, place, provider, body)
        and is_same(client_api, without(left, place), provider, body)
    ]


def asks_nothing(
    client_api: str, request: Any, place: Place, provider: Provider, body: bytes
) -> bool:
    """Tell whether a value is what holds without it, or cannot count beside what is said too."""
    value, name = found_at(request, place), place[-1]
    rules = all_rules(client_api, request, place, provider.column)
    thinking = request.get("thinking")
    return (
        value in DEFAULTS.get(str(name), ())
        or value in ({}, [])
        or any(value in rule.neutral for rule in rules)
        or (name in {"parallel_tool_calls", "tool_choice"} and not json.loads(body).get("tools"))
        or (name == "parallel_tool_calls" and request.get("tool_choice") == "none")
        or (name == "max_tokens" and "max_completion_tokens" in request)
        or (client_api == "messages" and name == "effort" and thinking is not None)
        or (name == "budget_tokens" and "effort" in request.get("output_config", ()))
    )


# What holds where a member is not given.
DEFAULTS: Final[Mapping[str, tuple[Any, ...]]] = {
    "disable_parallel_tool_use": (False,),
    "enable_zoom": (False,),
    "is_error": (False,),
    "media_type": ("text/plain",),
    "mode": ("auto",),
    "parallel_tool_calls": (True,),
    "store": (True, False),
    "stream": (False,),
    "tool_choice": ("auto",),
}


def is_same(client_api: str, request: Any, provider: Provider, body: bytes) -> bool:
    try:
        return sent(client_api, request, provider) == body
    except InvalidRequest:
        return False


OPAQUE: Final = frozenset({"user", "safety_identifier", "prompt_cache_key", "user_id"})


def is_allowed(client_api: str, request: Any, place: Place) -> bool:
    """Tell whether a text may be translated into something that does not hold it."""
    first, last = place[0], place[-1]
    item = found_at(request, place[:2]) if len(place) > 1 else None
    kind = item.get("type") if isinstance(item, dict) else None
    block = found_at(request, place[:4]) if len(place) > 4 and place[2] == "content" else None
    inner = block.get("type") if isinstance(block, dict) else None
    return (
        # The provider has its own name for the model, and opaque names for persons.
        first == "model"
        or last in OPAQUE
        # What could be cached is joined with what stands beside it.
        or "prompt_cache_breakpoint" in place
        # Reasoning is sent back to its author only, beside the turn that it led to.
        or (client_api == "responses" and kind == "reasoning")
        or (client_api == "messages" and inner in {"thinking", "redacted_thinking"})
        # A tool that is taken away is not offered.
        or (client_api == "messages" and inner == "tool_removal")
        # The names of tools in a namespace are those of functions, and are mapped back.
        or last == "namespace"
        # A search among tools that the provider runs: all tools are given at once.
        or (client_api == "responses" and is_search(request, place))
        or (first == "tools" and is_not_allowed(request, place))
        # A tool that is added later takes the place of one with its name.
        or (first == "tools" and '"tool_addition"' in json.dumps(request))
    )


def is_search(request: Any, place: Place) -> bool:
    above = [found_at(request, place[:end]) for end in range(2, len(place))]
    return any(
        isinstance(tool, dict)
        and tool.get("type") == "tool_search"
        and tool.get("execution") != "client"
        for tool in above
    )


def is_not_allowed(request: Any, place: Place) -> bool:
    """Tell whether a tool is none of those that `tool_choice` allows, and so is not offered."""
    choice = request.get("tool_choice")
    if not isinstance(choice, dict) or choice.get("type") != "allowed_tools":
        return False
    allowed = choice.get("allowed_tools", choice)["tools"]
    return name_of(found_at(request, place[:2])) not in {name_of(row) for row in allowed}


# ---------------------------------------------------------------------- valid requests

REQUESTS: Final = st.sampled_from(sorted(CLIENTS)).flatmap(
    lambda client_api: st.tuples(st.just(client_api), requests(CLIENTS[client_api]))
)
# The same requests each time: what they may hold is so much that chance would find a new corner in
# some runs only. `derandomize=False` here looks for them.
LISTED: Final = settings(max_examples=examples(250), derandomize=True)
MANY: Final = settings(max_examples=examples(2_000), derandomize=True)


def check_members(client_api: str, request: Any) -> None:
    for provider in providers_of(client_api):
        assert lost(client_api, request, provider) == [], provider
        assert unheeded(client_api, request, provider) == [], provider


@LISTED
@given(REQUESTS)
def test_no_member_is_lost_in_silence(drawn: tuple[str, Any]) -> None:
    check_members(*drawn)


@pytest.mark.slow
@pytest.mark.timeout(600)
@MANY
@given(REQUESTS)
def test_no_member_is_lost_in_silence_at_length(drawn: tuple[str, Any]) -> None:
    check_members(*drawn)


# ---------------------------------------------------------------------- requests that went wrong

ODD: Final = (
    *(None, True, False, 0, -1, 1e308, 10**30, 0.1, "", "\ud800", "x" * 3_000, "\x00"),
    *([], {}, [[]], [None], {"type": None}, {"type": 7}, {"type": "of_tomorrow"}, [{"type": []}]),
    *("none", "auto", "ji1.broken", "data:", "data:text/plain;base64,@@@@", "1e5"),
)
# What no encoder writes, as bytes in place of a value.
RAW: Final = (
    *(b"1e999", b"-1E400", b"9" * 400, b"-0", b"NaN", b"1e-999", b"01", b"tru"),
    *(b'"\xff"', b'"\\ud800x"', b'"\\udc00"', b'{"a":1,"a":2}', b'"\\u0000"', b'"\n"', b""),
)
UNKNOWN: Final = "zz_unknown"


def deep(levels: int) -> Any:
    value: Any = "end"
    for _ in range(levels):
        value = {"type": "object", "properties": [value]}
    return value


def places_of(value: Any, place: Place = ()) -> Iterator[Place]:
    """Name every place below a value."""
    rows = value.items() if isinstance(value, dict) else enumerate(value)
    for step, inner in rows:
        yield (*place, step)
        if isinstance(inner, dict | list):
            yield from places_of(inner, (*place, step))


def changed(request: Any, chance: random.Random) -> bytes:
    """Put something else into some places of a request; members may stand twice."""
    copy = json.loads(json.dumps(request))
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        place = chance.choice(list(places_of(copy)))
        above = found_at(copy, place[:-1])
        way = chance.randrange(10)
        if way == 0:
            above[place[-1]] = deep(chance.choice((5, 100)))
        elif way == 1:
            above[place[-1]] = [above[place[-1]]]
        elif way == 3:
            above[place[-1]] = "raw bytes"
        elif way == 2:
            del above[place[-1]]
        else:
            above[place[-1]] = deepcopy(chance.choice(ODD))
        if not copy:
            break
    body = json.dumps(copy)
    if chance.random() < 0.1:
        name = chance.choice(["type", "role", "content", "name", "input", "model", "tools"])
        body = body.replace(
            f'"{name}": ', f'"{name}": {json.dumps(chance.choice(ODD))}, "{name}": '
        )
    return body.encode().replace(b'"raw bytes"', chance.choice(RAW))


def check_changed(client_api: str, request: Any, seed: int) -> None:
    body = changed(request, random.Random(seed))  # noqa: S311 (no secret)
    for provider in providers_of(client_api):
        outcome(client_api, body, provider)


def check_unknown(client_api: str, request: Any, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 (no secret)
    for provider in providers_of(client_api):
        found = peeled(client_api, request, provider)
        if found is None:
            continue
        left = json.loads(json.dumps(found[0]))
        objects = [(), *(p for p in places_of(left) if isinstance(found_at(left, p), dict))]
        place = chance.choice(objects)
        found_at(left, place)[UNKNOWN] = "leaf9999"
        where = (*place, UNKNOWN)
        body = outcome(client_api, left, provider)
        if isinstance(body, InvalidRequest):
            assert UNKNOWN in f"{body.param}" or names_above(body, place), (place, body.message)
            continue
        assert (
            b"leaf9999" in body
            or is_hint(client_api, left, where, provider.column)
            or is_allowed(client_api, left, where)
        ), (provider, where, left)


def names_above(error: InvalidRequest, place: Place) -> bool:
    named = place_of(error.param or "")
    return bool(named) and named == place[: len(named)]


@settings(max_examples=examples(1_000), derandomize=True)
@given(REQUESTS, st.integers(0, 2**40))
def test_a_changed_request_is_sent_or_refused(drawn: tuple[str, Any], seed: int) -> None:
    check_changed(*drawn, seed)


@pytest.mark.slow
@pytest.mark.timeout(600)
@MANY
@given(REQUESTS, st.integers(0, 2**40))
def test_a_changed_request_is_sent_or_refused_at_length(drawn: tuple[str, Any], seed: int) -> None:
    check_changed(*drawn, seed)


@LISTED
@given(REQUESTS, st.integers(0, 2**40))
def test_an_unknown_member_is_passed_or_refused_by_name(drawn: tuple[str, Any], seed: int) -> None:
    check_unknown(*drawn, seed)


@pytest.mark.slow
@pytest.mark.timeout(600)
@MANY
@given(REQUESTS, st.integers(0, 2**40))
def test_an_unknown_member_is_passed_or_refused_by_name_at_length(
    drawn: tuple[str, Any], seed: int
) -> None:
    check_unknown(*drawn, seed)
