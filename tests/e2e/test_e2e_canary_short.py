"""Short texts that a client or a provider wrote are nowhere: in no table, file, log or terminal."""

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest
from tests.e2e.odd_provider import OddProvider, refusal, stream
from tests.e2e.running import Running, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
# No letters that stand in hexadecimal digits or base64 of chance: a mark is found by itself only.
ALPHABET = "GHJKMNPQRTUVWXYZ"
OWN_KEY = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
ADDED = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}


class Marks:
    """Makes marks of six to eleven letters, and looks for them."""

    def __init__(self) -> None:
        self._random = random.Random(11)  # noqa: S311 (marks, not secrets)
        self.made: list[bytes] = []

    def mark(self) -> str:
        text = "".join(self._random.choice(ALPHABET) for _ in range(self._random.randrange(7, 12)))
        self.made.append(text.lower().encode())
        return text

    def found_in(self, data: bytes) -> list[bytes]:
        low = data.lower()
        return [mark for mark in self.made if mark in low or mark[::-1] in low]


def event(content: str) -> dict[str, object]:
    return {**ADDED, "choices": [{"index": 0, "delta": {"content": content}}]}


@pytest.fixture(scope="module")
def marks() -> Marks:
    return Marks()


@pytest.fixture(scope="module")
def provider(marks: Marks) -> Iterator[OddProvider]:
    with OddProvider() as running:
        said = marks.mark()
        running.answers["repeats"] = stream(
            event(f"the witness is {said}"), {"error": {"code": 400, "message": f"after {said}"}}
        )
        said = marks.mark()
        for name, status, code in (
            ("moderated", 500, "server_error"),
            ("filtered", 400, "content_filter"),
            ("invalid", 400, "invalid_value"),
            ("unknown", 400, said),
            ("forbidden", 403, "permission_denied"),
        ):
            error = {"message": f"output moderation rejected: {said}", "code": code, "type": said}
            running.answers[name] = refusal(status, error | {"param": said})
        for status in (400, 401, 403, 422, 500):
            text = f"Unrecognised value {OWN_KEY} for this deployment, {OWN_KEY[3:12].upper()}…"
            running.answers[f"key{status}"] = refusal(
                status, {"message": text, "code": "invalid_value", "param": OWN_KEY}
            )
        yield running


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory, provider: OddProvider) -> Iterator[Running]:
    config = provider.config(*provider.answers, "echoed").replace(
        "is_local = true", 'is_local = true\napi_key_env = "ODD_KEY"'
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ODD_KEY", OWN_KEY)
        with Running(tmp_path_factory.mktemp("short"), config=config) as running:
            running.cli("grant", "default", "5", "--reason", "test")
            yield running


@pytest.fixture(scope="module")
def live(product: Running) -> str:
    return str(product.cli("keys", "create", "--mode", "live")["key"])


def _a_provider_never_tells_our_key(product: Running, provider: OddProvider, live: str) -> None:
    for name in provider.answers:
        for is_stream in (False, True):
            answer = product.ask(name, key=live, stream=is_stream)
            for at in range(len(OWN_KEY) - 7):
                assert OWN_KEY[at : at + 8] not in answer.text.lower()


def _a_name_that_nobody_knows_is_refused_also_under_a_spend_limit(
    product: Running, marks: Marks, live: str
) -> None:
    product.cli("spend-limits", "add", "tenant", "default", "0.000001", "--action", "cheapest")
    product.ask("moderated", key=live)
    names = [
        f"Dear {marks.mark()}, all is well",
        f"sandbox/echo {marks.mark()}",
        f"sandbox/echo\x1b]0;{marks.mark()}\x07",
        f"sandbox/status?code=400&message={marks.mark()}",
        f"jusinfer/auto:{marks.mark()}",
    ]
    for name in names:
        for key in (product.key, live):
            assert product.ask(name, key=key).status_code in {400, 404}
    listed = product.ask(marks.mark(), key=product.key, models=["sandbox/plain"])
    assert listed.status_code == 200


def _short_marks_are_nowhere(product: Running, marks: Marks, live: str) -> None:
    provider_marks = list(marks.made)
    for model in ("sandbox/echo_error?code=400", "sandbox/echo_error?code=400&in=body"):
        for content in (f"my password is {marks.mark()}!", marks.mark()):
            message = [{"role": "user", "content": content}]
            product.ask(model, messages=message, user=marks.mark(), metadata={"a": marks.mark()})
    for name in ("repeats", "moderated", "filtered", "invalid", "unknown", "forbidden"):
        product.ask(name, key=live, stream=True)
    url = f"http://127.0.0.1:{product.port}/v1/chat/completions"
    headers = {
        "authorization": f"Bearer {product.key}",
        "user-agent": marks.mark(),
        "x-request-id": marks.mark(),
        "x-title": marks.mark(),
    }
    body = {"model": "sandbox/echo", "messages": [{"role": "user", "content": "Hello!"}]}
    assert httpx.post(url, json=body, headers=headers, timeout=30).status_code == 200
    metrics_url = f"http://127.0.0.1:{product.operator_port}/metrics"

    def metrics() -> str:
        return httpx.get(metrics_url, timeout=10).text

    wait_until(lambda: "jusinfer_settler_lag_bytes 0\n" in metrics(), 30)
    assert len(marks.made) > len(provider_marks)
    with psycopg.connect(product.admin_dsn, autocommit=True) as connection:
        connection.execute("ANALYZE")
        rows = connection.execute("SELECT s::text FROM pg_statistic s").fetchall()
        texts = connection.execute("SELECT DISTINCT error_text FROM usage_record").fetchall()
        connection.execute("CHECKPOINT")
    assert not marks.found_in(json.dumps([rows, texts]).encode())
    # Codes of the closed list are there, so that something was looked at.
    assert {"content_filter", "server_error", "other"} <= {text for (text,) in texts}
    assert not marks.found_in(metrics().encode() + product.err.read_bytes())
    for path in product.data_dir.rglob("*"):
        if path.is_file():
            assert not marks.found_in(_read(path)), path
    for command in (
        ("ledger", "verify"),
        ("tenants", "list"),
        ("keys", "list"),
        ("spend-limits", "list"),
        ("limits", "list"),
    ):
        said = _said(product, *command)
        assert not marks.found_in(said)
        assert said.replace(b"\n", b"").decode().isprintable()


def _everything_is_written_and_nothing_of_it_after_the_end(product: Running, marks: Marks) -> None:
    product.stop()
    assert not marks.found_in(product.err.read_bytes() + product.out.read_bytes())
    for path in product.data_dir.rglob("*"):
        if path.is_file():
            assert not marks.found_in(_read(path)), path
            assert OWN_KEY.encode() not in _read(path), path


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _said(product: Running, *command: str) -> bytes:
    done = subprocess.run(
        [sys.executable, "-m", "jusinfer", *command, *product.common],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_short_marks_and_our_key_are_nowhere(
    product: Running, provider: OddProvider, marks: Marks, live: str
) -> None:
    # In this order: what is left behind is looked for while it runs and after its end.
    _a_provider_never_tells_our_key(product, provider, live)
    _a_name_that_nobody_knows_is_refused_also_under_a_spend_limit(product, marks, live)
    _short_marks_are_nowhere(product, marks, live)
    _everything_is_written_and_nothing_of_it_after_the_end(product, marks)


def test_the_search_finds_what_is_planted(marks: Marks) -> None:
    text = marks.mark()
    assert marks.found_in(f"xx{text.lower()}yy".encode())
    assert marks.found_in(text[::-1].encode())
    assert not marks.found_in(text[:-1].encode())
