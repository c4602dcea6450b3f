import json
from typing import Any

import msgspec
import pytest

from jusinfer.domain.errors import InvalidRequest
from jusinfer.domain.routing.features import RequestFeatures
from jusinfer.wire.inbound import openai_chat_content
from jusinfer.wire.inbound.openai_chat import decode_request
from jusinfer.wire.inbound.openai_chat_content import Message, read_messages

CANARY = "canary-7f3a"


def traits(*messages: dict[str, Any], ascii_only: bool = False, **members: Any) -> RequestFeatures:
    asked = {"model": "jusinfer/auto", "messages": list(messages)} | members
    return decode_request(json.dumps(asked, ensure_ascii=ascii_only).encode()).traits


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


@pytest.mark.parametrize("text", ["plain words " * 50, "你好世界" * 50, "नमस्ते " * 50, '\n\t"' * 50])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_the_bound_is_never_below_the_bytes_of_the_text(text: str, *, ascii_only: bool) -> None:
    found = traits(user(text), ascii_only=ascii_only)
    assert found.input_tokens_max >= len(text.encode())
    assert 0 < found.input_tokens < found.input_tokens_max


def test_escaped_and_plain_writing_are_estimated_alike() -> None:
    text = "你好世界" * 300
    plain, escaped = traits(user(text)), traits(user(text), ascii_only=True)
    assert abs(plain.input_tokens - escaped.input_tokens) < plain.input_tokens // 5
    assert 600 < plain.input_tokens < 1_000


@pytest.mark.parametrize(
    "message",
    [
        user([{"type": "text", "text": "w" * 900}]),
        user([{"type": "of_tomorrow", "anything": "w" * 900}]),
        {"role": "assistant", "tool_calls": [{"function": {"arguments": "w" * 900}}]},
        {"role": "assistant", "content": None, "reasoning_content": "w" * 900},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "w" * 900}]},
        {"role": "assistant", "refusal": "w" * 900},
        {"role": "user", "content": "x", "of_tomorrow": "w" * 900},
    ],
)
def test_the_bound_counts_text_wherever_it_stands_in_a_message(message: dict[str, Any]) -> None:
    assert traits(message).input_tokens_max >= 900


@pytest.mark.parametrize(
    "members",
    [
        {"tools": [{"type": "function", "function": {"name": "f", "description": "w" * 900}}]},
        {"functions": [{"name": "f", "description": "w" * 900}]},
        {"response_format": {"type": "json_schema", "json_schema": {"d": "w" * 900}}},
        {"prediction": {"type": "content", "content": "w" * 900}},
    ],
)
def test_what_is_read_beside_the_messages_counts(members: dict[str, Any]) -> None:
    base, found = traits(user("x")), traits(user("x"), **members)
    assert found.input_tokens_max >= base.input_tokens_max + 900
    assert found.input_tokens >= base.input_tokens + 225


def test_an_image_counts_as_an_image_and_not_as_its_bytes() -> None:
    data = "data:image/png;base64," + "A" * 100_000
    found = traits(user([{"type": "image_url", "image_url": {"url": data}}] * 2))
    assert found.has_images
    assert not found.has_audio
    assert 4_000 <= found.input_tokens_max < 4_500
    assert 2_200 <= found.input_tokens < 4_000


def test_audio_and_files_count_by_their_size() -> None:
    audio = {"type": "input_audio", "input_audio": {"data": "A" * 100_000, "format": "wav"}}
    found = traits(user([audio]))
    assert found.has_audio
    assert 1_500 <= found.input_tokens_max < 2_000
    file = {"type": "file", "file": {"file_data": "A" * 100_000}}
    found = traits(user([file]))
    assert not found.has_images
    assert 50_000 <= found.input_tokens_max < 51_500


def test_every_message_has_its_overhead() -> None:
    one, many = traits(user("")), traits(*[user("")] * 101)
    assert many.input_tokens_max - one.input_tokens_max >= 800
    assert many.message_count == 101


@pytest.mark.parametrize(
    ("parts", "where", "message"),
    [
        ([7], "[0]", "an object, not a whole number"),
        ([{"type": "text", "text": "a"}, {"text": CANARY}], "[1].type", "missing"),
        ([{"type": 7}], "[0].type", "a string, not a whole number"),
        ([{"type": "text", "text": 7}], "[0].text", "a string"),
        ([{"type": "text"}], "[0].text", "a string"),
    ],
)
def test_a_malformed_part_is_named(parts: list[Any], where: str, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        traits(user("x"), user(parts))
    error = caught.value
    assert error.param == f"messages[1].content{where}"
    assert message in error.message
    assert CANARY not in f"{error.message} {error.hint} {error.param}"


@pytest.mark.parametrize("content", [7, True, {}, None])
def test_what_a_person_says_is_a_text_or_parts(content: object) -> None:
    with pytest.raises(InvalidRequest, match="must be a string or an array") as caught:
        traits(user(content))
    assert caught.value.param == "messages[0].content"


@pytest.mark.parametrize(
    "odd",
    [
        {"role": "user", "content": "a"},
        {"role": "developer", "content": "é"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function"}]},
        {"role": "assistant", "content": "a", "reasoning_content": "because"},
        {"role": "assistant"},
        {"role": "user", "content": [{"type": "text", "text": "a"}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:x"}}]},
        {"role": "user", "content": None},
        {"role": "user", "content": 7},
        {"role": "user", "content": True},
    ],
)
@pytest.mark.parametrize("place", [0, 7, 19])
def test_many_messages_are_read_as_few_are(odd: dict[str, object], place: int) -> None:
    said: list[dict[str, object]] = [{"role": "user", "content": f"line {n}"} for n in range(20)]
    said[place] = odd
    messages = msgspec.json.decode(msgspec.json.encode(said), type=list[Message])

    def reading() -> object:
        try:
            return read_messages(messages)
        except msgspec.ValidationError as error:
            return str(error)

    many = reading()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openai_chat_content, "MANY_MESSAGES", 1_000)
        assert many == reading()
