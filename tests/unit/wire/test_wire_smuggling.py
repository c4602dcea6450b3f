"""What is judged of a request is what its provider is sent, however the client writes it."""

import json

import pytest

from jusinfer.domain.errors import InvalidRequest
from jusinfer.domain.sender import NO_STAMP
from jusinfer.gateway.inference.endpoints import ENDPOINTS
from jusinfer.wire.interfaces import ProviderApi
from jusinfer.wire.upstream.anthropic.response import AnthropicProviderApi

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
BASES = {
    CHAT: '{"model":"m","messages":[{"role":"user","content":"x"}],%s}',
    MESSAGES: '{"model":"m","max_tokens":10,"messages":[{"role":"user","content":"x"}],%s}',
    RESPONSES: '{"model":"m","input":"x",%s}',
}
OWN: dict[str, tuple[ProviderApi | None, tuple[str, ...]]] = {
    CHAT: (None, ("store_false",)),
    MESSAGES: (AnthropicProviderApi(), ()),
    RESPONSES: (None, ("responses",)),
}
CROWD = ",".join(f'"zz{number}":1' for number in range(100))


def sent(path: str, body: str) -> bytes:
    provider_api, flags = OWN[path]
    endpoint = ENDPOINTS[path]
    raw = body.encode()
    asked = endpoint.decode(raw)
    translator = endpoint.translator(provider_api, flags=flags, completion_id="0" * 32)
    return translator.encode(asked, raw, "upstream-model", 5, flags, NO_STAMP)


def chat_of(parts: str) -> str:
    return '{"model":"m","messages":[{"role":"user","content":[' + parts + "]}]}"


def refused(path: str, body: str) -> str | None:
    with pytest.raises(InvalidRequest) as caught:
        sent(path, body)
    return caught.value.param


@pytest.mark.parametrize(
    ("path", "member", "value"),
    [
        (MESSAGES, "mcp_servers", '[{"type":"url","url":"https://a.example"}]'),
        (MESSAGES, "container", '"c"'),
        (MESSAGES, "user_profile_id", '"u"'),
        (MESSAGES, "speed", '"fast"'),
        (RESPONSES, "moderation", '{"model":"a"}'),
        (CHAT, "service_tier", '"priority"'),
    ],
)
def test_no_number_of_unknown_members_hides_a_refused_one(
    path: str, member: str, value: str
) -> None:
    assert refused(path, BASES[path] % f'{CROWD},"{member}":{value}') == member


def test_a_value_that_one_provider_takes_hides_none_that_it_refuses() -> None:
    part = '{"type":"text","text":"x","prompt_cache_breakpoint":{"ttl":"%s"}}'
    content = ",".join(part % ttl for ttl in ("30m", "24h"))
    body = chat_of(content)
    assert refused(CHAT, body) == "messages[0].content[1].prompt_cache_breakpoint.ttl"


@pytest.mark.parametrize("name", ["speed", "sp\\u0065ed"])
def test_the_last_of_two_is_judged_and_sent(name: str) -> None:
    assert refused(MESSAGES, BASES[MESSAGES] % f'"speed":"standard","{name}":"fast"') == "speed"
    body = sent(MESSAGES, BASES[MESSAGES] % f'"{name}":"fast","speed":"standard"')
    assert body.count(b"speed") == 1
    assert b"fast" not in body


def test_a_search_is_left_out_however_its_name_is_written() -> None:
    own = '{"name":"a","input_schema":{"type":"object"}}'
    search = '{"type":"web\\u005fsearch_20250305","name":"web_search"}'
    body = sent(MESSAGES, BASES[MESSAGES] % f'"tools":[{own},{search}]')
    assert [tool["name"] for tool in json.loads(body)["tools"]] == ["a"]


@pytest.mark.parametrize(
    ("path", "body", "hidden"),
    [
        (
            MESSAGES,
            BASES[MESSAGES] % '"tools":[{"type":"code_execution_20250825","name":"a",'
            '"type":"custom","input_schema":{"type":"object"}}]',
            b"code_execution",
        ),
        (
            MESSAGES,
            (
                '{"model":"m","max_tokens":9,"messages":[{"role":"user","content":[{"type":"document",'
                '"source":{"type":"file","type":"text","media_type":"text/plain","data":"x"}}]}]}'
            ),
            b'"file"',
        ),
        (
            RESPONSES,
            BASES[RESPONSES] % '"tools":[{"type":"file_search","type":"function","name":"a"}]',
            b"file_search",
        ),
        (
            RESPONSES,
            (
                '{"model":"m","input":[{"role":"user","content":[{"type":"input_file",'
                '"file_id":"file-1"}],"content":"x"}]}'
            ),
            b"file-1",
        ),
        (
            CHAT,
            chat_of('{"type":"file","file":{"file_id":"file-1"},"file":{"file_data":"data:,x"}}'),
            b"file-1",
        ),
    ],
)
def test_a_member_that_stands_twice_inside_is_sent_once(
    path: str, body: str, hidden: bytes
) -> None:
    assert hidden not in sent(path, body)


@pytest.mark.parametrize("name", ["file_id", "f\\u0069le_id"])
def test_a_file_kept_at_the_provider_is_refused_in_a_chat(name: str) -> None:
    part = '{"type":"file","file":{"' + name + '":"file-1"}}'
    body = chat_of(part)
    assert refused(CHAT, body) == "messages[0].content[0].file.file_id"


def test_a_mark_of_what_to_cache_is_judged_however_it_is_written() -> None:
    part = '{"type":"text","text":"x","prompt\\u005fcache_breakpoint":{"ttl":"24h"}}'
    body = chat_of(part)
    assert refused(CHAT, body) == "messages[0].content[0].prompt_cache_breakpoint.ttl"


def test_words_that_only_look_like_members_pass_as_they_came() -> None:
    part = {"type": "text", "text": '{"file_id": "a", "\\u0061": 1}'}
    assert json.loads(sent(CHAT, chat_of(json.dumps(part))))["messages"][0]["content"] == [part]
