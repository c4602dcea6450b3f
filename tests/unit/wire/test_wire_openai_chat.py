import msgspec
import pytest

from jusinfer.domain.inference.stream_state import Chunk, ChunkMalformed
from jusinfer.domain.usage import TokenUsage
from jusinfer.wire.answer_ident import AnswerIdent
from jusinfer.wire.upstream.openai_chat import (
    Answer,
    ChunkIdent,
    answer_as_events,
    decode_answer,
    decode_chunk,
    error_chunk,
    named_so,
    usage_chunk,
)
from jusinfer.wire.upstream.usage_shapes import TOKENS_MAX, read_usage

NAMED = AnswerIdent("c", 5, "public")
IDENT = ChunkIdent(id="c-1", created=1_790_000_000, model="m")
MISFITS = [
    b"",
    b" ",
    b"x",
    b"null",
    b"[]",
    b"12",
    b'"a"',
    b'{"choices":[',
    b'{"choices":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"usage":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
]


@pytest.mark.parametrize("payload", MISFITS)
def test_what_is_no_object_is_malformed(payload: bytes) -> None:
    with pytest.raises(ChunkMalformed):
        decode_chunk(payload)


@pytest.mark.parametrize(
    ("payload", "size"),
    [
        (b'{"choices":[{"delta":{"content":"abcd"}}]}', 4),
        (b'{"choices":[{"delta":{"content":" "}}]}', 1),
        (b'{"choices":[{"delta":{"content":"\\u00e9"}}]}', 6),
        (b'{"choices":[{"delta":{"content":""}}]}', 0),
        (b'{"choices":[{"delta":{"content":null,"reasoning":"ab"}}]}', 2),
        (b'{"choices":[{"delta":{"reasoning":"ab","reasoning_details":[{"text":"ab"}]}}]}', 2),
        (b'{"choices":[{"delta":{"reasoning_details":[{"t":1}]}}]}', 7),
        (b'{"choices":[{"delta":{"tool_calls":[],"audio":{},"refusal":null}}]}', 0),
        (b'{"choices":[{"delta":{"content":"ab"}},{"index":1,"delta":{"content":"c"}}]}', 3),
        (b'{"choices":[{"message":{"content":"abc"}}]}', 3),
        (b'{"choices":[{"delta":null}]}', 0),
        (b'{"choices":[{"delta":{"content":7}}]}', 1),
    ],
)
def test_content_is_seen(payload: bytes, size: int) -> None:
    chunk = decode_chunk(payload)
    assert (chunk.has_content, chunk.content_bytes) == (size > 0, size)


@pytest.mark.parametrize(
    "payload",
    [
        b'{"choices":[{"index":"0","delta":{"content":"ab"},"finish_reason":"stop"}]}',
        b'{"choices":[{"index":0.5,"delta":{"content":"ab"},"finish_reason":"stop"}]}',
        b'{"choices":[{"delta":{"content":"ab"},"message":[],"finish_reason":"stop"},7]}',
        b'{"choices":[{"delta":{"content":"ab"},"finish_reason":"stop"}],"x_groq":"r"}',
        b'{"choices":[{"delta":{"content":"ab"},"finish_reason":"stop"},{"finish_reason":9}]}',
        b'{"choices":[{"delta":{"content":"ab"},"finish_reason":"stop"},{"finish_reason":"\xff"}]}',
    ],
)
def test_unheard_of_types_are_read_around(payload: bytes) -> None:
    chunk = decode_chunk(payload)
    assert (chunk.content_bytes, chunk.finish_reason) == (2, "stop")
    assert chunk.finished_choices == (0,)
    assert chunk.failure is None


@pytest.mark.parametrize("payload", [b"{}", b'{"choices":{}}', b'{"choices":7,"object":"x"}'])
def test_no_choices_are_an_empty_chunk(payload: bytes) -> None:
    assert decode_chunk(payload) == Chunk()


def test_invalid_text_inside_content_is_carried() -> None:
    assert decode_chunk(b'{"choices":[{"delta":{"content":"\xff"}}]}').has_content


@pytest.mark.parametrize(
    ("raw", "usage"),
    [
        pytest.param(
            b'{"prompt_tokens":20,"completion_tokens":9,"total_tokens":29,"prompt_tokens_details":'
            b'{"cached_tokens":8,"cache_write_tokens":2,"audio_tokens":0},'
            b'"completion_tokens_details":{"reasoning_tokens":4,"audio_tokens":0}}',
            TokenUsage(20, 8, 2, 9, 4),
            id="U01",
        ),
        pytest.param(
            b'{"prompt_tokens":20,"completion_tokens":9}', TokenUsage(20, 0, 0, 9), id="U02"
        ),
        pytest.param(
            b'{"prompt_tokens":20,"completion_tokens":9,"prompt_tokens_details":null,'
            b'"completion_tokens_details":null}',
            TokenUsage(20, 0, 0, 9),
            id="U03",
        ),
        pytest.param(b"null", None, id="U04-null"),
        pytest.param(b"{}", None, id="U04-empty"),
        pytest.param(b'{"prompt_tokens":null}', None, id="U04-nulls"),
        pytest.param(
            b'{"prompt_tokens":20,"completion_tokens":1,"prompt_tokens_details":'
            b'{"cached_tokens":30}}',
            TokenUsage(20, 30, 0, 1),
            id="U06",
        ),
        pytest.param(
            b'{"prompt_tokens":20,"completion_tokens":9,"prompt_cache_hit_tokens":15,'
            b'"prompt_cache_miss_tokens":5}',
            TokenUsage(20, 15, 0, 9),
            id="U11",
        ),
        pytest.param(
            b'{"prompt_tokens":20,"completion_tokens":9,"prompt_cache_hit_tokens":15,'
            b'"prompt_cache_miss_tokens":7}',
            TokenUsage(20, 15, 0, 9),
            id="U12",
        ),
        pytest.param(
            b'{"completion_tokens":9,"prompt_cache_hit_tokens":15,"prompt_cache_miss_tokens":7}',
            TokenUsage(22, 15, 0, 9),
            id="U12-no-prompt",
        ),
        pytest.param(
            b'{"prompt_tokens":20,"completion_tokens":9,"cost":0.0000125,"is_byok":false,'
            b'"cost_details":{"upstream_inference_cost":null},'
            b'"completion_tokens_details":{"reasoning_tokens":7}}',
            TokenUsage(20, 0, 0, 9, 7, reported_cost_pico=12_500_000),
            id="U13",
        ),
        pytest.param(
            b'{"prompt_tokens":20,"completion_tokens":9,"completion_tokens_details":'
            b'{"accepted_prediction_tokens":3,"rejected_prediction_tokens":2}}',
            TokenUsage(20, 0, 0, 9),
            id="U14",
        ),
        pytest.param(
            b'{"prompt_tokens":12.0,"completion_tokens":"3"}', TokenUsage(12, 0, 0, 3), id="types"
        ),
        pytest.param(b'{"prompt_eval_count":12,"eval_count":3}', TokenUsage(12, 0, 0, 3), id="U23"),
        pytest.param(
            b'{"input_tokens":12,"output_tokens":3}', TokenUsage(12, 0, 0, 3), id="responses"
        ),
        pytest.param(b'{"prompt_tokens":-5,"completion_tokens":3}', TokenUsage(0, 0, 0, 3), id="-"),
        pytest.param(b'{"prompt_tokens":1e999}', None, id="too-large"),
        pytest.param(b'{"prompt_tokens":%d}' % (TOKENS_MAX + 1), None, id="over-bound"),
        pytest.param(b'{"prompt_tokens":%d}' % TOKENS_MAX, TokenUsage(TOKENS_MAX), id="at-bound"),
        pytest.param(b'{"prompt_tokens":' + b"9" * 5_000 + b"}", None, id="digits"),
        pytest.param(b'{"prompt_tokens":true,"completion_tokens":[1]}', None, id="other-types"),
        pytest.param(
            b'{"prompt_tokens":5,"prompt_tokens_details":[1]}', TokenUsage(5), id="details-list"
        ),
        pytest.param(b"[" * 100_000, None, id="depth"),
    ],
)
def test_usage_shapes(raw: bytes, usage: TokenUsage | None) -> None:
    assert read_usage(raw) == usage


@pytest.mark.parametrize(
    ("payload", "is_usage_only", "usage"),
    [
        (b'{"choices":[],"usage":{"prompt_tokens":1}}', True, TokenUsage(1)),
        (b'{"usage":{"prompt_tokens":1}}', True, TokenUsage(1)),
        (b'{"choices":null,"usage":{}}', True, None),
        (b'{"choices":[],"usage":null}', False, None),
        (b'{"choices":[{"delta":{}}],"usage":{"prompt_tokens":1}}', False, TokenUsage(1)),
        (b'{"choices":[],"x_groq":{"usage":{"prompt_tokens":1}}}', True, TokenUsage(1)),
        (b'{"choices":[],"x_groq":{"id":"r"}}', False, None),
        (
            b'{"choices":[],"usage":null,"x_groq":{"usage":{"prompt_tokens":1}}}',
            True,
            TokenUsage(1),
        ),
    ],
)
def test_usage_in_chunks(payload: bytes, is_usage_only: bool, usage: TokenUsage | None) -> None:  # noqa: FBT001 (a parameter of the test)
    chunk = decode_chunk(payload)
    assert (chunk.is_usage_only, chunk.usage) == (is_usage_only, usage)
    assert (chunk.raw_usage is not None) == is_usage_only or chunk.usage is not None


@pytest.mark.parametrize(
    "payload",
    [
        b'{"error":{"code":502,"message":"m"}}',
        b'{"error":"m"}',
        b'{"choices":[{"error":{"message":"m"}}]}',
        b'{"choices":[{"finish_reason":"error"}]}',
        b'{"choices":[{"finish_reason":"insufficient_system_resource"}]}',
        b'{"x_groq":{"error":"m"}}',
        b'{"choices":7,"error":{"message":"m"}}',
    ],
)
def test_errors_in_chunks(payload: bytes) -> None:
    failure = decode_chunk(payload).failure
    assert failure is not None
    assert (failure.code, failure.status, failure.is_retryable) == ("upstream_error", 502, True)


@pytest.mark.parametrize("payload", [b'{"error":null}', b'{"choices":[{"error":null}]}'])
def test_null_is_no_error(payload: bytes) -> None:
    assert decode_chunk(payload).failure is None


def test_an_error_beside_a_failing_reason_is_told() -> None:
    payload = b'{"error":{"code":429,"message":"slow"},"choices":[{"finish_reason":"error"}]}'
    failure = decode_chunk(payload).failure
    assert failure is not None
    assert (failure.status, failure.message) == (429, "slow")
    inner = b'{"choices":[{"finish_reason":"error","error":{"code":429,"message":"slow"}}]}'
    assert decode_chunk(inner).failure == failure


GOOD = (
    b'{"id":"c-1","object":"chat.completion","created":1790000000,"model":"m","x":1,'
    b'"choices":[{"index":0,"message":{"role":"assistant","content":"hello"},'
    b'"logprobs":null,"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":3,"completion_tokens":1}}'
)


@pytest.mark.parametrize("blanks", [b"", b"\n\n\n", b" \r\n\t"])
def test_f04_an_answer_after_blank_lines(blanks: bytes) -> None:
    answer = decode_answer(blanks + GOOD)
    assert answer == Answer(
        usage=TokenUsage(3, 0, 0, 1), finish_reason="stop", has_content=True, estimated_tokens=2
    )
    assert answer.final_usage(50) == TokenUsage(3, 0, 0, 1)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"<html><body>Bad gateway</body></html>", "not_an_answer"),
        (b"", "not_an_answer"),
        (b"[]", "not_an_answer"),
        (GOOD[:-10], "not_an_answer"),
        (b"{}", "empty_answer"),
        (b'{"choices":[]}', "empty_answer"),
        (b'{"choices":[{"message":{"content":""}}]}', "empty_answer"),
        (b'{"error":{"code":502,"message":"m"}}', "upstream_error"),
        (b'{"choices":[{"error":{"code":502},"message":{"content":"a"}}]}', "upstream_error"),
        (b'{"choices":[{"message":{"content":"a"},"finish_reason":"error"}]}', "upstream_error"),
    ],
    ids=["E06", "empty", "list", "B12", "object", "none", "nothing", "E40", "E41", "reason"],
)
def test_what_is_no_answer(body: bytes, code: str) -> None:
    failure = decode_answer(body).failure
    assert failure is not None
    assert (failure.code, failure.is_clients_fault) == (code, False)


@pytest.mark.parametrize(
    ("usage", "charged"),
    [
        (b"", TokenUsage(50, 0, 0, 2, is_estimated=True)),
        (b',"usage":null', TokenUsage(50, 0, 0, 2, is_estimated=True)),
        (
            b',"usage":{"prompt_tokens":3,"completion_tokens":0}',
            TokenUsage(3, 0, 0, 2, is_estimated=True),
        ),
        (
            b',"x_groq":{"usage":{"prompt_tokens":3,"completion_tokens":1}}',
            TokenUsage(3, 0, 0, 1),
        ),
        (
            b',"usage":{"prompt_tokens":3,"completion_tokens":1,"prompt_cache_hit_tokens":9}',
            TokenUsage(3, 3, 0, 1),
        ),
    ],
    ids=["U04", "U04-null", "U26", "groq", "U06"],
)
def test_what_an_answer_is_charged(usage: bytes, charged: TokenUsage) -> None:
    body = b'{"choices":[{"message":{"content":"hello"},"finish_reason":"stop"}]%b}' % usage
    assert decode_answer(body).final_usage(50) == charged


def test_f13_an_answer_becomes_a_stream() -> None:
    events = answer_as_events(b"\n" + GOOD)
    rows = [msgspec.json.decode(event) for event in events[:-1]]
    head = {"id": "c-1", "object": "chat.completion.chunk", "created": 1_790_000_000, "model": "m"}
    assert [{name: row[name] for name in head} for row in rows] == [head] * 3
    assert {row["x"] for row in rows} == {1}
    assert rows[0]["choices"] == [
        {
            "index": 0,
            "delta": {"role": "assistant", "content": "hello"},
            "logprobs": None,
            "finish_reason": None,
        }
    ]
    assert rows[1]["choices"] == [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    assert "usage" not in rows[1]
    assert rows[2]["choices"] == []
    assert rows[2]["usage"] == {"prompt_tokens": 3, "completion_tokens": 1}
    assert events[-1] == b"[DONE]"
    sizes = [decode_chunk(event).content_bytes for event in events[:-1]]
    assert sizes == [5, 0, 0]


def test_f13_tool_calls_get_their_index() -> None:
    call = '{"id":"t","type":"function","function":{"name":"f","arguments":"{}"}}'
    body = f'{{"choices":[{{"message":{{"content":null,"tool_calls":[{call},7,{call}]}}}}]}}'
    first = msgspec.json.decode(answer_as_events(body.encode())[0])
    calls = first["choices"][0]["delta"]["tool_calls"]
    assert [row["index"] for row in calls] == [0, 1]
    assert calls[1]["function"] == {"name": "f", "arguments": "{}"}


@pytest.mark.parametrize(
    "choice",
    [
        '{"message":null,"finish_reason":"stop"}',
        '{"finish_reason":"stop"}',
        '{"message":"x","finish_reason":"stop"}',
        '{"message":{"tool_calls":{}},"finish_reason":"stop"}',
        '{"message":{"tool_calls":[null]},"finish_reason":"stop"}',
        '{"delta":{"content":"a"},"finish_reason":"stop"}',
    ],
)
def test_f13_odd_answers_do_not_break(choice: str) -> None:
    body = f'{{"choices":[{choice},7],"usage":null}}'.encode()
    assert decode_answer(body).failure is None
    events = answer_as_events(body)
    assert len(events) == 3
    assert decode_chunk(events[1]).finish_reason == "stop"


@pytest.mark.parametrize(
    ("payload", "ident"),
    [
        (b'{"id":"c-1","created":1790000000,"model":"m"}', ChunkIdent("gen-c", 1_790_000_000, "m")),
        (
            b'{"id":"c-1","created":1790000000.0,"model":"m"}',
            ChunkIdent("gen-c", 1_790_000_000, "m"),
        ),
        (b'{"id":7,"created":"x","model":null}', ChunkIdent("gen-c", 5, "public")),
        (b"{}", ChunkIdent("gen-c", 5, "public")),
        (b"x", ChunkIdent("gen-c", 5, "public")),
        (None, ChunkIdent("gen-c", 5, "public")),
    ],
)
def test_streams_name_themselves(payload: bytes | None, ident: ChunkIdent) -> None:
    assert named_so(payload, NAMED) == ident


def event_in(data: bytes) -> dict[str, object]:
    assert data.startswith(b"data: ")
    assert data.endswith(b"\n\n")
    found = msgspec.json.decode(data[6:])
    assert isinstance(found, dict)
    return found


def test_the_usage_event_keeps_the_upstreams_members() -> None:
    raw = (
        b'{"prompt_tokens":3,"completion_tokens":4,"total_tokens":9,"cost":0.5,"queue_time":0.1,'
        b'"prompt_tokens_details":{"cached_tokens":9,"audio_tokens":0}}'
    )
    usage = TokenUsage(3, 3, 0, 4)
    event = event_in(usage_chunk(IDENT, usage, raw, "0.000123"))
    assert event == {
        "id": "c-1",
        "object": "chat.completion.chunk",
        "created": 1_790_000_000,
        "model": "m",
        "choices": [],
        "usage": {
            "prompt_tokens": 3,
            "completion_tokens": 4,
            "total_tokens": 7,
            "cost": 0.000123,
            "queue_time": 0.1,
            "prompt_tokens_details": {"cached_tokens": 3, "audio_tokens": 0},
        },
    }


def test_the_usage_event_says_in_one_place_what_was_cached() -> None:
    raw = b'{"prompt_cache_hit_tokens":2,"prompt_tokens_details":null}'
    event = event_in(usage_chunk(IDENT, TokenUsage(3, 2, 0, 4, 1), raw, "0"))
    assert event["usage"] == {
        "prompt_cache_hit_tokens": 2,
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "total_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 1},
        "cost": 0,
    }


@pytest.mark.parametrize("raw", [None, b'{"prompt_tokens":0,"x":1}'])
def test_the_usage_event_says_when_it_is_estimated(raw: bytes | None) -> None:
    usage = TokenUsage(prompt_tokens=3, completion_tokens=4, is_estimated=True)
    event = event_in(usage_chunk(IDENT, usage, raw, "0"))
    assert event["usage"] == {
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "total_tokens": 7,
        "cost": 0,
        "is_estimated": True,
    }


def test_usage_that_cannot_be_read_again_is_left_out() -> None:
    event = event_in(usage_chunk(IDENT, TokenUsage(1, 0, 0, 1), b"x", "0"))
    assert event["usage"] == {
        "prompt_tokens": 1,
        "completion_tokens": 1,
        "total_tokens": 2,
        "cost": 0,
    }


def test_the_error_event_ends_the_choice() -> None:
    event = event_in(error_chunk(IDENT, "upstream_cut", "it broke"))
    assert event["choices"] == [{"index": 0, "delta": {}, "finish_reason": "error"}]
    assert event["error"] == {
        "message": "it broke",
        "type": "server_error",
        "param": None,
        "code": "upstream_cut",
        "status": 502,
    }
    for code, kind, status in (
        ("upstream_stalled", "server_error", 504),
        ("gateway_stopped", "server_error", 503),
        ("server_is_overloaded", "server_error", 503),
        ("rate_limit_exceeded", "rate_limit_error", 429),
        ("context_length_exceeded", "invalid_request_error", 400),
    ):
        error = event_in(error_chunk(IDENT, code, "it broke"))["error"]
        assert (error["type"], error["status"]) == (kind, status)
