"""A Messages request on its way to Anthropic: values pass but for names and ids."""

import re
from typing import Any, Final

import msgspec

from jusinfer.domain.errors import InvalidRequest
from jusinfer.domain.inference.request import CompletionRequest
from jusinfer.domain.sender import Stamp
from jusinfer.wire.inbound.anthropic.foreign_turns import own_turns
from jusinfer.wire.inbound.anthropic.tools import without_searches
from jusinfer.wire.lenient_json import member
from jusinfer.wire.member_table import table_of
from jusinfer.wire.upstream.compatibility import sender_of

BETAS_MAX: Final = 64
BETA: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
_any: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode


def native_request(
    asked: CompletionRequest,
    body: bytes,
    upstream_model: str,
    output_tokens_max: int | None,
    flags: tuple[str, ...],
    stamp: Stamp,
) -> bytes:
    """Write the client's own request with the provider's name of the model, and an opaque user.

    What an earlier turn got from a provider of another API is taken out: Anthropic refuses thinking
    that it has not signed, ids of other alphabets, and blank texts.
    """
    # Read whole and written anew: of a member that stands twice, at any depth and however it is
    # escaped, the provider reads the one that was judged.
    members: dict[str, Any] = _any(body)
    for name in table_of("messages").dropped("anthropic") & members.keys():
        if name != "sandbox" or "sandbox" not in flags:
            del members[name]
    members["model"] = upstream_model
    if output_tokens_max is not None:
        members["max_tokens"] = output_tokens_max
        _shorten_thinking(members, output_tokens_max)
    members.pop("metadata", None)
    if stamp.sender:
        members["metadata"] = {"user_id": sender_of(asked.fields.get("user"), stamp)}
    tools = members.get("tools")
    if tools:
        members["tools"] = without_searches(tools)
    if asked.has_foreign_turns:
        members["messages"] = own_turns(members["messages"])
    return _encode(members)


def _shorten_thinking(members: dict[str, Any], output_tokens_max: int) -> None:
    """Keep the budget of thinking below that of output, as the provider demands."""
    asked = member(members.get("thinking"))
    tokens = asked.get("budget_tokens")
    if isinstance(tokens, int) and tokens >= output_tokens_max:
        members["thinking"] = {**asked, "budget_tokens": max(output_tokens_max - 1, 1)}


def beta_line(values: list[bytes]) -> bytes:
    """Return the header line that names the betas a client asks for; raises InvalidRequest."""
    names: list[str] = []
    for value in values:
        for part in value.decode("latin-1").split(","):
            name = part.strip()
            if name and name not in names:
                names.append(name)
    if not names:
        return b""
    if len(names) > BETAS_MAX or not all(BETA.fullmatch(name) for name in names):
        raise InvalidRequest(
            "the header `anthropic-beta` is not a list of names",
            param="anthropic-beta",
            hint="Write names of letters, digits, `.`, `_` and `-`, with commas between them.",
        )
    return f"anthropic-beta: {','.join(names)}\r\n".encode("ascii")
