"""Every member of every client API with every odd value, through the gateway's own code.

Whatever it is, it is answered: served, or refused with 4xx in the client's shape, the member named.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import pytest
from tests.golden.harness import Reply, play

from jusinfer.wire.member_table import table_of

Json = dict[str, Any]
BASES: Final[dict[str, Json]] = {
    "chat": {"messages": [{"role": "user", "content": "x"}]},
    "responses": {"input": "x"},
    "messages": {"max_tokens": 5, "messages": [{"role": "user", "content": "x"}]},
    "completions": {"prompt": "x"},
    "embeddings": {"input": "x"},
}
CHAT_PROVIDERS: Final = (
    "chat",
    "openai",
    "deepseek",
    "openrouter",
    "gemini",
    "anthropic",
    "workers_ai",
)
PROVIDERS: Final = {
    "chat": CHAT_PROVIDERS,
    "responses": (*CHAT_PROVIDERS, "responses"),
    "messages": CHAT_PROVIDERS,
    "completions": CHAT_PROVIDERS,
    "embeddings": ("embeddings",),
}
ODD: Final[tuple[bytes, ...]] = (
    b"null",
    b"true",
    b"false",
    b"0",
    b"-1",
    b"1.5",
    b"1e400",
    b"-1e400",
    b"1e-400",
    b"123456789012345678901234567890",
    b"9" * 5_000,
    b"-" + b"9" * 5_000,
    b"0." + b"9" * 5_000,
    b"NaN",
    b"Infinity",
    b'""',
    b'"odd"',
    b'"\\ud800"',
    b'"\\udc00\\ud800"',
    b'"\\u0000"',
    b'"\x00"',
    b'"\xff\xfe"',
    b'"\xc0\xaf"',
    b'"\xed\xa0\x80"',
    b'"caf\xe9"',
    b'"' + b"long " * 4_000 + b'"',
    b"[]",
    b"{}",
    b"[null]",
    b"[1e400]",
    b'["odd"]',
    b"[[[]]]",
    b'{"odd":1e400}',
    b'{"type":1e400}',
    b'{"type":"odd","odd":' + b"9" * 5_000 + b"}",
    b'[{"type":"odd"}]',
    b"[" * 400 + b"]" * 400,
    b'{"a":' * 990 + b"1" + b"}" * 990,
    b"[" * 3_000 + b"]" * 3_000,
    b"odd",
    b"",
)
MARK: Final = "@odd@"
STEP: Final = re.compile(r"([^.\[\]<>]+)((?:\[\])*)(?:<([^>]*)>)?")
REPLY: Final = Reply(
    body=b'{"id":"a","object":"chat.completion","created":5,"model":"m","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"y"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,'
    b'"completion_tokens":9}}'
)


class Step(NamedTuple):
    """One name of a path: how often it is a list, and the `type` of what is in it."""

    name: str
    depth: int
    kind: str


def steps_of(path: str) -> list[Step]:
    return [Step(name, lists.count("["), kind) for name, lists, kind in STEP.findall(path)]


def placed(steps: list[Step], beside: Json) -> Json:
    """Build the object in which the mark stands at the end of a path."""
    step, *rest = steps
    inner: Any = MARK
    if rest:
        inner = placed(
            rest, {"role": "user"} if step.name in {"messages", "input"} and not step.kind else {}
        )
        if step.kind:
            inner = {"type": step.kind} | inner
    for _ in range(step.depth):
        inner = [inner]
    return beside | {step.name: inner}


def bodies(client: str) -> Iterator[tuple[str, str, bytes, bytes]]:
    """Give path, provider, odd value and body of every case of a client's API."""
    providers = PROVIDERS[client]
    paths = [row.path for row in table_of(client).rows] + [
        "odd_member",
        "provider.sort",
        "models[]",
    ]
    for number, path in enumerate(paths):
        for index, odd in enumerate(ODD):
            provider = providers[(number + index) % len(providers)]
            beside = {"model": f"{provider}/model"} | BASES[client]
            body = json.dumps(placed(steps_of(path), beside)).encode()
            yield path, provider, odd, body.replace(json.dumps(MARK).encode(), odd)


def is_json(body: bytes) -> bool:
    try:
        json.loads(body.decode(), parse_constant=lambda _: 1 / 0)
    except (ValueError, RecursionError, ZeroDivisionError):
        return False
    return True


def error_of(client: str, delivered: bytes) -> Json:
    """Read a refusal as the client's SDK does."""
    said = json.loads(delivered)
    if client == "messages":
        assert said["type"] == "error"
        assert isinstance(said["error"]["type"], str)
    error: Json = said["error"]
    assert isinstance(error["message"], str)
    assert error["message"]
    return error


@pytest.mark.parametrize("client", BASES)
def test_every_odd_value_of_every_member_is_answered(client: str) -> None:
    wrong: list[str] = []
    unnamed: list[str] = []
    count = 0
    for path, provider, odd, body in bodies(client):
        count += 1
        said = f"{path} = {odd[:40]!r} to {provider}"
        try:
            played = play(client, body, REPLY, {})
        except Exception as error:  # noqa: BLE001 (each is a fault of ours, to be listed)
            wrong.append(f"{said}: {type(error).__name__} {error}")
            continue
        if played.status == 200 or played.sent:
            continue
        if not 400 <= played.status < 500:
            wrong.append(f"{said}: {played.status} {played.delivered[:200]!r}")
            continue
        error = error_of(client, played.delivered)
        name = steps_of(path)[0].name
        if is_json(body) and name not in f"{error.get('param')} {error['message']}":
            unnamed.append(f"{said}: {played.status} {error['message']}")
    assert not wrong, f"{len(wrong)} of {count}: " + "\n".join(wrong[:40])
    assert not unnamed, f"{len(unnamed)} of {count}: " + "\n".join(unnamed[:40])
