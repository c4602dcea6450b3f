"""Any value for any member, on every path, is read or refused; nothing else ever happens."""

import pytest

from jusinfer.domain.errors import InvalidRequest
from jusinfer.gateway.inference.endpoints import ENDPOINTS

BASES = {
    "/v1/chat/completions": {"model": b'"m"', "messages": b'[{"role":"user","content":"x"}]'},
    "/v1/completions": {"model": b'"m"', "prompt": b'"x"'},
    "/v1/embeddings": {"model": b'"m"', "input": b'"x"'},
    "/v1/messages": {
        "model": b'"m"',
        "max_tokens": b"10",
        "messages": b'[{"role":"user","content":"x"}]',
    },
    "/v1/responses": {"model": b'"m"', "input": b'"x"'},
}
MEMBERS = (
    "audio",
    "background",
    "best_of",
    "cache_control",
    "client_metadata",
    "context_management",
    "conversation",
    "dimensions",
    "echo",
    "encoding_format",
    "foo",
    "frequency_penalty",
    "function_call",
    "functions",
    "include",
    "input",
    "instructions",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_output_tokens",
    "max_tokens",
    "max_tool_calls",
    "messages",
    "metadata",
    "min_p",
    "modalities",
    "model",
    "models",
    "n",
    "output_config",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "previous_response_id",
    "prompt",
    "prompt_cache_key",
    "provider",
    "reasoning",
    "reasoning_effort",
    "response_format",
    "route",
    "safety_identifier",
    "seed",
    "service_tier",
    "stop",
    "stop_sequences",
    "store",
    "stream",
    "stream_options",
    "suffix",
    "system",
    "temperature",
    "text",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_logprobs",
    "top_p",
    "truncation",
    "usage",
    "user",
    "verbosity",
    "web_search_options",
)
ODD = (
    b"1e400",
    b"-1e400",
    b"9" * 5_000,
    b"-" + b"9" * 5_000,
    b"0." + b"9" * 5_000,
    b"18446744073709551616",
    b"-1",
    b"1.5",
    b"null",
    b"true",
    b"{}",
    b"[]",
    b"[null]",
    b"[1e400]",
    b'{"a":1e400}',
    b'[{"role":1e400}]',
    b'[{"role":"user","content":[{"type":"text","text":1e400}]}]',
    b'""',
    b'"\xff"',
    b'"\xe9t\xe9"',
    b'"\xc0\xaf"',
    b'"\xed\xa0\x80"',
    b'"\\ud800"',
    b'"\\u0000"',
    b"[" * 2_000 + b"]" * 2_000,
)


def body_of(path: str, name: str, value: bytes) -> bytes:
    members = BASES[path] | {name: value}
    return b"{%b}" % b",".join(b'"%b":%b' % (key.encode(), raw) for key, raw in members.items())


@pytest.mark.parametrize("path", BASES)
@pytest.mark.parametrize("name", MEMBERS)
def test_every_member_of_every_path_is_read_or_refused(path: str, name: str) -> None:
    refusals: list[str] = []
    for value in ODD:
        try:
            ENDPOINTS[path].decode(body_of(path, name, value))
        except InvalidRequest as error:
            refusals.append(error.message)
    assert all(0 < len(message) < 500 for message in refusals)


@pytest.mark.parametrize("name", ["prompt", "suffix", "echo", "best_of", "logprobs"])
@pytest.mark.parametrize("value", [b"1e400", b"9" * 5_000, b'"\xff"', b"[1e400]"])
def test_a_legacy_member_beyond_all_bounds_is_named(name: str, value: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ENDPOINTS["/v1/completions"].decode(body_of("/v1/completions", name, value))
    assert caught.value.param == name


@pytest.mark.parametrize("value", ODD)
def test_messages_have_no_place_in_embeddings(value: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ENDPOINTS["/v1/embeddings"].decode(body_of("/v1/embeddings", "messages", value))
    assert caught.value.param == "messages" or "JSON" in caught.value.message
