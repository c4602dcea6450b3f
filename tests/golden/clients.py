"""Reads what was delivered as the official clients do, and strictly: each type and each name."""

import base64
import json
import re
import struct
from functools import cache
from typing import Any, Final

import anthropic.types
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types import Completion, CreateEmbeddingResponse, responses
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel, TypeAdapter

WHOLE: Final[dict[str, type[BaseModel]]] = {
    "chat": ChatCompletion,
    "responses": responses.Response,
    "messages": anthropic.types.Message,
    "completions": Completion,
    "embeddings": CreateEmbeddingResponse,
}
EVENTS: Final[dict[str, Any]] = {
    "chat": ChatCompletionChunk,
    "responses": responses.ResponseStreamEvent,
    "messages": anthropic.types.RawMessageStreamEvent,
    "completions": Completion,
}
ERROR_TYPES: Final = frozenset(
    {
        "api_error",
        "authentication_error",
        "billing_error",
        "invalid_request_error",
        "not_found_error",
        "overloaded_error",
        "permission_error",
        "rate_limit_error",
        "request_too_large",
        "timeout_error",
    }
)
# Events that the clients pass over, and the one that they raise.
IGNORED: Final = frozenset({"error", "ping", "telepathy"})
# Codes of errors that OpenAI's API gives and its types do not name.
CODE: Final = re.compile(r'"code":"(server_is_overloaded|context_length_exceeded|upstream_\w+)"')
MADE_ID: Final = re.compile(r'"call_[0-9a-f]{24}"')
Json = dict[str, Any]


@cache
def _events_of(client: str) -> TypeAdapter[Any]:
    return TypeAdapter(EVENTS[client])


def read_whole(client: str, body: bytes) -> Json:
    """Read a whole answer; raises ValidationError for what a client does not expect."""
    read: Json = json.loads(body)
    if client == "embeddings":
        for row in read["data"]:
            if isinstance(row["embedding"], str):
                # As the client does, which asks for base64 unless told otherwise.
                packed = base64.b64decode(row["embedding"])
                row["embedding"] = list(struct.unpack(f"<{len(packed) // 4}f", packed))
    WHOLE[client].model_validate_json(json.dumps(read), strict=True)
    return read


def read_error(client: str, status: int, body: bytes) -> Json:
    """Read the body of an error."""
    read: Json = json.loads(body)
    error: Json = read["error"]
    assert 400 <= status < 600
    assert isinstance(error["message"], str)
    assert error["message"]
    assert isinstance(error["type"], str)
    if client == "messages":
        assert read["type"] == "error"
        assert error["type"] in ERROR_TYPES
    else:
        assert isinstance(error["code"], str)
        assert error["param"] is None or isinstance(error["param"], str)
    return error


def frames(body: bytes) -> list[tuple[str, str]]:
    """Give the events of a stream: (name, data)."""
    found = []
    for block in body.decode().split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        if lines:
            names = [line.partition(": ")[2] for line in lines if line.startswith("event: ")]
            datas = [line.partition(": ")[2] for line in lines if line.startswith("data: ")]
            assert len(names) + len(datas) == len(lines), block
            found.append((names[0] if names else "", "\n".join(datas)))
    return found


def read_stream(client: str, body: bytes, *, is_native: bool) -> Json | None:
    """Read a stream to its end, and give the whole answer that it makes; None for a failed one."""
    assert body.endswith(b"\n\n")
    events = frames(body)
    if client in {"chat", "completions"}:
        return _chat_stream(client, events)
    payloads = [json.loads(data) for _, data in events]
    for (name, data), payload in zip(events, payloads, strict=True):
        assert payload["type"] == name
        if name not in IGNORED:
            _events_of(client).validate_json(CODE.sub('"code":"server_error"', data), strict=True)
    if client == "messages":
        return _messages_stream(payloads)
    return _responses_stream(payloads, is_native=is_native)


def _chat_stream(client: str, events: list[tuple[str, str]]) -> Json | None:
    datas = [data for _, data in events]
    is_failed = '"error":' in datas[-1] and "error" in json.loads(datas[-1])
    if is_failed:
        read_error(client, 500, datas[-1].encode())
        datas.pop()
    else:
        assert datas.pop() == "[DONE]"
    state = ChatCompletionStreamState()
    choices: dict[int, str] = {}
    for data in datas:
        assert data != "[DONE]"
        # The type of the older API knows no `null`, which every chunk but the last has.
        known = data.replace('"finish_reason":null', '"finish_reason":"stop"')
        # The type of a chunk knows functions only; the API streams custom tools too.
        known = known.replace('"type":"custom"', '"type":"function"')
        EVENTS[client].model_validate_json(known, strict=True)
        chunk = EVENTS[client].construct(**json.loads(data))
        if client == "chat":
            state.handle_chunk(chunk)
        else:
            for choice in chunk.choices:
                choices[choice.index] = choices.get(choice.index, "") + choice.text
    if is_failed:
        return None
    if client == "completions":
        return {"choices": [{"text": text} for _, text in sorted(choices.items())]}
    made: Json = json.loads(state.current_completion_snapshot.model_dump_json())
    return made


def _messages_stream(payloads: list[Json]) -> Json | None:
    """Join the events as Anthropic's client does."""
    message: Json = {}
    is_open = False
    for payload in payloads:
        kind = payload["type"]
        if kind == "error":
            assert payload is payloads[-1]
            assert payload["error"]["type"] in ERROR_TYPES
            return None
        if kind == "message_start":
            message = payload["message"]
            assert message["content"] == []
        elif kind == "content_block_start":
            assert not is_open
            is_open = True
            assert payload["index"] == len(message["content"])
            message["content"].append({**payload["content_block"], "json": ""})
        elif kind == "content_block_delta":
            assert is_open
            assert payload["index"] == len(message["content"]) - 1
            _add(message["content"][-1], payload["delta"])
        elif kind == "content_block_stop":
            is_open = False
        elif kind == "message_delta":
            assert not is_open
            message.update(payload["delta"])
            message["usage"] = payload["usage"]
    assert payloads[-1]["type"] == "message_stop"
    assert [payload["type"] for payload in payloads].count("message_stop") == 1
    for block in message["content"]:
        said = block.pop("json")
        if block["type"] in {"tool_use", "server_tool_use"} and said:
            block["input"] = _object(said)
    return message


def _object(said: str) -> Any:
    """Read arguments; those that were cut stand as they are."""
    try:
        return json.loads(said)
    except ValueError:
        return {"arguments": said}


def _add(block: Json, delta: Json) -> None:
    kind = delta["type"]
    if kind == "input_json_delta":
        block["json"] += delta["partial_json"]
    elif kind == "citations_delta":
        block.setdefault("citations", []).append(delta["citation"])
    else:
        name = kind.removesuffix("_delta")
        block[name] = block[name] + delta[name] if name != "signature" else delta[name]


def _responses_stream(payloads: list[Json], *, is_native: bool) -> Json | None:
    """Check the order of the events, and that they make the response at the end."""
    assert [payload["sequence_number"] for payload in payloads] == list(range(len(payloads)))
    kinds = [payload["type"] for payload in payloads]
    ends = {"response.completed", "response.incomplete", "response.failed"}
    assert [kind for kind in kinds if kind in ends] == kinds[-1:], kinds
    items: list[Json] = []
    open_at: int | None = None
    texts: dict[tuple[Any, ...], str] = {}
    for payload in payloads:
        kind = payload["type"]
        if kind == "response.output_item.added":
            assert open_at is None
            open_at = payload["output_index"]
            assert open_at == len(items)
        elif kind == "response.output_item.done":
            assert open_at == payload["output_index"]
            open_at = None
            items.append(payload["item"])
        elif "output_index" in payload:
            assert payload["output_index"] == open_at
            _check_texts(kind, payload, texts)
    final: Json = payloads[-1]["response"]
    if is_native and kinds[-1] == "response.failed":
        # What passed stays as it was when it broke.
        return None
    assert open_at is None
    assert final["output"] == items
    return None if kinds[-1] == "response.failed" else final


def _check_texts(kind: str, payload: Json, texts: dict[tuple[Any, ...], str]) -> None:
    stem, _, step = kind.rpartition(".")
    place = (
        stem,
        payload["item_id"],
        payload.get("content_index", payload.get("summary_index")),
    )
    if step == "delta":
        texts[place] = texts.get(place, "") + payload["delta"]
    elif step == "done" and not stem.endswith("part"):
        names = {"text", "refusal", "arguments", "input"} & payload.keys()
        assert texts.get(place, "") == payload[names.pop()]


# ---------------------------------------------------------------------- what was said


def gist(client: str, answer: Json) -> Json:
    """Give what an answer says, without ids that were made here for calls that had none."""
    said: Json = json.loads(
        MADE_ID.sub('"made"', json.dumps(_gist(client, answer))), object_hook=_read_arguments
    )
    return said


def _read_arguments(value: Json) -> Json:
    sealed = value.get("encrypted_content")
    if isinstance(sealed, str) and sealed.startswith("ji1."):
        value["encrypted_content"] = json.loads(base64.b64decode(sealed[4:]))
    if isinstance(value.get("arguments"), str):
        value["arguments"] = _object(value["arguments"])
    return value


def _gist(client: str, answer: Json) -> Json:
    if client == "embeddings":
        return answer
    if client == "completions":
        return {"text": [choice["text"] for choice in answer["choices"]]}
    if client == "messages":
        return {
            "content": [_bare(block) for block in answer["content"]],
            "stop": answer["stop_reason"],
            "usage": {n: v for n, v in answer["usage"].items() if n.endswith("tokens") and v},
        }
    if client == "responses":
        return {
            "output": [_bare(item) for item in answer["output"]],
            "status": answer["status"],
            "usage": answer["usage"],
        }
    said = []
    for choice in answer["choices"]:
        message = choice["message"]
        calls = [
            (call["id"], call.get("function") or call.get("custom"))
            for call in message.get("tool_calls") or ()
        ]
        bare = [(i, {n: c[n] for n in ("name", "arguments", "input") if n in c}) for i, c in calls]
        said.append(
            {
                "content": message.get("content") or "",
                "refusal": message.get("refusal") or "",
                "calls": bare,
                "finish": choice["finish_reason"],
            }
        )
    return {"choices": said}


def _bare(block: Json) -> Json:
    return {name: value for name, value in block.items() if value is not None and name != "id"} | (
        {"id": block["id"]} if block["type"] == "tool_use" else {}
    )
