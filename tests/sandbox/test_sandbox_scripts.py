import base64
import gzip
import json
import zlib
from typing import Any

import pytest

from jusinfer.sandbox.script_steps import STALL_SECONDS, Close, Step, Token, Wait, data_of, split
from jusinfer.sandbox.upstream import SandboxRequest, Upstream

USAGE = {"stream": True, "stream_options": {"include_usage": True}}


def steps(fault: str, *, key: str = "Bearer k", is_old: bool = False, **fields: Any) -> list[Step]:
    body = {
        "model": f"sandbox/{fault}",
        "messages": [{"role": "user", "content": 'Say "<é>"'}],
        **fields,
    }
    data = json.dumps(body, ensure_ascii=False).encode()
    asked = SandboxRequest("POST", "/v1/chat/completions", {"authorization": key}, data, is_old)
    out: list[Step] = []
    for step in Upstream().answer(asked).script:
        out.append(step)
        if isinstance(step, Close):
            break
    return out


def raw(played: list[Step]) -> bytes:
    return b"".join(data_of(step) or b"" for step in played)


def parts(played: list[Step]) -> tuple[dict[str, str], bytes]:
    head, _, body = raw(played).partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:])
    headers["status"] = lines[0].split()[1]
    return headers, body


def events(played: list[Step]) -> str:
    """Take the chunks apart, however they end."""
    headers, body = parts(played)
    assert headers["transfer-encoding"] == "chunked"
    out = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        out += body[: int(size, 16)]
        body = body[int(size, 16) + 2 :]
    return out.decode()


def objects(fault: str, **fields: Any) -> list[dict[str, Any]]:
    text = events(steps(fault, **({"stream": True} | fields)))
    lines = [line[6:] for line in text.split("\n\n") if line.startswith("data: {")]
    return [json.loads(line) for line in lines]


def answer(fault: str, **fields: Any) -> dict[str, Any]:
    headers, body = parts(steps(fault, **fields))
    assert int(headers["content-length"]) == len(body)
    value: dict[str, Any] = json.loads(body)
    return value


def tokens(played: list[Step]) -> int:
    return sum(step.tokens for step in played if isinstance(step, Token))


def test_a_good_stream_ends_its_body() -> None:
    played = steps("plain", stream=True)
    assert raw(played).endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    assert tokens(played) == 16


def test_an_old_caller_gets_a_stream_without_chunks() -> None:
    played = steps("plain", stream=True, is_old=True)
    headers, body = parts(played)
    assert "transfer-encoding" not in headers
    assert body.endswith(b"data: [DONE]\n\n")
    assert played[-1] is Close.CLEAN


@pytest.mark.parametrize("stream", [False, True])
def test_delay_waits_before_the_head(*, stream: bool) -> None:
    assert steps("delay?ms=70", stream=stream)[0] == Wait(0.07)
    assert steps("plain?wait_ms=70", stream=stream)[0] == Wait(0.07)


def test_slow_waits_before_each_token() -> None:
    played = steps("slow?ms=5&n=4", stream=True)
    assert played.count(Wait(0.005)) == 4
    assert steps("plain?token_ms=0&n=4", stream=True).count(Wait(0)) == 4


def test_stall_falls_silent_for_a_bounded_time() -> None:
    played = steps("stall?after=2", stream=True)
    assert played[-2:] == [Wait(STALL_SECONDS), Close.CLEAN]
    assert tokens(played) == 2
    assert steps("stall?before") == [Wait(STALL_SECONDS), Close.CLEAN]
    assert steps("stall")[-2:] == [Wait(STALL_SECONDS), Close.CLEAN]


def test_cut_closes_after_so_many_tokens_without_a_finish() -> None:
    played = steps("cut?after=3", stream=True)
    assert played[-1] is Close.CLEAN
    assert tokens(played) == 3
    assert "[DONE]" not in events(played)
    assert '"finish_reason":"' not in events(played)


def test_a_clean_cut_ends_the_body_well() -> None:
    played = steps("cut?after=3&clean", stream=True)
    assert raw(played).endswith(b"0\r\n\r\n")
    assert "[DONE]" not in events(played)


def test_cut_and_reset_break_a_plain_body() -> None:
    for fault, last in (("cut", Close.CLEAN), ("reset", Close.RESET)):
        played = steps(fault)
        headers, body = parts(played)
        assert len(body) < int(headers["content-length"])
        assert played[-1] is last


@pytest.mark.parametrize(
    ("place", "count", "has_finish", "has_usage"),
    [
        ("head", 0, False, False),
        ("role", 0, False, False),
        ("finish", 16, True, False),
        ("usage", 16, True, True),
    ],
)
def test_cut_strikes_at_a_named_place(
    *, place: str, count: int, has_finish: bool, has_usage: bool
) -> None:
    played = steps(f"cut?at={place}", **USAGE)
    text = events(played)
    assert tokens(played) == count
    assert ('"finish_reason":"stop"' in text) is has_finish
    assert ('"usage":{' in text) is has_usage
    assert ('"role"' in text) is (place != "head")
    assert "[DONE]" not in text


def test_more_than_all_tokens_is_after_the_last() -> None:
    played = steps("cut?after=999", stream=True)
    assert tokens(played) == 16
    assert "[DONE]" not in events(played)


def test_before_there_is_nothing_at_all() -> None:
    assert steps("close_before_answer") == [Close.CLEAN]
    assert steps("cut?before") == [Close.CLEAN]
    assert raw(steps("reset?before")) == b""
    assert steps("reset?before")[-1] is Close.RESET


def test_garbage_is_not_http() -> None:
    played = steps("garbage")
    assert not raw(played).startswith(b"HTTP/")
    assert played[-1] is Close.CLEAN


def test_early_hints_come_before_the_answer() -> None:
    data = raw(steps("early_hints?n=2"))
    assert data.count(b"HTTP/1.1 103 ") == 2
    assert data.index(b"HTTP/1.1 200 ") > data.rindex(b"HTTP/1.1 103 ")


def test_a_slow_head_is_a_byte_at_a_time() -> None:
    played = steps("slow_head?ms=1")
    head = raw(played).index(b"\r\n\r\n") + 4
    assert [len(data_of(step) or b"") for step in played[: 2 * head : 2]] == [1] * head
    assert played.count(Wait(0.001)) == head


@pytest.mark.parametrize(
    ("fault", "status", "headers"),
    [
        ("status", 500, {}),
        ("status?code=429&retry_after=3", 429, {"retry-after": "3"}),
        ("status?code=429&retry_after_ms=30", 429, {"retry-after-ms": "30"}),
        ("status?code=503&should_retry=false", 503, {"x-should-retry": "false"}),
        ("status?code=524", 524, {}),
    ],
)
def test_status(fault: str, status: int, headers: dict[str, str]) -> None:
    got, body = parts(steps(fault, stream=True))
    assert int(got["status"]) == status
    assert headers.items() <= got.items()
    assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}


def test_quota_is_told_apart_from_a_rate() -> None:
    error = answer("status?code=429&quota")["error"]
    assert (error["type"], error["code"]) == ("insufficient_quota", "insufficient_quota")
    assert answer("status?code=429&err=slow_down")["error"]["code"] == "slow_down"


def test_retry_after_may_be_a_date() -> None:
    headers, _ = parts(steps("status?code=503&retry_after_date=5"))
    assert headers["retry-after"].endswith(" GMT")


@pytest.mark.parametrize(
    ("shape", "path"),
    [
        ("text", ("error",)),
        ("bare", ("message",)),
        ("detail", ("detail", 0, "msg")),
        ("array", (0, "error", "message")),
        ("cloudflare", ("errors", 0, "message")),
        ("openrouter", ("error", "message")),
        ("anthropic", ("error", "message")),
    ],
)
def test_errors_have_the_shapes_of_many_upstreams(shape: str, path: tuple[Any, ...]) -> None:
    value: Any = answer(f"status?shape={shape}&message=amber")
    for part in path:
        value = value[part]
    assert value == "amber"


def test_an_error_may_be_empty_or_a_page() -> None:
    assert parts(steps("status?empty"))[1] == b""
    headers, body = parts(steps("html?code=502"))
    assert (headers["status"], headers["content-type"]) == ("502", "text/html")
    assert b"<html>" in body


def test_an_error_may_come_with_a_good_status() -> None:
    assert set(answer("error_in_200")) == {"error"}
    assert set(answer("error_in_200", stream=True)) == {"error"}
    choice = answer("error_in_200?in=choice")["choices"][0]
    assert (choice["finish_reason"], choice["error"]["code"]) == ("error", 502)


@pytest.mark.parametrize(
    ("encoding", "part"),
    [
        ("raw", 'Say \\"<é>'),
        ("json", r"Say \\\"<\u00e9>"),
        ("html", "Say \\&quot;&lt;é&gt;"),
        ("url", "Say%20%5C%22%3C%C3%A9%3E"),
        ("hex", "53617920"),
        ("upper", 'SAY \\"<É>'),
    ],
)
def test_an_echoing_error_repeats_the_request(encoding: str, part: str) -> None:
    assert part in answer(f"echo_error?code=422&enc={encoding}")["error"]["message"]


def test_an_echoing_error_may_repeat_it_in_base64() -> None:
    message = answer("echo_error?enc=base64")["error"]["message"]
    assert b"Say " in base64.b64decode(message.removeprefix("invalid input: "))


def test_an_echoing_error_may_hold_the_key_and_sit_elsewhere() -> None:
    assert "secret-key" in answer("echo_error?key", key="Bearer secret-key")["error"]["message"]
    assert "secret-key" not in answer("echo_error", key="Bearer secret-key")["error"]["message"]
    assert "é" in answer("echo_error?in=metadata")["error"]["metadata"]["flagged_input"]
    assert "é" in parts(steps("echo_error?in=body"))[1].decode()


def test_a_huge_error_is_as_long_as_it_says() -> None:
    headers, body = parts(steps("huge_error?mb=1"))
    assert len(body) == int(headers["content-length"]) > 1 << 20
    assert "error" in json.loads(body)


def test_redirect_points_elsewhere() -> None:
    headers, _ = parts(steps("redirect?code=307&to=http://127.0.0.1:9/x"))
    assert (headers["status"], headers["location"]) == ("307", "http://127.0.0.1:9/x")


def test_bad_json_breaks_off() -> None:
    headers, body = parts(steps("bad_json"))
    assert int(headers["content-length"]) == len(body)
    with pytest.raises(json.JSONDecodeError):
        json.loads(body)
    text = events(steps("bad_json?after=2", stream=True))
    with pytest.raises(json.JSONDecodeError):
        json.loads(text.split("\n\n")[-2][6:])


@pytest.mark.parametrize(("by", "is_closed"), [(10, True), (-10, False)])
def test_a_wrong_length(*, by: int, is_closed: bool) -> None:
    played = steps(f"wrong_length?by={by}")
    headers, body = parts(played)
    assert int(headers["content-length"]) - len(body) == by
    assert (played[-1] is Close.CLEAN) is is_closed
    headers, body = parts(steps(f"wrong_length?by={by}", stream=True))
    assert int(headers["content-length"]) - len(body) == by


@pytest.mark.parametrize("stream", [False, True])
def test_a_chunked_body_without_end(*, stream: bool) -> None:
    played = steps("truncated_chunked", stream=stream)
    assert played[-1] is Close.CLEAN
    assert not raw(played).endswith(b"0\r\n\r\n")
    assert raw(steps("truncated_chunked?at=chunk", stream=stream)).endswith(b"\r\nonly this")


def test_usage_that_is_missing_zero_or_wrong() -> None:
    assert "usage" not in answer("missing_usage")
    assert [row["usage"] for row in objects("missing_usage", **USAGE)] == [None] * 18
    assert answer("zero_usage")["usage"]["completion_tokens"] == 0
    cached = answer("wrong_usage")["usage"]
    assert cached["prompt_tokens_details"]["cached_tokens"] > cached["prompt_tokens"]
    assert answer("wrong_usage?kind=negative")["usage"]["completion_tokens"] == -16
    assert answer("wrong_usage?kind=large")["usage"]["completion_tokens"] > 1_000_000
    assert answer("wrong_usage?kind=text")["usage"]["completion_tokens"] == "16"
    assert answer("wrong_usage?completion=99")["usage"]["completion_tokens"] == 99


def test_usage_in_other_places() -> None:
    every = objects("usage_every_chunk", **USAGE)
    assert [row["usage"]["completion_tokens"] for row in every[1:17]] == list(range(1, 17))
    beside = objects("usage_with_finish", **USAGE)[-1]
    assert beside["choices"][0]["finish_reason"] == "stop"
    assert beside["usage"]["completion_tokens"] == 16
    nonempty = objects("usage_nonempty_choices", **USAGE)[-1]
    assert nonempty["choices"][0]["finish_reason"] is None
    assert nonempty["usage"]["completion_tokens"] == 16
    assert answer("cost")["usage"]["cost"] > 0


def test_an_error_in_a_stream_ends_it() -> None:
    rows = objects("error_in_stream?after=2")
    assert rows[-1]["choices"][0]["finish_reason"] == "error"
    assert rows[-1]["error"]["code"] == 502
    assert len(rows) == 1 + 2 + 1
    played = steps("error_in_stream?after=2", stream=True)
    assert raw(played).endswith(b"0\r\n\r\n")
    assert "[DONE]" not in events(played)
    plain = objects("error_in_stream?after=2&plain&err=overloaded")[-1]
    assert set(plain) == {"error"}
    assert plain["error"]["code"] == "overloaded"
    assert len(objects("error_in_stream?after=2&go_on")) == 1 + 16 + 1 + 1


def test_comments_and_keep_alives() -> None:
    text = events(steps("comments?n=3", stream=True))
    assert text.startswith(": OPENROUTER PROCESSING\n\n: keep-alive\n\n")
    assert text.count(": OPENROUTER PROCESSING\n\n") == 1 + 3
    assert "data:" not in events(steps("comments?only", stream=True))
    played = steps("keepalive?n=3&ms=2", stream=True)
    assert events(played).startswith(": keep-alive\n\n" * 3 + "data: ")
    assert played.count(Wait(0.002)) == 3
    queued = events(steps("keepalive?n=3&ms=2"))
    assert queued.startswith("\n\n\n{")
    endless = steps("keepalive?forever&ms=60000", stream=True)
    assert "data:" not in events(endless)
    assert endless[-1] is Close.CLEAN


def test_blank_lines() -> None:
    assert parts(steps("blank_lines?n=4"))[1].startswith(b"\n\n\n\n{")
    assert "}\n\n\n\n\ndata: " in events(steps("blank_lines?n=4", stream=True))


def test_lines_of_other_kinds() -> None:
    text = events(steps("crlf+comments", stream=True))
    assert "\n" not in text.replace("\r\n", "")
    assert "data:{" in events(steps("no_space", stream=True))
    spread = events(steps("multi_data", stream=True)).split("\n\n")[1]
    lines = [line.removeprefix("data: ") for line in spread.split("\n")]
    assert len(lines) > 5
    assert json.loads("\n".join(lines))["object"] == "chat.completion.chunk"
    assert events(steps("named_events", stream=True)).startswith("event: message\nid: 1\ndata: {")
    assert events(steps("done_trailing", stream=True)).endswith("data: [DONE] amber\n\n")


def test_odd_choices() -> None:
    assert "choices" not in objects("no_choices")[0]
    assert [row["choices"] for row in objects("null_choices")[:2]] == [None, []]
    assert len(objects("long_line?kb=64")[0]["obfuscation"]) == 64 << 10


def test_endings_that_are_none() -> None:
    role_only = events(steps("role_only", stream=True)).split("\n\n")
    assert len(role_only) == 3
    assert role_only[1] == "data: [DONE]"
    no_done = events(steps("no_done", stream=True))
    assert '"finish_reason":"stop"' in no_done
    assert "[DONE]" not in no_done
    no_finish = events(steps("done_no_finish", stream=True))
    assert '"finish_reason":"stop"' not in no_finish
    assert "[DONE]" in no_finish
    late = events(steps("content_after_finish", stream=True))
    assert late.index(" late") > late.index('"finish_reason":"stop"')
    ghost = events(steps("data_after_done", stream=True))
    assert ghost.index(" ghost") > ghost.index("[DONE]")
    assert objects("plain?finish=insufficient_system_resource")[-1]["choices"][0][
        "finish_reason"
    ] == ("insufficient_system_resource")
    assert answer("plain?finish=null")["choices"][0]["finish_reason"] is None


def test_sizes() -> None:
    assert tokens(steps("big?tokens=5000", stream=True)) == 5000
    assert tokens(steps("tokens?n=0", stream=True)) == 0
    assert not raw(steps("unicode", stream=True)).isascii()
    headers, _ = parts(steps("headers?kb=64"))
    assert sum(map(len, headers.values())) > 64_000
    assert "set-cookie" in parts(steps("set_cookie"))[0]


@pytest.mark.parametrize("stream", [False, True])
def test_compression_that_nobody_asked_for(*, stream: bool) -> None:
    headers, body = parts(steps("compressed+wrong_length?by=0", stream=stream))
    assert headers["content-encoding"] == "gzip"
    assert b"chat.completion" in gzip.decompress(body)
    headers, body = parts(steps("compressed+wrong_length?by=0&enc=deflate", stream=stream))
    assert b"chat.completion" in zlib.decompress(body)


def test_a_stream_in_one_write_or_as_one_object() -> None:
    assert sum(isinstance(step, Token) for step in steps("burst", stream=True)) == 1
    assert answer("plain_json", stream=True)["object"] == "chat.completion"


def test_split_keeps_every_byte_and_every_token() -> None:
    whole = steps("unicode", stream=True)
    pieces = list(split(iter(whole), 3))
    assert raw(pieces) == raw(whole)
    assert tokens(pieces) == tokens(whole)
    assert max(len(data_of(step) or b"") for step in pieces) == 3
    sizes = {len(data_of(step) or b"") for step in steps("split?bytes=5", stream=True)}
    assert max(sizes) == 5


def test_messages_with_ornaments() -> None:
    for name in ("annotations", "audio", "images"):
        assert name in answer(name)["choices"][0]["message"]
        assert list(objects(name)[-2]["choices"][0]["delta"]) == [name]
    declined = answer("refusal")["choices"][0]["message"]
    assert declined["content"] is None
    assert declined["refusal"].startswith("I would")
    said = [row["choices"][0]["delta"].get("refusal") for row in objects("refusal")]
    assert "".join(filter(None, said)) == declined["refusal"]


TOOLS = {
    "tools": [
        {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}
        for name in ("one", "two")
    ],
    "tool_choice": "required",
    "parallel_tool_calls": True,
}


def call_rows(fault: str) -> list[dict[str, Any]]:
    deltas = [row["choices"][0]["delta"] for row in objects(fault, **TOOLS)]
    return [call for delta in deltas for call in delta.get("tool_calls", [])]


def test_tool_calls_of_other_kinds() -> None:
    assert [row["index"] for row in call_rows("plain")] == [0, 0, 1, 1]
    assert [row["index"] for row in call_rows("interleaved")] == [0, 1, 0, 1]
    assert [row["function"]["arguments"] for row in call_rows("whole_call")] == ["{}", "{}"]
    assert all("index" not in row for row in call_rows("call_without_index"))
    assert all("id" not in row for row in call_rows("call_without_id"))
    assert [row["index"] for row in call_rows("calls_at_one_index")] == [0, 0, 0, 0]
    message = answer("call_without_id", **TOOLS)["choices"][0]["message"]
    assert all("id" not in call for call in message["tool_calls"])
    assert [row["function"]["arguments"] for row in call_rows("plain?empty")] == ["", ""]
    old = answer("function_call", **TOOLS)["choices"][0]
    assert old["message"]["function_call"] == {"name": "one", "arguments": "{}"}
    assert old["finish_reason"] == "function_call"
    custom = {"type": "custom", "custom": {"name": "free"}}
    fields = {"tools": [custom], "tool_choice": custom}
    called = answer("plain", **fields)["choices"][0]["message"]["tool_calls"][0]
    assert (called["type"], called["custom"]["name"]) == ("custom", "free")


@pytest.mark.parametrize(
    ("like", "mark"),
    [
        ("openrouter", '"native_finish_reason":"stop"'),
        ("openrouter", '"reasoning_details":[{'),
        ("openrouter", '"cost_details":{'),
        ("deepseek", '"prompt_cache_miss_tokens":'),
        ("deepseek", '"reasoning_content":'),
        ("groq", '"x_groq":{"id":"req_sandbox","usage":{'),
        ("azure", '"prompt_filter_results":[{'),
        ("llamacpp", '"timings":{'),
        ("mistral", '"content":[{"type":"thinking"'),
        ("together", '"finish_reason":"eos"'),
    ],
)
def test_habits_of_upstreams(like: str, mark: str) -> None:
    assert mark in events(steps(f"like+reason?as={like}", **USAGE))
    assert len(answer(f"like+reason?as={like}")["choices"]) == 1
