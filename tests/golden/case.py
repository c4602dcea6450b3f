"""What a case is, and how it is played and written down as one file."""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from tests.golden.harness import OK, Played, Reply, as_bytes, play

WIDTH: Final = 96
HERE: Final = Path(__file__).parent


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider says: whole, as the data of a stream's events, or both.

    `ends` are the last events; a stream that breaks has none. `status` other than 200 is a
    refusal, whose body is `whole`. A usual answer is of no interest: it is not written down, so
    that a change of answers changes no file of requests. What is odd is in no official type, and
    passes where client and provider speak the same API. What is reordered has another order when
    it is whole: the canonical form has none.
    """

    whole: Any = None
    events: tuple[Any, ...] = ()
    raw_stream: bytes = b""
    status: int = OK
    headers: tuple[tuple[str, str], ...] = ()
    is_cut: bool = False
    is_done: bool = True
    is_usual: bool = False
    is_odd: bool = False
    is_reordered: bool = False


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One request to one provider, with the provider's answer."""

    client: str
    provider: str
    name: str
    note: str
    request: Any
    answer: Answer
    headers: Mapping[str, str] = {}

    @property
    def id(self) -> str:
        """The folder and the name of the file."""
        return f"{self.client}-{self.provider}/{self.name}"

    @property
    def is_native(self) -> bool:
        """Whether client and provider speak the same API."""
        pairs = {
            ("messages", "anthropic"),
            ("responses", "responses"),
            ("embeddings", "embeddings"),
        }
        return (self.client, self.provider) in pairs

    @property
    def path(self) -> Path:
        """Where the file is."""
        return HERE / f"{self.id}.toml"


class Result(msgspec.Struct, frozen=True):
    """What came of a case: whole, streamed, or both."""

    whole: Played | None
    stream: Played | None
    stream_reply: bytes = b""


_RESULTS: Final[dict[str, Result]] = {}


def result_of(case: Case) -> Result:
    """Play a case, once."""
    found = _RESULTS.get(case.id)
    if found is None:
        found = _RESULTS[case.id] = _played(case)
    return found


def is_counted_here(result: Result) -> bool:
    """Tell whether the provider did not say what was used."""
    endings = [played.ended for played in (result.whole, result.stream) if played is not None]
    return any(ended is not None and ended.is_estimated for ended in endings)


def _played(case: Case) -> Result:
    answer = case.answer
    whole = stream = None
    framed = b""
    if answer.whole is not None:
        body = answer.whole if isinstance(answer.whole, bytes) else as_bytes(answer.whole)
        reply = Reply(answer.status, answer.headers, body)
        whole = play(case.client, body_of(case, is_stream=False), reply, case.headers)
    if answer.events or answer.raw_stream:
        framed = answer.raw_stream or sse(case.provider, answer)
        reply = Reply(answer.status, answer.headers, framed, is_stream=True, is_cut=answer.is_cut)
        stream = play(case.client, body_of(case, is_stream=True), reply, case.headers)
    return Result(whole, stream, framed)


def body_of(case: Case, *, is_stream: bool) -> bytes:
    """Give the bytes of a request, with the model's name first."""
    if isinstance(case.request, bytes):
        return case.request
    request = {"model": f"{case.provider}/model", **case.request}
    if is_stream:
        request["stream"] = True
        if case.client in {"chat", "completions"}:
            request.setdefault("stream_options", {"include_usage": True})
    return as_bytes(request)


def sse(provider: str, answer: Answer) -> bytes:
    """Frame events as a provider does: those of some have names."""
    frames: list[bytes] = []
    for event in answer.events:
        name = event.get("type") if isinstance(event, dict) else None
        data = event.encode() if isinstance(event, str) else as_bytes(event)
        head = (
            f"event: {name}\n".encode() if provider in {"anthropic", "responses"} and name else b""
        )
        frames.append(head + b"data: " + data + b"\n\n")
    if answer.is_done and provider not in {"anthropic", "responses"}:
        frames.append(b"data: [DONE]\n\n")
    return b"".join(frames)


# ---------------------------------------------------------------------- writing


def text_of(case: Case) -> str:
    """Write a case as the file that is reviewed."""
    result = result_of(case)
    lines = [f"# {line}" for line in case.note.splitlines()]
    first = result.whole or result.stream
    if first is None:
        raise AssertionError(f"{case.id}: nothing was asked")
    lines += ["", "[request]"]
    if case.headers:
        lines.append(f"headers = {json.dumps([f'{n}: {v}' for n, v in case.headers.items()])}")
    lines.append(_literal("body", _shown(body_of(case, is_stream=False))))
    if result.whole is not None:
        lines += ["", "[whole]"]
        lines += _sent(result.whole, None)
        if result.whole.path and not case.answer.is_usual:
            body = case.answer.whole
            raw = body if isinstance(body, bytes) else as_bytes(body)
            lines += _answered(case.answer, raw)
        if not (case.answer.is_usual and result.whole.status == OK):
            lines += _delivered(result.whole)
    if result.stream is not None:
        lines += ["", "[stream]"]
        lines += _sent(result.stream, result.whole)
        if result.stream.path:
            lines.append(
                _literal("answer", result.stream_reply.decode("utf-8", "backslashreplace"))
            )
            if case.answer.is_cut:
                lines.append("is_cut = true")
        lines += _delivered(result.stream)
    text = "\n".join(lines) + "\n"
    tomllib.loads(text)
    return text


def _answered(answer: Answer, raw: bytes) -> list[str]:
    lines = []
    if answer.status != OK or answer.headers:
        lines.append(f"answer_status = {answer.status}")
    if answer.headers:
        lines.append(f"answer_headers = {json.dumps([f'{n}: {v}' for n, v in answer.headers])}")
    return [*lines, _literal("answer", _shown(raw))]


def _sent(played: Played, beside: Played | None) -> list[str]:
    if not played.path:
        return []
    lines = [f"path = {json.dumps(played.path)}"]
    if beside is not None and played.path == beside.path:
        lines = []
    if played.sent_headers:
        lines.append(f"sent_headers = {json.dumps(list(played.sent_headers))}")
    if beside is None or not beside.sent:
        return [*lines, _literal("sent", _shown(played.sent))]
    one, other = json.loads(beside.sent), json.loads(played.sent)
    changed = {name: value for name, value in other.items() if one.get(name, ...) != value}
    gone = [name for name in one if name not in other]
    lines.append(_literal("sent_besides", pretty(changed)))
    return [*lines, *([f"not_sent = {json.dumps(gone)}"] if gone else [])]


def _delivered(played: Played) -> list[str]:
    is_events = played.delivered.startswith((b"data:", b"event:", b":"))
    body = played.delivered.decode() if is_events else _shown(played.delivered)
    lines = [f"status = {played.status}"] if played.status != OK else []
    if played.headers:
        lines.append(f"headers = {json.dumps(list(played.headers))}")
    lines.append(_literal("delivered", body))
    ended = played.ended
    if ended is not None:
        usage: dict[str, Any] = {
            "prompt": ended.prompt_tokens,
            "cached": ended.cached_prompt_tokens,
            "written": ended.cache_write_tokens,
            "written_1h": ended.cache_write_1h_tokens,
            "completion": ended.completion_tokens,
            "reasoning": ended.reasoning_tokens,
        }
        shown = ", ".join(f"{name} = {count}" for name, count in usage.items() if count)
        if ended.is_estimated:
            shown += ", is_estimated = true"
        lines.append(f"usage = {{ {shown} }}" if shown else "usage = {}")
        lines.append(f'outcome = "{ended.outcome}"')
        lines.append(f"charge_nano = {ended.charge_nano}")
    return lines


def _literal(name: str, text: str) -> str:
    if "'''" in text or "\r" in text:
        return f"{name} = {json.dumps(text)}"
    return f"{name} = '''\n{text.rstrip(chr(10))}\n'''"


class _Number(str):
    """A number as it was written."""

    __slots__ = ()


def _shown(body: bytes) -> str:
    """Write JSON for reading; what is no JSON stands as it is."""
    try:
        return pretty(json.loads(body, parse_float=_Number))
    except ValueError:
        return body.decode("utf-8", "backslashreplace")


def pretty(value: Any, indent: int = 0, name: str = "") -> str:
    """Write JSON, one line for what is short; `name` stands before it."""
    line = _line(value)
    if len(line) + indent + len(name) <= WIDTH or not isinstance(value, (dict, list)) or not value:
        return line
    pad = " " * (indent + 2)
    if isinstance(value, dict):
        rows = [f"{pad}{json.dumps(n)}: {pretty(v, indent + 2, n)}" for n, v in value.items()]
        return "{\n" + ",\n".join(rows) + "\n" + " " * indent + "}"
    rows = [pad + pretty(item, indent + 2) for item in value]
    return "[\n" + ",\n".join(rows) + "\n" + " " * indent + "]"


def _line(value: Any) -> str:
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, dict):
        inner = ", ".join(f"{json.dumps(n)}: {_line(v)}" for n, v in value.items())
        return f"{{{inner}}}"
    if isinstance(value, list):
        return f"[{', '.join(_line(item) for item in value)}]"
    return json.dumps(value, ensure_ascii=False)
