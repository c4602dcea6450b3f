"""Reasoning and other baggage of a provider, as one opaque text that a client sends back unread."""

import base64
from typing import Any, Final

import msgspec

from jusinfer.domain.errors import InvalidRequest
from jusinfer.wire.lenient_json import text

# What is opaque to clients begins so; what does not is a provider's own.
SEALED: Final = "ji1."
SEALED_CHARS_MAX: Final = 4 * 1024 * 1024
# An entry that belongs to a tool call, not to reasoning.
CALL_EXTRA: Final = "call.extra"
_any: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode


def encode_reasoning_state(details: list[dict[str, Any]]) -> str:
    """Write details as the text that a client sends back."""
    return SEALED + base64.urlsafe_b64encode(_encode(merged(details))).decode("ascii")


def merged(details: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put the pieces of a streamed thought together: a signature is of the whole of it."""
    whole: list[dict[str, Any]] = []
    said: list[str] = []
    for detail in details:
        last = whole[-1] if whole else {}
        is_more = (
            detail.get("type") == last.get("type") == "reasoning.text"
            and detail.get("index") == last.get("index")
            and not last.get("signature")
        )
        if is_more:
            # A thought may come in very many pieces: they are joined once.
            said = said or [text(last.get("text"))]
            said.append(text(detail.get("text")))
            last |= detail
            continue
        _say(whole, said)
        said = []
        whole.append(dict(detail))
    _say(whole, said)
    return whole


def _say(whole: list[dict[str, Any]], said: list[str]) -> None:
    if said:
        whole[-1]["text"] = "".join(said)


def decode_reasoning_state(sealed: str, where: str) -> list[dict[str, Any]]:
    """Read them again; raises InvalidRequest naming `where` for what was not given out."""
    if len(sealed) > SEALED_CHARS_MAX:
        raise _changed(where)
    try:
        value = _any(base64.urlsafe_b64decode(sealed[len(SEALED) :].encode("ascii")))
    except (ValueError, RecursionError):
        raise _changed(where) from None
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise _changed(where)
    return value


def _changed(where: str) -> InvalidRequest:
    return InvalidRequest(
        f"`{where}` is not what was given out", param=where, hint="Send it back as it came."
    )
