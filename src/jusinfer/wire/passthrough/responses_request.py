"""Responses on both sides, the request: members pass as they came, but for privacy and money.

Nothing is stored at a provider, so what points to something stored there is refused by name, and
ids and reasoning that could only be looked up there are left out.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from jusinfer.domain.errors import InvalidRequest
from jusinfer.domain.inference.request import CompletionRequest
from jusinfer.domain.sender import Stamp
from jusinfer.wire.inbound.openai_chat import OURS
from jusinfer.wire.lenient_json import text
from jusinfer.wire.passthrough.responses_hosted_tools import offer_tools, refuse_hosted
from jusinfer.wire.sealed import SEALED, SEALED_CHARS_MAX, decode_reasoning_state
from jusinfer.wire.upstream.compatibility import (
    ADAPTERS,
    Fields,
    refuse_member,
    refuse_unpriced,
    set_sender_id,
)
from jusinfer.wire.validation_errors import misplaced

ENCRYPTED: Final = "reasoning.encrypted_content"
WHOLE: Final = (
    "Send the whole conversation in `input`, and set `store: false` in your SDK so that it does."
)
# What names a client's machine or its session, and changes no answer.
PRIVATE: Final = frozenset({"client_metadata", "trace"})
# What points to something that a provider has stored, with the values that point to nothing.
STORED: Final[Mapping[str, frozenset[bytes]]] = MappingProxyType(
    {
        "background": frozenset({b"null", b"false"}),
        "conversation": frozenset({b"null"}),
        "previous_response_id": frozenset({b"null"}),
        "prompt": frozenset({b"null"}),
    }
)
# What costs what has no price here, compares with a stored response or asks for an account's
# rights, by its path, with the values that ask for nothing.
NOT_OFFERED: Final[Mapping[tuple[str, ...], frozenset[bytes]]] = MappingProxyType(
    {
        ("access_programs",): frozenset({b"null", b"{}"}),
        ("context_management",): frozenset({b"null", b"[]"}),
        ("moderation",): frozenset({b"null"}),
        ("prompt_cache_options", "prewarm"): frozenset({b"null", b"false"}),
        ("prompt_cache_options", "ttl"): frozenset({b"null", b'"30m"'}),
        ("reasoning", "mode"): frozenset({b"null", b'"standard"'}),
    }
)
# Members that name somebody; null names nobody.
NAMES: Final = ("prompt_cache_key", "safety_identifier", "user")
# How an id of an item must begin, where it is checked and may be left out.
PREFIXES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "custom_tool_call": "ctc_",
        "function_call": "fc_",
        "message": "msg_",
        "reasoning": "rs_",
    }
)
# Ids of items that were made here; those of the earliest turns name no completion.
_OWN_ID: Final = re.compile(r"[a-z]{2,4}_[0-9a-f]{32}_[0-9]{1,5}")
_SHORT_ID: Final = re.compile(r"[a-z]{2,4}_[0-9]{1,5}")
_OPENAI_SEALED: Final = "openai-responses"
_NULL: Final = msgspec.Raw(b"null")
_NOTHING: Final = frozenset({b"", b"null", b"[]", b'""'})
_any: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_rows: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Target(msgspec.Struct, frozen=True):
    """Where a request goes: the model's name there, the budget in tokens, how it differs.

    `is_reasoning` says that the model thinks, so that its reasoning is asked for in encrypted form.
    """

    upstream_model: str
    output_tokens_max: int | None = None
    flags: tuple[str, ...] = ()
    stamp: Stamp = Stamp()
    is_reasoning: bool = False


def native_request(asked: CompletionRequest, body: bytes, target: Target) -> bytes:
    """Write the client's own request for a provider that speaks Responses; raises InvalidRequest.

    `asked` is the same request in the canonical form, already judged.
    """
    try:
        # Members that nothing here reads pass as bytes, and must be text all the same.
        body.decode("utf-8")
        written = _encode(_fields(asked, body, target))
        # Of a member that stands twice, at any depth, the provider reads the one that was judged.
        return _encode(_any(written))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidRequest(
            "the body is not JSON that can be read",
            hint="Send a JSON object with `model` and `input`, in UTF-8.",
        ) from None


def _fields(asked: CompletionRequest, body: bytes, target: Target) -> Fields:
    fields: Fields = dict(_members(body))
    _refuse(fields)
    _leave_out(fields, target.flags)
    set_sender_id(fields, target.flags, target.stamp)
    fields["model"] = target.upstream_model
    fields["store"] = False
    if target.output_tokens_max is not None:
        fields["max_output_tokens"] = target.output_tokens_max
    if target.is_reasoning:
        fields["include"] = _including(fields)
    if asked.is_stream and "no_obfuscation" in target.flags:
        options = _object(fields.get("stream_options"))
        fields["stream_options"] = {**options, "include_obfuscation": False}
    offer_tools(fields)
    fields["input"] = _input(fields.get("input"), target.flags)
    for flag in target.flags:
        if flag == "openrouter":
            ADAPTERS[flag](fields, asked, target.stamp)
        elif flag.startswith("refuse:"):
            refuse_member(fields, flag.removeprefix("refuse:"))
    return fields


def _leave_out(fields: Fields, flags: tuple[str, ...]) -> None:
    """Take out members of ours, what is private, and names that name nobody."""
    for name in (OURS | PRIVATE) & fields.keys():
        if name != "sandbox" or "sandbox" not in flags:
            del fields[name]
    for name in NAMES:
        if fields.get(name) == _NULL:
            del fields[name]
    # A comparison of caches with an earlier response: its id is ours, the provider knows none such.
    options = _object(fields.get("prompt_cache_options"))
    if options.pop("comparison_response_id", None) is not None:
        fields["prompt_cache_options"] = options


def _refuse(fields: Fields) -> None:
    raws = {name: raw for name, raw in fields.items() if isinstance(raw, msgspec.Raw)}
    refuse_unpriced(raws)
    for name in STORED.keys() & raws.keys():
        if bytes(raws[name]).strip() not in STORED[name]:
            raise InvalidRequest(
                f"`{name}` cannot be served here: no response is kept", param=name, hint=WHOLE
            )
    for path, allowed in NOT_OFFERED.items():
        outer = raws if len(path) == 1 else _object(raws.get(path[0]))
        if bytes(outer.get(path[-1], _NULL)).strip() not in allowed:
            raise misplaced(".".join(path), "is not offered here: its price is not known")


def _including(fields: Fields) -> list[object]:
    """Ask for encrypted reasoning too: without it a later turn could not send it back."""
    raw = fields.get("include")
    asked = _read(raw) if isinstance(raw, msgspec.Raw) else None
    wanted = asked if isinstance(asked, list) else []
    return wanted if ENCRYPTED in wanted else [*wanted, ENCRYPTED]


def _input(raw: object, flags: tuple[str, ...]) -> object:
    """Give the input, its items as they came but for what a provider could not make use of."""
    rows = _tried_rows(raw)
    if rows is None:
        return raw
    kept: list[object] = []
    for place, row in enumerate(rows):
        item = _object(row)
        where = f"input[{place}]"
        kind = text(_read(item.get("type", _NULL)))
        if kind == "item_reference" or (not kind and "id" in item and "content" not in item):
            raise InvalidRequest(
                f"`{where}` refers to a stored item: none is kept",
                param=where,
                hint=f"Send the item itself. {WHOLE}",
            )
        if kind != "mcp_list_tools":
            refuse_hosted(item.get("tools", _NULL), f"{where}.tools")
        for name in ("content", "output"):
            _refuse_files(item.get(name, _NULL), f"{where}.{name}")
        if kind == "reasoning":
            kept += _thought(item, row, flags)
        else:
            kept.append(_named(item, row, kind or "message", flags))
    return kept


def _refuse_files(raw: msgspec.Raw, where: str) -> None:
    """Refuse what names a file that is stored at the provider, where the account is ours."""
    said = bytes(raw)
    if b"file_id" not in said and b"\\u" not in said:
        return
    value = _read(raw)
    parts = value if isinstance(value, list) else [value]
    for place, part in enumerate(parts):
        is_citing = isinstance(part, dict) and part.get("type") == "output_text"
        if isinstance(part, dict) and part.get("file_id") is not None and not is_citing:
            raise misplaced(f"{where}[{place}].file_id", "names a stored file: none is kept here")


def _named(
    item: dict[str, msgspec.Raw], row: msgspec.Raw, kind: str, flags: tuple[str, ...]
) -> object:
    """Give an item without an id that the provider would not take; OpenRouter wants them all."""
    item_id = text(_read(item.get("id", _NULL)))
    prefix = PREFIXES.get(kind)
    if not item_id or "openrouter" in flags:
        return row
    if prefix is None:
        is_odd = _OWN_ID.fullmatch(item_id) is not None
    else:
        is_odd = not item_id.startswith(prefix) or _is_own(item_id)
    if not is_odd:
        return row
    return {name: value for name, value in item.items() if name != "id"}


def _thought(
    item: dict[str, msgspec.Raw], row: msgspec.Raw, flags: tuple[str, ...]
) -> list[object]:
    """Give a reasoning item as its provider gave it; none where it was another's."""
    sealed = text(_read(item.get("encrypted_content", _NULL)))
    if not sealed:
        if bytes(item.get("content", _NULL)) in _NOTHING:
            return []
        return [{name: value for name, value in item.items() if name != "id"}]
    if not sealed.startswith(SEALED):
        return [_named(item, row, "reasoning", flags)]
    if len(sealed) > SEALED_CHARS_MAX:
        raise misplaced("input[].encrypted_content", "is too long")
    thoughts: list[object] = []
    for detail in decode_reasoning_state(sealed, "input[].encrypted_content"):
        data, form = text(detail.get("data")), text(detail.get("format"))
        if not data or not form.startswith(_OPENAI_SEALED):
            continue
        thought: dict[str, object] = {
            "type": "reasoning",
            "summary": [] if thoughts else item.get("summary", []),
            "encrypted_content": data,
        }
        item_id = text(detail.get("id"))
        if item_id.startswith(PREFIXES["reasoning"]) and not _is_own(item_id):
            thought["id"] = item_id
        thoughts.append(thought)
    return thoughts


def _is_own(item_id: str) -> bool:
    return (_OWN_ID.fullmatch(item_id) or _SHORT_ID.fullmatch(item_id)) is not None


def _object(raw: object) -> dict[str, msgspec.Raw]:
    if not isinstance(raw, msgspec.Raw):
        return {}
    try:
        return _members(raw)
    except (ValueError, RecursionError):
        return {}


def _tried_rows(raw: object) -> list[msgspec.Raw] | None:
    if not isinstance(raw, msgspec.Raw) or not bytes(raw).lstrip().startswith(b"["):
        return None
    return _rows(raw)


def _read(raw: msgspec.Raw) -> object:
    try:
        return _any(raw)
    except (ValueError, RecursionError):
        return None
