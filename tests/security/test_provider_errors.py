"""Providers that answer with our secrets, the prompt and their own answer, in errors of any shape.

For every client API and provider API, whole, streamed and in mid-stream: no piece of a secret is
told to the client, and nothing of secrets or of what was said is in the record, a counter or a log.
"""

import base64
import functools
import json
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple
from urllib.parse import quote, unquote_to_bytes

import msgspec
import pytest
from tests.effort import QUICK
from tests.golden.asks import ask
from tests.golden.harness import OK, Played, Reply, as_bytes, entry_of, play

from jusinfer import rules
from jusinfer.domain.catalog_loader import offers_of
from jusinfer.domain.secret_masking import PIECE_CHARS
from jusinfer.gateway.runtime_config import Snapshot

Json = dict[str, Any]
# Of each kind that providers give out: hexadecimal, with signs in it, of digits alone, of words.
SECRETS: Final = {
    "hex": "0f1e2d3c4b5a69788796a5b4c3d2e1f0",
    "signs": "wJalrX/tnFEM+K7MDEN/bPxRfi+YEXAM/LEKEY==",
    "digits": "4815162342108276",
    "words": "integer-boolean-seed-array-minimum",
}
TOKEN: Final = "cfut_Zq7Yp3Xw9Vn2Um5Tk8Sj4Rh6"
HEADER: Final = "Hq4Wv8Zt2Nm6Kx9Jr3Fp7Lc5"
PROMPT: Final = ("KRUMMHORN", "078-05-1120", "Zwiebelfisch")
SAID: Final = ("Quetzalqvx", "GONZHALEZ", "628-31-8530")
WORDS: Final = f"{PROMPT[0]}, number {PROMPT[1]}: {PROMPT[2]}"
ANSWER: Final = f"The defendant {SAID[0]} {SAID[1]} confessed, number {SAID[2]}"
CLIENTS: Final = ("chat", "responses", "messages", "completions", "embeddings")
CHAT_PROVIDERS: Final = (
    "chat",
    "openai",
    "deepseek",
    "openrouter",
    "gemini",
    "anthropic",
    "workers_ai",
)
PAIRS: Final = (
    *((client, provider) for client in CLIENTS[:-1] for provider in CHAT_PROVIDERS),
    ("responses", "responses"),
    ("embeddings", "embeddings"),
)
STATUSES: Final = (400, 401, 402, 403, 404, 408, 413, 422, 429, 500, 502, 503, 529, 302, 204)
# Kinds of secrets take turns: each answer is tried with some.
SHARE: Final = 50 if QUICK else 13
CODES: Final = (
    "invalid_value",
    "context_length_exceeded",
    "content_filter",
    "server_error",
    "overloaded_error",
    "invalid_request_error",
    "",
)


@functools.cache
def catalog(secret: str) -> Snapshot:
    """Give a catalog in which each provider has a key, a gateway's token and a header."""
    providers = (*CHAT_PROVIDERS, "responses", "embeddings")
    live = [
        msgspec.structs.replace(
            entry_of(provider), gateway_token=TOKEN, headers={"x-secret": HEADER}
        )
        for provider in providers
    ]
    offers = offers_of([(entry, SECRETS[secret]) for entry in live], [], None)
    return Snapshot(offers, rules.builtin().table)


# ---------------------------------------------------------------------- what is said


def dresses(secret: str) -> dict[str, str]:
    """Write a secret in every way in which an error may show it."""
    raw = secret.encode()
    return {
        "plain": secret,
        "upper": secret.upper(),
        "piece": secret[3 : 3 + PIECE_CHARS + 4],
        "shortened": f"{secret[:-12]}...{secret[-9:]}",
        "spaced": " ".join(secret),
        "quarters": " - ".join(secret[at : at + 8] for at in range(0, len(secret), 8)),
        "reversed": secret[::-1],
        "base64": base64.b64encode(raw).decode(),
        "base64 of a header": base64.b64encode(b"Bearer " + raw).decode(),
        "base64 of a user": base64.urlsafe_b64encode(b"ab:" + raw).decode(),
        "hexadecimal": raw.hex(),
        "bytes": raw.hex(":"),
        "address": f"https://x.example/?key={quote(secret, safe='')}",
        "percent": "".join(f"%{byte:02X}" for byte in raw),
        "escapes": secret.replace("/", "\\u002f").replace("+", "\\u002B").replace("=", "\\u003d"),
        "entities": secret.replace("/", "&#x2F;").replace("+", "&#43;").replace("=", "&equals;"),
        "late": "x" * 990 + secret,
        "after many": (secret + " ") * 30,
    }


def texts(secret: str) -> Iterator[tuple[str, str]]:
    """Give texts of errors, each with a name."""
    for name, shown in dresses(secret).items():
        yield name, f"Unrecognised value {shown} for this deployment"
    yield "token", f"gateway token {TOKEN} has no rights, {HEADER} is no header"
    yield "prompt", f"invalid value: '{WORDS}' and {WORDS[::-1]}"
    yield "answer", f"output blocked after: {ANSWER}"
    yield "all", f"{secret} {WORDS} {ANSWER}"


def shapes(text: str, code: str) -> Iterator[tuple[str, bytes]]:
    """Give bodies of errors, each with a name."""
    error: Json = {"message": text, "type": code or text, "code": code or text, "param": text[:150]}
    yield "openai", as_bytes({"error": error})
    yield "anthropic", as_bytes({"type": "error", "error": error, "request_id": text})
    yield "a list", as_bytes([{"error": {"code": 400, "message": text, "status": code or text}}])
    yield "workers", as_bytes({"success": False, "errors": [error], "result": None})
    yield "detail", as_bytes({"detail": [{"loc": ["body", text], "msg": text, "type": code}]})
    yield "raw", as_bytes({"error": {"code": 400, "message": "x", "metadata": {"raw": text}}})
    yield "nested", as_bytes({"error": {"message": json.dumps({"error": error}), "code": code}})
    yield "objects", as_bytes({"error": {"message": {"a": [text]}, "code": [text], "type": error}})
    yield "names", as_bytes({"error": {text: text}, text: code})
    yield "a text", as_bytes(text)
    yield "an error's text", as_bytes({"error": text})
    yield "page", f"<html><body><h1>{text}</h1><!-- {text} --></body></html>".encode()
    yield "plain", text.encode()
    yield "cut", as_bytes({"error": error})[:-9]
    yield "utf-16", text.encode("utf-16")


def headers_of(text: str) -> tuple[tuple[str, str], ...]:
    names = ("retry-after", "x-request-id", "www-authenticate", "set-cookie", "x-should-retry",
             "location", "x-ratelimit-reset-requests", "x-generation-id", "cf-ray",
             "openai-organization", "x-generation-id")  # fmt: skip
    values = (text, re.sub(r"\W", "", text), SAID[0], *text.split())
    return tuple(
        (name, values[at % len(values)][:150]) for at, name in enumerate((*names, *names[::-1]))
    )


# ---------------------------------------------------------------------- how it is said

CHUNK: Final = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
DELTA: Final = {**CHUNK, "choices": [{"index": 0, "delta": {"content": ANSWER}}]}
STARTED: Final[dict[str, list[Json]]] = {
    "chat": [DELTA],
    "completions": [DELTA],
    "workers_ai": [{"response": ANSWER}],
    "anthropic": [
        {
            "type": "message_start",
            "message": {
                "id": "m",
                "type": "message",
                "role": "assistant",
                "model": "m",
                "content": [],
                "stop_reason": None,
                "stop_sequence": None,
                "usage": {"input_tokens": 5, "output_tokens": 1},
            },
        },
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "text", "text": ""},
        },
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": ANSWER},
        },
    ],
    "responses": [
        {"type": "response.created", "response": {"id": "r", "status": "in_progress"}},
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": {"type": "message", "id": "i", "role": "assistant", "content": []},
        },
        {
            "type": "response.output_text.delta",
            "item_id": "i",
            "output_index": 0,
            "content_index": 0,
            "delta": ANSWER,
        },
    ],
}


def events_of(provider: str, text: str, code: str) -> list[Any]:
    """Give the events by which a provider says in a stream that it fails."""
    error: Json = {"message": text, "type": code or text, "code": code or text, "param": text[:150]}
    found: list[Any] = [
        {"error": error},
        {"error": text},
        {"type": "error", "error": error},
        {**error, "type": "error"},
        {**error, "object": "error"},
        {"detail": text},
        {"message": text},
        {"errors": [error], "success": False},
        {
            **CHUNK,
            "choices": [],
            "error": {"code": 502, "message": text, "metadata": {"raw": text}},
        },
        {**CHUNK, "choices": [{"index": 0, "delta": {}, "finish_reason": "error", "error": error}]},
        text,
        "{" + text,
    ]
    if provider == "responses":
        failed = {"id": "r", "status": "failed", "error": error, "output": []}
        found += [
            {"type": "response.failed", "response": failed},
            {"type": "response.incomplete", "response": {**failed, "incomplete_details": error}},
            {"type": "response.error", "error": error},
        ]
    return found


def framed(events: list[Any]) -> bytes:
    out = b""
    for event in events:
        if isinstance(event, dict) and "type" in event:
            out += b"event: %b\n" % event["type"].encode()
        out += b"data: %b\n\n" % (event.encode() if isinstance(event, str) else as_bytes(event))
    return out


class Said(NamedTuple):
    """An answer of a provider: how it is called, whether a stream was asked for, and what it is."""

    name: str
    is_stream: bool
    reply: Reply


def replies(client: str, provider: str, secret: str) -> Iterator[Said]:
    """Give all answers; each text meets each shape, statuses and codes take turns."""
    turn = 0
    for named, text in texts(secret):
        codes = [CODES[(turn + at) % len(CODES)] for at in range(2)]
        headers = headers_of(text) if turn % 2 else ()
        safe = tuple((name, value) for name, value in headers if value.isascii())
        for shape, body in shapes(text, codes[0]):
            turn += 1
            status = STATUSES[turn % len(STATUSES)]
            name = f"{named}, {shape}, {status}"
            yield Said(name, turn % 3 == 0, Reply(status, safe, body))
            yield Said(f"{name}, 400", turn % 3 == 1, Reply(400, safe, body))
            if turn % 4 == 0:
                yield Said(f"{name}, 200", turn % 8 == 0, Reply(OK, safe, body))
        if client == "embeddings":
            continue
        begun = STARTED.get(provider, DELTA and STARTED["chat"])
        for number, event in enumerate(events_of(provider, text, codes[1])):
            turn += 1
            for ways, events in (("first", [event]), ("mid-stream", [*begun, event])):
                is_cut = number % 2 == 1
                reply = Reply(OK, safe, framed(events), is_stream=True, is_cut=is_cut)
                yield Said(f"{named}, event {number}, {ways}", is_stream=True, reply=reply)


# ---------------------------------------------------------------------- what is found

_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2}[:\s]?){8,}")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{12,}")


def folded(data: bytes) -> str:
    return "".join(filter(str.isalnum, data.decode("utf-8", "replace"))).lower()


def readings(data: bytes) -> Iterator[str]:
    """Read what was told in every way in which a reader may get a secret out of it."""
    text = data.decode("utf-8", "replace")
    plain = re.sub(r"\\+u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), text)
    plain = re.sub(r"&#x([0-9a-fA-F]{2});", lambda found: chr(int(found[1], 16)), plain)
    plain = re.sub(r"&#(\d{2});", lambda found: chr(int(found[1])), plain)
    yield folded(plain.replace("&equals;", "=").encode())
    yield folded(unquote_to_bytes(text))
    for run in _HEX.findall(text):
        digits = re.sub(r"[:\s]", "", run)
        yield folded(bytes.fromhex(digits[: len(digits) // 2 * 2]))
    for run in _BASE64.findall(text):
        symbols = run.replace("-", "+").replace("_", "/")
        for start in range(4):
            part = symbols[start:]
            yield folded(base64.b64decode(part[: len(part) - len(part) % 4]))


@functools.cache
def pieces(secrets: tuple[str, ...]) -> frozenset[str]:
    both = [
        one for secret in secrets for own in [folded(secret.encode())] for one in (own, own[::-1])
    ]
    return frozenset(piece for one in both for piece in windows(one))


def windows(text: str) -> set[str]:
    return {text[at : at + PIECE_CHARS] for at in range(len(text) - PIECE_CHARS + 1)}


def told(data: bytes, secrets: tuple[str, ...]) -> set[str]:
    """Give the pieces of secrets that are found in data."""
    found: set[str] = set()
    for read in readings(data):
        found |= pieces(secrets) & windows(read)
    return found


def kept(data: bytes) -> list[str]:
    """Give what is found in data of what was said, in either direction."""
    text = folded(data)
    marks = [folded(mark.encode()) for mark in (*PROMPT, *SAID)]
    return [mark for mark in marks if mark in text or mark[::-1] in text]


def request(client: str, provider: str, *, is_stream: bool) -> bytes:
    if client == "embeddings":
        body: Json = {"input": WORDS}
    else:
        body = json.loads(json.dumps(ask(client)).replace("What is the weather in Paris?", WORDS))
    body = {"model": f"{provider}/model", **body}
    if is_stream and client != "embeddings":
        body["stream"] = True
    return as_bytes(body)


def stored_of(played: Played) -> bytes:
    counted = {name: getattr(played.counters, name) for name in played.counters.__slots__}
    return msgspec.json.encode([played.ended]) + str(counted).encode()


@pytest.mark.parametrize("kind", SECRETS)
@pytest.mark.parametrize("client", CLIENTS)
def test_no_error_of_a_provider_tells_a_secret_or_keeps_what_was_said(
    client: str, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    secret = SECRETS[kind]
    secrets = (secret, TOKEN, HEADER)
    wrong: list[str] = []
    place = list(SECRETS).index(kind)
    count = refused = 0
    for number, (_, provider) in enumerate(pair for pair in PAIRS if pair[0] == client):
        for turn, said in enumerate(replies(client, provider, secret)):
            if (5 * number + turn + place) % SHARE:
                continue
            count += 1
            body = request(client, provider, is_stream=said.is_stream)
            played = play(client, body, said.reply, {}, catalog(kind))
            refused += played.status != OK
            stored = stored_of(played)
            name = f"{client} to {provider}: {said.name}"
            if found := told(played.head + played.delivered, secrets):
                wrong.append(f"{name}: told {sorted(found)[:3]}: {played.delivered[:300]!r}")
            if found := told(stored, secrets):
                wrong.append(f"{name}: kept {sorted(found)[:3]}: {stored!r}")
            if marks := kept(stored):
                wrong.append(f"{name}: kept {marks}: {stored!r}")
    assert count >= refused > count // 4
    assert not wrong, f"{len(wrong)} of {count}: " + "\n".join(wrong[:25])
    out, err = capfd.readouterr()
    assert out + err == ""
