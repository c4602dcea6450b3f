"""Messages at Anthropic and Responses at OpenAI: kills, leaving, retries, races, cache prices."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest
from tests.e2e.odd_provider import OddProvider, stream
from tests.e2e.running import Running, free_port, kill, wait_until
from tests.money import assert_books_are_right

pytestmark = pytest.mark.slow
CLIENT_APIS = ("messages", "responses")
SETTINGS = {
    "messages": 'api = "anthropic"',
    "responses": 'compatibility = ["responses", "store_false", "no_obfuscation"]',
}
PRICES = 'input = "3"\noutput = "15"\ncache_read = "0.3"\ncache_write = "3.75"\n'
MODELS = {
    "slow": "sandbox/tokens?n=180&token_ms=50",
    "once": "sandbox/status?code=503&first=1&err=native",
    "late": "sandbox/error_in_stream?after=3",
}
# Of 1,600 tokens 500 were written for five minutes, 1,000 for an hour; 40 were read.
WRITTEN = {
    "input_tokens": 60,
    "cache_read_input_tokens": 40,
    "cache_creation_input_tokens": 1500,
    "cache_creation": {"ephemeral_5m_input_tokens": 500, "ephemeral_1h_input_tokens": 1000},
}
CHARGE_NANO = 60 * 3_000 + 40 * 300 + 500 * 3_750 + 1000 * 6_000 + 10 * 15_000


def upstream(name: str, port: int, more: str, models: dict[str, str], prices: str = PRICES) -> str:
    written = (
        f'[[upstream]]\nname = "{name}"\nbase_url = "http://127.0.0.1:{port}/v1"\n'
        f'is_local = true\napi_key = "k"\n{more}\n'
    )
    for model, sent in models.items():
        written += f'[[upstream.model]]\nid = "{model}"\nupstream_model = "{sent}"\n{prices}'
    return written


class Product:
    """The product with providers that speak the clients' own APIs."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self.key = running.cli("keys", "create", "--mode", "live")["key"]
        running.cli("grant", "default", "50", "--reason", "test")

    def body(self, client_api: str, model: str, words: str = "Hello") -> dict[str, Any]:
        if client_api == "responses":
            return {"model": model, "input": words, "stream": True, "max_output_tokens": 300}
        turns = [{"role": "user", "content": words}]
        return {"model": model, "messages": turns, "stream": True, "max_tokens": 300}

    def ask(self, client_api: str, model: str, words: str = "Hello") -> httpx.Response:
        return httpx.post(
            f"http://127.0.0.1:{self.running.port}/v1/{client_api}",
            json=self.body(client_api, model, words),
            headers={"authorization": f"Bearer {self.key}"},
            timeout=60,
        )

    def begun(self, client_api: str, model: str, client: socket.socket) -> str:
        """Ask, read until words come, and give the completion's id."""
        body = json.dumps(self.body(client_api, model)).encode()
        client.sendall(
            f"POST /v1/{client_api} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {self.key}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        got = b""
        while got.count(b"_delta") + got.count(b".delta") < 8:
            part = client.recv(65536)
            assert part, got
            got += part
        return got.decode().lower().split("x-jusinfer-completion-id: ")[1][:32]

    def row(self, completion_id: str) -> dict[str, Any]:
        names = ("outcome", "charge_nano", "completion_tokens", "is_estimated", "attempts")
        found: list[tuple[Any, ...]] = []

        def is_posted() -> bool:
            with psycopg.connect(self.running.dsn) as connection:
                found[:] = connection.execute(
                    f"SELECT {', '.join(names)} FROM usage_record WHERE completion_id = %s",  # noqa: S608 (names of ours)
                    (completion_id,),
                ).fetchall()
            return bool(found)

        wait_until(is_posted, 40)
        return dict(zip(names, found[0], strict=True))


@pytest.fixture(scope="module")
def provider() -> Iterator[OddProvider]:
    with OddProvider() as odd:
        yield odd


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory, provider: OddProvider) -> Iterator[Product]:
    port = free_port()
    sandbox = subprocess.Popen(
        [sys.executable, "-m", "jusinfer.sandbox.app", "--port", str(port)],
        stdout=subprocess.DEVNULL,
    )
    config = "[gateway]\ndrain_seconds = 1\n"
    for client_api in CLIENT_APIS:
        more = SETTINGS[client_api]
        models = {f"{client_api}/{name}": sent for name, sent in MODELS.items()}
        config += upstream(client_api, port, more, models)
        silent = {f"{client_api}/race": "sandbox/stall?before=1"}
        config += upstream(f"mute-{client_api}", port, f"{more}\nhedge_seconds = 0.2", silent)
        lively = PRICES.replace('output = "15"', 'output = "20"')
        config += upstream(
            f"lively-{client_api}", port, more, {f"{client_api}/race": "mock-1"}, lively
        )
    hour = f'{PRICES}cache_write_1h = "6"\n'
    config += upstream("odd", provider.port, SETTINGS["messages"], {"odd/cache": "cache"}, hour)
    config += upstream("plain", port, "", {"plain/m": "mock-1"})
    try:
        with Running(tmp_path_factory.mktemp("native"), config=config) as running:
            yield Product(running)
    finally:
        sandbox.terminate()
        sandbox.wait(10)


@pytest.mark.parametrize("client_api", CLIENT_APIS)
def test_a_client_who_leaves_pays_for_what_was_made(product: Product, client_api: str) -> None:
    with socket.create_connection(("127.0.0.1", product.running.port), timeout=30) as client:
        left = product.begun(client_api, f"{client_api}/slow", client)
    row = product.row(left)
    assert row["outcome"] == "cut_by_client"
    assert row["is_estimated"]
    assert 0 < row["completion_tokens"] < 170
    assert row["charge_nano"] > 0


@pytest.mark.parametrize("client_api", CLIENT_APIS)
def test_a_failure_before_the_first_event_is_tried_again_unseen(
    product: Product, client_api: str
) -> None:
    answer = product.ask(client_api, f"{client_api}/once")
    assert answer.status_code == 200
    assert "error" not in [line[7:] for line in answer.text.splitlines() if line[:6] == "event:"]
    row = product.row(answer.headers["x-jusinfer-completion-id"])
    assert row["outcome"] == "completed"
    assert row["charge_nano"] > 0


@pytest.mark.parametrize("client_api", CLIENT_APIS)
def test_a_failure_after_the_first_words_is_told_once_and_costs_nothing(
    product: Product, client_api: str
) -> None:
    answer = product.ask(client_api, f"{client_api}/late")
    end = "event: error" if client_api == "messages" else "event: response.failed"
    assert answer.text.count(end) == 1
    assert "message_stop" not in answer.text
    assert "response.completed" not in answer.text
    row = product.row(answer.headers["x-jusinfer-completion-id"])
    assert (row["outcome"], row["charge_nano"]) == ("upstream_failed", 0)


@pytest.mark.parametrize("client_api", CLIENT_APIS)
def test_a_silent_provider_is_raced_and_the_loser_costs_nothing(
    product: Product, client_api: str
) -> None:
    for _ in range(60):
        assert product.ask("messages", "plain/m").status_code == 200
    answer = product.ask(client_api, f"{client_api}/race", f"A race over {client_api}")
    assert answer.status_code == 200
    assert answer.headers["x-jusinfer-upstream"] == f"lively-{client_api}"
    begins = "event: message_start" if client_api == "messages" else "event: response.created"
    assert answer.text.count(begins) == 1
    row = product.row(answer.headers["x-jusinfer-completion-id"])
    assert row["outcome"] == "completed"
    assert row["completion_tokens"] == 16


def test_what_is_kept_for_an_hour_has_its_own_price(
    product: Product, provider: OddProvider
) -> None:
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "cache",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**WRITTEN, "output_tokens": 1},
    }
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            # Some repeat the counts at the end, without the times, or as zeros.
            "usage": {"input_tokens": 0, "cache_creation_input_tokens": 1500, "output_tokens": 10},
        },
        {"type": "message_stop"},
    ]
    provider.answers["cache"] = stream(*events)
    answer = product.ask("messages", "odd/cache")
    assert answer.status_code == 200
    row = product.row(answer.headers["x-jusinfer-completion-id"])
    assert row["charge_nano"] == CHARGE_NANO


def test_a_killed_worker_charges_nothing_for_what_was_in_flight(product: Product) -> None:
    address = ("127.0.0.1", product.running.port)
    with (
        socket.create_connection(address, timeout=30) as one,
        socket.create_connection(address, timeout=30) as other,
    ):
        killed = [
            product.begun("messages", "messages/slow", one),
            product.begun("responses", "responses/slow", other),
        ]
        for pid in product.running.gateways:
            kill(pid)
    for completion_id in killed:
        row = product.row(completion_id)
        assert (row["outcome"], row["charge_nano"]) == ("interrupted", 0)
    wait_until(product.running.ready, 40)
    assert_books_are_right(product.running.dsn)
