"""Whatever a provider sends as an answer, what is counted is delivered, in every client API."""

import json
from typing import Any

import msgspec
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from tests.effort import examples
from tests.playbook.script import IDENT

from jusinfer.domain.inference.stream_state import Chunk, ChunkMalformed
from jusinfer.domain.usage import TokenUsage
from jusinfer.wire.inbound.anthropic.client_api import AnthropicClientApi
from jusinfer.wire.inbound.responses.client_api import ResponsesClientApi
from jusinfer.wire.upstream.chat_answer import read_answer
from jusinfer.wire.upstream.chat_stream import ChatStreamDecoder

WORDS = st.sampled_from(["", "a", "wörter ", "🙂", '"q"', "\\", "4", "null", "line\n"])
TEXTS: st.SearchStrategy[Any] = st.one_of(
    st.none(), WORDS, st.integers(-9, 9999), st.floats(0, 9), st.booleans()
)
PARTS = st.one_of(
    TEXTS,
    st.builds(lambda text: {"type": "text", "text": text}, TEXTS),
    st.builds(lambda text: {"type": "output_text", "text": {"value": text}}, TEXTS),
    st.builds(
        lambda text: {"type": "thinking", "thinking": [{"type": "text", "text": text}]}, WORDS
    ),
    st.builds(lambda text: {"type": "refusal", "refusal": text}, WORDS),
)
CONTENTS = st.one_of(TEXTS, st.lists(PARTS, max_size=3), PARTS)
ARGUMENTS = st.one_of(
    st.none(),
    st.just(""),
    st.sampled_from(['{"a":', "1}", "{}", '{"b":2}', "x"]),
    st.dictionaries(WORDS, st.integers(0, 9), max_size=2),
)
INDEXES = st.sampled_from([None, 0, 0, 1, "0", 2.0])
IDS = st.sampled_from([None, "", "call_a", "call_b", 7, "functions.f:0"])
NAMES = st.sampled_from([None, "", "f", "g", "get_weather"])


def row_of(index: Any, call_id: Any, name: Any, given_: Any, *, is_flat: bool) -> dict[str, Any]:
    body = {"name": name, "arguments": given_}
    row = {"index": index, "id": call_id, "type": "function"}
    row |= body if is_flat else {"function": body}
    return {key: value for key, value in row.items() if value is not None}


CALLS = st.lists(
    st.builds(row_of, INDEXES, IDS, NAMES, ARGUMENTS, is_flat=st.booleans()), max_size=3
)
DELTAS = st.fixed_dictionaries(
    {},
    optional={
        "content": CONTENTS,
        "reasoning": CONTENTS,
        "reasoning_content": WORDS,
        "refusal": TEXTS,
        "tool_calls": CALLS,
        "reasoning_details": st.lists(
            st.builds(lambda text: {"type": "reasoning.text", "text": text}, WORDS), max_size=2
        ),
    },
)
STREAMS = st.lists(DELTAS, min_size=1, max_size=6)
REASONS = st.sampled_from(["stop", "tool_calls", "length", "STOP", "eos", "content_filter"])


def played(deltas: list[dict[str, Any]], reason: str, client_api: Any) -> tuple[list[Chunk], bytes]:
    decoder = ChatStreamDecoder(IDENT, is_chat=client_api is None)
    writer = None if client_api is None else client_api.stream(b"{}", IDENT)
    chunks: list[Chunk] = []
    out = b""
    rows = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    rows.append({"index": 0, "delta": {}, "finish_reason": reason})
    for row in rows:
        chunk = decoder.decode(json.dumps({"choices": [row]}, ensure_ascii=False).encode())
        chunks.append(chunk)
        assert chunk.payload is not None
        out += chunk.payload + b"\n" if writer is None else writer.events([chunk.payload])
    rest = decoder.flush()
    assert rest is None
    if writer is not None:
        out += writer.finish(TokenUsage(), "0")
    return chunks, out


def counted(chunks: list[Chunk]) -> int:
    """Give the bytes counted; the escapes of JSON are the same wherever they are written."""
    return sum(chunk.content_bytes for chunk in chunks)


def chat_bytes(out: bytes) -> int:
    """Give the bytes of texts and of names and arguments of calls in the chunks of a stream."""
    total = 0
    for line in out.splitlines():
        for choice in msgspec.json.decode(line)["choices"]:
            delta = choice["delta"]
            thought = delta.get("reasoning_content") or delta.get("reasoning") or ""
            texts = [delta.get("content") or "", delta.get("refusal") or "", thought]
            for call in delta.get("tool_calls", []):
                body = call.get("function") or call["custom"]
                texts += [body.get("name") or "", body.get("arguments") or body.get("input") or ""]
            total += sum(len(msgspec.json.encode(text)) - 2 for text in texts)
    return total


def events_of(out: bytes) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in out.split(b"\n") if line.startswith(b"data: {")]


def response_texts(out: bytes) -> list[str]:
    events = events_of(out)
    kinds = ("text.delta", "refusal.delta", "arguments.delta", "summary_text.delta")
    texts = [event["delta"] for event in events if event["type"].endswith(kinds)]
    names = [
        event["item"]["name"]
        for event in events
        if event["type"] == "response.output_item.done" and event["item"]["type"] == "function_call"
    ]
    return texts + names


def message_texts(out: bytes) -> list[str]:
    texts: list[str] = []
    for event in events_of(out):
        if event["type"] == "content_block_start":
            texts.append(event["content_block"].get("name", ""))
        elif event["type"] == "content_block_delta":
            delta = event["delta"]
            texts += [delta.get(name, "") for name in ("text", "thinking", "partial_json")]
    return texts


def plain_bytes(texts: list[str]) -> int:
    return sum(len(msgspec.json.encode(text)) - 2 for text in texts)


@settings(max_examples=examples(400))
@given(STREAMS, REASONS)
def test_what_is_counted_is_delivered(deltas: list[dict[str, Any]], reason: str) -> None:
    chunks, out = played(deltas, reason, None)
    assert chat_bytes(out) == counted(chunks)
    for line in out.splitlines():
        event = json.loads(line)
        assert event["id"] == IDENT.chat_id
        assert event["model"] == "public/model"
        assert event["created"] == IDENT.created
    for client_api, texts in (
        (ResponsesClientApi(), response_texts),
        (AnthropicClientApi(), message_texts),
    ):
        try:
            chunks, out = played(deltas, reason, client_api)
        except ChunkMalformed:
            # Arguments of a call that go on after it was whole: said to be broken, not lost.
            continue
        assert plain_bytes(texts(out)) == counted(chunks)


@settings(max_examples=examples(300))
@given(STREAMS, REASONS)
def test_items_and_blocks_come_one_after_another(deltas: list[dict[str, Any]], reason: str) -> None:
    try:
        _, out = played(deltas, reason, ResponsesClientApi())
    except ChunkMalformed:
        reject()
    open_item: int | None = None
    done: list[dict[str, Any]] = []
    for number, event in enumerate(events_of(out)):
        assert event["sequence_number"] == number
        if event["type"] == "response.output_item.added":
            assert open_item is None
            open_item = event["output_index"]
            assert open_item == len(done)
        elif event["type"] == "response.output_item.done":
            assert event["output_index"] == open_item
            open_item = None
            done.append(event["item"])
        elif "output_index" in event:
            assert event["output_index"] == open_item
    assert open_item is None
    assert events_of(out)[-1]["response"]["output"] == done


@settings(max_examples=examples(300))
@given(DELTAS, REASONS)
def test_a_whole_answer_says_what_is_counted(message: dict[str, Any], reason: str) -> None:
    body = json.dumps({"choices": [{"message": message, "finish_reason": reason}]}).encode()
    answer, strict = read_answer(body)
    assert answer.failure is None
    said = json.loads(strict)["choices"][0]["message"]
    thought = said.get("reasoning_content") or said.get("reasoning") or ""
    for call in said.get("tool_calls", []):
        assert call["id"]
        json.dumps(call["function"]["arguments"])
    texts = [said["content"] or "", said.get("refusal") or "", thought]
    has_text = any(texts) or bool(said.get("tool_calls"))
    assert answer.has_content == (has_text or bool(said.get("reasoning_details")))
    response = json.loads(ResponsesClientApi().answer(strict, b"{}", TokenUsage(), "0", IDENT))
    message_made = json.loads(AnthropicClientApi().answer(strict, b"{}", TokenUsage(), "0", IDENT))
    outputs = response["output"]
    shown = "".join(
        part["text"]
        for item in outputs
        if item["type"] == "message"
        for part in item["content"]
        if part["type"] == "output_text"
    )
    assert shown == (said["content"] or "")
    blocks = message_made["content"]
    assert "".join(b["text"] for b in blocks if b["type"] == "text") == shown + (
        said.get("refusal") or ""
    )
    assert "".join(b["thinking"] for b in blocks if b["type"] == "thinking") == thought
    calls = [block for block in blocks if block["type"] == "tool_use"]
    assert len({call["id"] for call in calls}) == len(calls) == len(said.get("tool_calls", []))
