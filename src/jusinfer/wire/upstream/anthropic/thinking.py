"""Thinking, effort and the form of an answer, as Anthropic's models are asked for them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from jusinfer.domain.errors import InvalidRequest
from jusinfer.wire.json_schemas import enforceable
from jusinfer.wire.lenient_json import member

THINKING_TOKENS_MIN: Final = 1_024
BUDGETS: Final[Mapping[str, int]] = MappingProxyType(
    {"minimal": 1_024, "low": 2_048, "medium": 8_192, "high": 16_384, "xhigh": 32_768}
)
EFFORTS: Final[Mapping[str, str]] = MappingProxyType(
    {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh"}
    | {"max": "max"}
)
# A call, and its result after it.
_TURNS_OF_A_CALL: Final = 2


def cannot(name: str, why: str = "Anthropic's models have no such setting") -> InvalidRequest:
    """Say that a member cannot be expressed."""
    return InvalidRequest(
        f"`{name}` cannot be sent to this model: {why}",
        param=name,
        hint=f"Leave out `{name}`, or choose another model.",
    )


def think(
    body: dict[str, Any], fields: Mapping[str, Any], budget: int, flags: tuple[str, ...]
) -> None:
    """Write thinking and the form of the answer into a request; raises InvalidRequest."""
    output: dict[str, object] = {}
    form = member(fields.get("response_format"))
    if form.get("type") == "json_object":
        raise cannot("response_format", "it takes json_schema, not json_object")
    if form.get("type") == "json_schema":
        schema = enforceable(form["json_schema"].get("schema"))
        output["format"] = {"type": "json_schema", "schema": schema}
    asked = member(fields.get("reasoning"))
    effort = fields.get("reasoning_effort") or asked.get("effort")
    tokens = asked.get("max_tokens")
    if effort == "none" or asked.get("enabled") is False:
        body["thinking"] = {"type": "disabled"}
    elif tokens is not None or (effort and "thinking_budget" in flags):
        tokens = tokens if isinstance(tokens, int) else BUDGETS.get(str(effort), 8_192)
        if budget <= THINKING_TOKENS_MIN:
            raise cannot("reasoning_effort", "the output budget leaves no room for thinking")
        tokens = min(max(tokens, THINKING_TOKENS_MIN), budget - 1)
        body["thinking"] = {"type": "enabled", "budget_tokens": tokens}
    elif effort is not None:
        name = "reasoning_effort" if fields.get("reasoning_effort") else "reasoning.effort"
        output["effort"] = _effort(effort, name)
        body["thinking"] = {"type": "adaptive"}
    elif asked.get("enabled") is True:
        body["thinking"] = {"type": "adaptive"}
    if _is_thinking_refused(body):
        body["thinking"] = {"type": "disabled"}
    _sample(body)
    if output:
        body["output_config"] = output


def _sample(body: dict[str, Any]) -> None:
    """Leave out one of `temperature` and `top_p` where it asks for nothing.

    Newer models take only one of them; clients send both, one at its default.
    """
    for name, other in (("top_p", "temperature"), ("temperature", "top_p")):
        if other in body and body.get(name) == 1:
            del body[name]


def _effort(effort: object, name: str) -> str:
    found = EFFORTS.get(effort) if isinstance(effort, str) else None
    if found is None:
        raise cannot(name, "use none, minimal, low, medium, high, xhigh or max")
    return found


def _is_thinking_refused(body: Mapping[str, Any]) -> bool:
    """Anthropic takes no thinking beside a forced call, nor within a turn that began without it.

    A client that does not know signed thinking cannot send it back: its turn of tools goes on
    without thinking, as it would be refused otherwise.
    """
    if member(body.get("thinking")).get("type") not in ("enabled", "adaptive"):
        return False
    if member(body.get("tool_choice")).get("type") in ("any", "tool"):
        return True
    turns = body["messages"]
    if len(turns) < _TURNS_OF_A_CALL or turns[-1]["content"][0]["type"] != "tool_result":
        return False
    kinds = [block["type"] for block in turns[-2]["content"]]
    is_signed = bool(kinds) and kinds[0] in {"thinking", "redacted_thinking"}
    return body["thinking"]["type"] == "enabled" and not is_signed
