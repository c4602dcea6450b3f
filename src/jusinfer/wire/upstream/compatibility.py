"""Compatibility flags: how providers that speak Chat Completions differ from each other.

A flag is a word in a provider's settings. Besides those with a meaning of their own there are two
that name a member: `refuse:logprobs` and `rename:seed=random_seed`. What a provider cannot take is
refused by name; nothing that a client asked for is left out in silence.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from jusinfer.domain.errors import InvalidRequest
from jusinfer.domain.inference.request import CompletionRequest
from jusinfer.domain.money import format_usd
from jusinfer.domain.sender import Stamp, opaque
from jusinfer.wire.lenient_json import member, objects
from jusinfer.wire.member_table import table_of
from jusinfer.wire.upstream.plain_chat import plain_content

Fields = dict[str, object]

# Members that cost what no price of ours knows, with the values that cost nothing more.
UNPRICED: Final[Mapping[str, tuple[Any, ...]]] = MappingProxyType(
    {
        row.path: (None, *row.rules[0].neutral)
        for row in table_of("chat").rows
        if row.rules[0].word == "refuse"
    }
)
# Efforts as DeepSeek takes them.
DEEPSEEK_EFFORTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "minimal": "low",
        "low": "low",
        "medium": "high",
        "high": "high",
        "xhigh": "high",
        "max": "max",
        "ultra": "max",
    }
)
# A word is repeated where a turn's reasoning was dropped by a client that does not know of it.
NANO_PER_MICRO: Final = 1_000
LOST_REASONING: Final = " "
# Members that no upstream gets as they came.
_TOUCHED: Final = frozenset(
    {"metadata", "prompt_cache_key", "reasoning", "safety_identifier", "user"}
)
_NULL: Final = msgspec.Raw(b"null")
_FALSE: Final = msgspec.Raw(b"false")
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_any: Final = msgspec.json.Decoder().decode


def refuse_unpriced(fields: Mapping[str, msgspec.Raw]) -> None:
    """Refuse by name what would cost more than was reserved; raises InvalidRequest."""
    for name in UNPRICED.keys() & fields.keys():
        if not _asks_for_nothing(fields[name], UNPRICED[name]):
            raise InvalidRequest(
                f"`{name}` is not offered here: its price is not known",
                param=name,
                hint=f"Leave out `{name}`.",
            )


def _asks_for_nothing(raw: msgspec.Raw, neutral: tuple[Any, ...]) -> bool:
    try:
        return _any(raw) in neutral
    except (ValueError, RecursionError):
        # A number beyond all bounds, or bytes that are no text.
        return False


def apply_compatibility(
    fields: Fields, request: CompletionRequest, flags: tuple[str, ...], stamp: Stamp
) -> None:
    """Adapt a request to an upstream's compatibility flags, in place; raises InvalidRequest."""
    if not flags and _TOUCHED.isdisjoint(fields):
        return
    set_sender_id(fields, flags, stamp)
    for flag in flags:
        change = ADAPTERS.get(flag)
        if change is not None:
            change(fields, request, stamp)
        elif flag.startswith("refuse:"):
            refuse_member(fields, flag.removeprefix("refuse:"))
        elif flag.startswith("rename:"):
            old, _, new = flag.removeprefix("rename:").partition("=")
            if old in fields:
                fields[new] = fields.pop(old)
    if "openrouter" not in flags:
        plain_reasoning(fields)


def set_sender_id(fields: Fields, flags: tuple[str, ...], stamp: Stamp) -> None:
    """Replace what names a person by an opaque name, where the upstream has a place for one."""
    for name in ("user", "safety_identifier", "prompt_cache_key"):
        # Null names nobody.
        if fields.get(name) == _NULL:
            del fields[name]
    named = b"".join(
        bytes(raw)
        for name in ("user", "safety_identifier")
        if isinstance(raw := fields.pop(name, None), msgspec.Raw)
    )
    fields.pop("metadata", None)
    key = fields.pop("prompt_cache_key", None)
    if isinstance(key, msgspec.Raw) and bytes(key) != b"null":
        fields["prompt_cache_key"] = opaque(stamp.sender, bytes(key).decode("utf-8", "replace"))
    if not stamp.sender:
        return
    sender = sender_of(named, stamp)
    for place in ("user_id", "safety_identifier", "user"):
        if place in flags:
            fields[place] = sender


def sender_of(named: bytes | msgspec.Raw | None, stamp: Stamp) -> str:
    """Return the opaque name of who sends a request: a client's own users are told apart."""
    said = bytes(named or b"")
    return opaque(stamp.sender, said.decode("utf-8", "replace")) if said else stamp.sender


def _openai(fields: Fields, request: CompletionRequest, stamp: Stamp) -> None:
    """Store nothing, and leave out reasoning of other providers, which OpenAI refuses."""
    del stamp
    fields["store"] = _FALSE
    _shorten_ids(fields, request)
    if b'"reasoning' in bytes(request.fields.get("messages", _NULL)):
        fields["messages"] = [
            {name: value for name, value in message.items() if name not in REASONINGS}
            for message in messages_of(fields)
        ]


CALL_ID_CHARS_MAX: Final = 40


def _shorten_ids(fields: Fields, request: CompletionRequest) -> None:
    """Write ids of calls that are longer than OpenAI takes as shorter ones, in call and result."""
    if b'"tool_call_id"' not in bytes(request.fields.get("messages", _NULL)):
        return
    messages = messages_of(fields)
    named = [(message, "tool_call_id") for message in messages if "tool_call_id" in message]
    named += [(call, "id") for message in messages for call in objects(message.get("tool_calls"))]
    long = [
        (row, name)
        for row, name in named
        if isinstance(row.get(name), str) and len(row[name]) > CALL_ID_CHARS_MAX
    ]
    for row, name in long:
        row[name] = f"call_{opaque(row[name])}"
    if long:
        fields["messages"] = messages


def _openrouter(fields: Fields, request: CompletionRequest, stamp: Stamp) -> None:
    """Keep the client's preferences, but never let an upstream of the upstream collect data."""
    raw = bytes(request.fields.get("provider", _NULL))
    provider: Fields = {}
    if raw.startswith(b"{"):
        provider.update(_members(raw))
    provider["data_collection"] = "deny"
    if stamp.is_zdr:
        provider["zdr"] = True
    price = stamp.price
    if price is not None and "max_price" not in provider:
        provider["max_price"] = {
            "prompt": _dollars(price.input_micro_per_mtok),
            "completion": _dollars(price.output_micro_per_mtok),
        }
    fields["provider"] = provider


def _dollars(micro: int) -> msgspec.Raw:
    return msgspec.Raw(format_usd(micro * NANO_PER_MICRO).encode("ascii"))


def _deepseek(fields: Fields, request: CompletionRequest, stamp: Stamp) -> None:
    """Write thinking as DeepSeek does, and give back the reasoning of turns that used tools."""
    del stamp
    form = _plain(fields.get("response_format"))
    if isinstance(form, dict) and form.get("type") == "json_schema":
        raise _cannot("response_format", "this model takes json_object, not json_schema")
    plain_reasoning(fields)
    effort = _plain(fields.pop("reasoning_effort", None))
    thinking = _plain(fields.get("thinking"))
    is_thinking = not (isinstance(thinking, dict) and thinking.get("type") == "disabled")
    if isinstance(effort, str):
        if effort == "none":
            is_thinking = False
            fields["thinking"] = {"type": "disabled"}
        elif effort in DEEPSEEK_EFFORTS:
            fields["reasoning_effort"] = DEEPSEEK_EFFORTS[effort]
        else:
            name = (
                "reasoning_effort" if "reasoning_effort" in request.fields else "reasoning.effort"
            )
            raise _cannot(name, "use none, low, high or max")
    raw = bytes(request.fields.get("messages", _NULL))
    if _may_hold_reasoning(raw) or b'"text"' in raw:
        messages = [
            message | {"content": plain_content(message.get("content"))}
            if isinstance(message.get("content"), list)
            else message
            for message in messages_of(fields)
        ]
        fields["messages"] = _with_reasoning(messages, is_thinking=is_thinking)


def messages_of(fields: Fields) -> list[dict[str, Any]]:
    """Return the messages of a request that is being written, whether or not they were read yet."""
    messages = _plain(fields.get("messages"))
    return messages if isinstance(messages, list) else []


# What Google takes in place of a signature that was lost, or that another provider never made.
NO_SIGNATURE: Final = "skip_thought_signature_validator"


def _thought_signature(fields: Fields, request: CompletionRequest, stamp: Stamp) -> None:
    """Give the first call of each turn the signature without which Gemini refuses it."""
    del stamp
    if b'"tool_calls"' not in bytes(request.fields.get("messages", _NULL)):
        return
    messages = messages_of(fields)
    for message in messages:
        calls = message.get("tool_calls")
        call = calls[0] if isinstance(calls, list) and calls else None
        if not isinstance(call, dict):
            continue
        extra = member(call.get("extra_content"))
        google = member(extra.get("google"))
        if not google.get("thought_signature"):
            google = google | {"thought_signature": NO_SIGNATURE}
            call["extra_content"] = extra | {"google": google}
    fields["messages"] = messages


def _may_hold_reasoning(messages: bytes) -> bool:
    return b'"tool_calls"' in messages or b'"reasoning' in messages


def _with_reasoning(messages: list[dict[str, Any]], *, is_thinking: bool) -> list[dict[str, Any]]:
    """Name reasoning as DeepSeek does; a turn with tool calls must have some."""
    kept: list[dict[str, Any]] = []
    for message in messages:
        if message.get("role") != "assistant":
            kept.append(message)
            continue
        turn = {name: value for name, value in message.items() if name not in REASONINGS}
        text = message.get("reasoning_content") or message.get("reasoning") or _texts(message)
        if text:
            turn["reasoning_content"] = text
        elif is_thinking and message.get("tool_calls"):
            turn["reasoning_content"] = LOST_REASONING
        kept.append(turn)
    return kept


REASONINGS: Final = frozenset({"reasoning", "reasoning_content", "reasoning_details"})


def _texts(message: Mapping[str, Any]) -> str:
    details = message.get("reasoning_details")
    if not isinstance(details, list):
        return ""
    texts = [detail.get("text") for detail in details if isinstance(detail, dict)]
    return "".join(text for text in texts if isinstance(text, str))


def plain_reasoning(fields: Fields) -> None:
    """Write OpenRouter's `reasoning` as the effort that other upstreams take."""
    effort = effort_asked(_plain(fields.pop("reasoning", None)))
    if effort is not None and "reasoning_effort" not in fields:
        fields["reasoning_effort"] = effort


def effort_asked(reasoning: object) -> str | None:
    """Return the effort that OpenRouter's `reasoning` asks for; None where it leaves it open."""
    if not isinstance(reasoning, dict):
        return None
    effort, budget = reasoning.get("effort"), reasoning.get("max_tokens")
    if reasoning.get("enabled") is False:
        return "none"
    if isinstance(effort, str):
        return effort
    return effort_of(budget) if isinstance(budget, int) else None


def effort_of(budget_tokens: int) -> str:
    """Give the effort that comes nearest to a budget of thinking."""
    for most, effort in ((2_048, "low"), (12_288, "medium")):
        if budget_tokens <= most:
            return effort
    return "high"


def refuse_member(fields: Fields, name: str) -> None:
    """Refuse by name a member that an upstream does not take; raises InvalidRequest."""
    if name in fields and _plain(fields[name]) not in (None, False):
        raise _cannot(name, "the upstream of this model does not take it")


def _cannot(name: str, why: str) -> InvalidRequest:
    return InvalidRequest(
        f"`{name}` cannot be sent to this model: {why}",
        param=name,
        hint=f"Leave out `{name}`, or choose another model.",
    )


def _effort_to_high(fields: Fields, request: CompletionRequest, stamp: Stamp) -> None:
    """Ask for the highest effort that the provider knows, where more is asked for."""
    del request, stamp
    plain_reasoning(fields)
    if _plain(fields.get("reasoning_effort")) in {"xhigh", "max", "ultra"}:
        fields["reasoning_effort"] = "high"


def _plain(value: object) -> object:
    return _any(value) if isinstance(value, msgspec.Raw) else value


ADAPTERS: Final[Mapping[str, Callable[[Fields, CompletionRequest, Stamp], None]]] = (
    MappingProxyType(
        {
            "store_false": _openai,
            "openrouter": _openrouter,
            "deepseek": _deepseek,
            "thought_signature": _thought_signature,
            "effort_to_high": _effort_to_high,
        }
    )
)
