"""Streams of OpenRouter's kind that break off: what they cost is asked for later, never charged."""

import http.server
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest
from tests.e2e.running import Running, kill, lone_sandbox, wait_until
from tests.money import assert_books_are_right

pytestmark = pytest.mark.slow
UPSTREAM = """
[[upstream]]
name = "{name}"
base_url = "http://127.0.0.1:{port}{path}"
is_local = true
api_key_env = "{key}"
compatibility = [{flags}]
headers = {{ "X-OpenRouter-Cache" = "false" }}
"""
MODEL = """
[[upstream.model]]
id = "{name}"
upstream_model = "{model}"
input = "1"
output = "2"
"""
MODELS = {
    "router/cut": "sandbox/cut?after=3",
    "router/long": "sandbox/tokens?n=400&token_ms=20",
    "router/good": "sandbox/plain",
}


class Stubborn:
    """A provider whose streams break off, and which says what they cost as it is told."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer: tuple[int, bytes, float] = (404, b"{}", 0.0)
        provider = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                number = len(provider.asked)
                head = {"id": f"gen-body-{number}", "object": "chat.completion.chunk"}
                choice = {"index": 0, "delta": {"content": "a word"}, "finish_reason": None}
                chunk = head | {"created": 1, "model": "m", "choices": [choice]}
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.send_header("x-generation-id", "gen-from-the-head")
                self.end_headers()
                self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")

            def do_GET(self) -> None:
                provider.asked.append(self.path)
                status, body, seconds = provider.answer
                time.sleep(seconds)
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                try:
                    self.wfile.write(body)
                except OSError:
                    return

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
                del format, arguments

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = int(self.server.server_address[1])


@pytest.fixture(scope="module")
def stubborn() -> Iterator[Stubborn]:
    made = Stubborn()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        made.server.server_close()
        thread.join(5)


class Product:
    """The product with live upstreams, and a key."""

    def __init__(self, running: Running, key: str) -> None:
        self.running, self.key = running, key

    def ask(self, model: str, **fields: Any) -> httpx.Response:
        return self.running.ask(model, self.key, stream=True, max_tokens=500, **fields)

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.running.dsn) as connection:
            return connection.execute(statement, values).fetchall()

    def report(self, completion_id: str) -> tuple[Any, ...] | None:
        """Give asked_count, cost, tokens and failure of a completion that was asked about."""
        found = self.rows(
            "SELECT asked_count, reported_cost_pico, prompt_tokens, completion_tokens, failure"
            " FROM provider_report WHERE completion_id = %s",
            completion_id,
        )
        return found[0] if found else None

    def reported(self, completion_id: str) -> tuple[Any, ...]:
        """Wait for a report."""

        def has_come() -> bool:
            row = self.report(completion_id)
            return row is not None and row[1] is not None

        wait_until(has_come)
        row = self.report(completion_id)
        assert row is not None
        return row

    def failed(self, completion_id: str, code: str) -> None:
        """Let it be asked, and wait for a failure's code."""

        def has_failed() -> bool:
            row = self.report(completion_id)
            return row is not None and row[4] == code

        self.hurry()
        wait_until(has_failed)

    def hurry(self) -> None:
        with psycopg.connect(self.running.admin_dsn) as connection:
            connection.execute(
                "UPDATE provider_report SET next_at = now() WHERE next_at IS NOT NULL"
            )

    def money(self) -> list[tuple[Any, ...]]:
        return self.rows(
            "SELECT (SELECT count(*) FROM ledger_transfer),"
            " (SELECT sum(debits_posted_nano) FROM ledger_account),"
            " (SELECT sum(charge_nano) FROM usage_record),"
            " (SELECT sum(cost_pico) FROM usage_record)"
        )

    def posted(self, completion_id: str) -> None:
        wait_until(
            lambda: self.rows("SELECT 1 FROM usage_record WHERE completion_id = %s", completion_id)
        )


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory, stubborn: Stubborn) -> Iterator[Product]:
    with lone_sandbox() as port, pytest.MonkeyPatch.context() as patch:
        for name in ("router", "stubborn", "plain"):
            patch.setenv(f"{name.upper()}_KEY", f"{name}-key")
        config = UPSTREAM.format(
            name="router",
            port=port,
            path="/openrouter/api/v1",
            key="ROUTER_KEY",
            flags='"openrouter"',
        )
        config += "".join(MODEL.format(name=name, model=model) for name, model in MODELS.items())
        config += UPSTREAM.format(
            name="stubborn",
            port=stubborn.port,
            path="/v1",
            key="STUBBORN_KEY",
            flags='"openrouter"',
        )
        config += MODEL.format(name="stubborn/m", model="m")
        config += UPSTREAM.format(name="plain", port=port, path="/v1", key="PLAIN_KEY", flags="")
        config += MODEL.format(name="plain/cut", model="sandbox/cut?after=3")
        with Running(tmp_path_factory.mktemp("reconcile"), config=config) as running:
            key = running.cli("keys", "create", "--mode", "live")["key"]
            running.cli("grant", "default", "50", "--reason", "test")
            yield Product(running, key)


def named(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return str(answer.headers["x-jusinfer-completion-id"])


def test_a_stream_that_is_cut_is_asked_about_and_nothing_is_charged_for_it(
    product: Product,
) -> None:
    cut, good, plain = (product.ask(model) for model in ("router/cut", "router/good", "plain/cut"))
    for answer in (cut, good, plain):
        product.posted(named(answer))
    before = product.money()
    asked, cost_pico, prompt, completion, failure = product.reported(named(cut))
    assert (asked, failure) == (1, None)
    # The sandbox knows what its whole answer costs: 0.000000125 USD a token.
    assert cost_pico == 125_000 * (prompt + completion)
    assert product.money() == before
    # An answer that says what was used, or whose provider cannot be asked, waits for nothing.
    assert product.report(named(good)) is None
    assert product.report(named(plain)) is None
    assert_books_are_right(product.running.dsn)
    assert product.running.cli("ledger", "verify")["findings"]


def test_a_client_who_leaves_is_asked_about_too(product: Product) -> None:
    with httpx.stream(
        "POST",
        f"http://127.0.0.1:{product.running.port}/v1/chat/completions",
        json={
            "model": "router/long",
            "messages": [{"role": "user", "content": "Hello!"}],
            "stream": True,
        },
        headers={"authorization": f"Bearer {product.key}"},
        timeout=30,
    ) as answer:
        completion_id = named(answer)
        next(answer.iter_lines())
    assert product.reported(completion_id)[1] > 0
    outcome = product.rows(
        "SELECT outcome, is_estimated FROM usage_record WHERE completion_id = %s", completion_id
    )
    assert outcome == [("cut_by_client", True)]


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (404, b"{}", "not_found"),
        (302, b"", "status_302"),
        (200, b"x" * 200_000, "body_too_large"),
        (200, b'{"data":{"total_cost":"free"}}', "unreadable"),
        (200, b'{"data":{"total_cost":-1}}', "impossible_cost"),
        (200, b'{"data":{"total_cost":1,"id":"gen-another"}}', "other_generation"),
    ],
)
def test_an_answer_that_cannot_be_believed_is_a_failure(
    product: Product, stubborn: Stubborn, status: int, body: bytes, code: str
) -> None:
    stubborn.answer = (status, body, 0.0)
    completion_id = named(product.ask("stubborn/m"))
    product.posted(completion_id)
    product.failed(completion_id, code)
    assert stubborn.asked[-1] == "/v1/generation?id=gen-from-the-head"
    stubborn.answer = (200, b'{"data":{"total_cost":0.25}}', 0.0)
    product.hurry()
    assert product.reported(completion_id)[1:] == (250_000_000_000, None, None, None)


def test_processes_killed_while_it_is_asked_change_nothing(
    product: Product, stubborn: Stubborn
) -> None:
    stubborn.answer = (200, b'{"data":{"total_cost":0.5}}', 20.0)
    asked = len(stubborn.asked)
    completion_id = named(product.ask("stubborn/m"))
    product.posted(completion_id)
    before = product.money()
    product.hurry()
    wait_until(lambda: len(stubborn.asked) > asked)
    for name in ("bootstrap.reconciler", "bootstrap.settler"):
        (pid,) = product.running.pids(name)
        kill(pid)
    stubborn.answer = (200, b'{"data":{"total_cost":0.5}}', 0.0)
    for name in ("bootstrap.reconciler", "bootstrap.settler"):
        wait_until(lambda name=name: product.running.pids(name))  # type: ignore[misc]
    assert product.report(completion_id) == (1, None, None, None, None)
    product.hurry()
    assert product.reported(completion_id)[:2] == (2, 500_000_000_000)
    assert product.money() == before
    assert_books_are_right(product.running.dsn)


def test_the_operator_sees_what_providers_said(product: Product) -> None:
    completion_id = named(product.ask("router/cut"))
    product.reported(completion_id)
    rows = {row["upstream"]: row for row in product.running.cli("ledger", "reports")}
    assert rows["router"]["reported"] >= 1
    assert float(rows["router"]["reported_usd"]) > 0
    page = httpx.get(f"http://127.0.0.1:{product.running.operator_port}/metrics", timeout=10).text
    assert 'jusinfer_provider_reports{state="given_up"} 0\n' in page
    assert 'jusinfer_process_up{process="reconciler"} 1\n' in page
    shown = httpx.get(
        f"http://127.0.0.1:{product.running.port}/v1/generation?id=gen-{completion_id}",
        headers={"authorization": f"Bearer {product.key}"},
        timeout=10,
    ).text
    assert "chatcmpl-" not in shown
