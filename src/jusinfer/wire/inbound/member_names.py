"""What a refusal names, in the words of the client's API: the canonical form has other names."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from jusinfer.domain.errors import InvalidRequest

# By the API's name: the client's member for each member of Chat Completions that has another name.
NAMES: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "anthropic": {
            "parallel_tool_calls": "tool_choice",
            "reasoning": "output_config.effort",
            "reasoning_effort": "output_config.effort",
            "response_format": "output_config.format",
            "stop": "stop_sequences",
            "user": "metadata.user_id",
        },
        "completions": {"messages": "prompt"},
        "responses": {
            "logprobs": "top_logprobs",
            "max_tokens": "max_output_tokens",
            "messages": "input",
            "reasoning": "reasoning.effort",
            "reasoning_effort": "reasoning.effort",
            "response_format": "text.format",
            "verbosity": "text.verbosity",
        },
    }
)
# Members whose rows are counted otherwise in the canonical form: only the whole can be named.
RECOUNTED: Final = frozenset({"messages", "tools"})


def in_client_words(error: InvalidRequest, client_api: str) -> InvalidRequest:
    """Return a refusal of the canonical form that names what stands in the client's own request."""
    if not error.param:
        return error
    first, *rest = error.param.replace("[", ".[").split(".", 1)
    name = NAMES[client_api].get(first)
    if name is None and (first not in RECOUNTED or not rest):
        return error
    name = name or first
    old = f"`{error.param}`"
    return InvalidRequest(
        error.message.replace(old, f"`{name}`"),
        param=name,
        hint=error.hint.replace(old, f"`{name}`"),
    )
