"""What clients without a good key may cost others: nearly nothing."""

import secrets
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.e2e.running import Running, fresh_minute

from jusinfer.domain.identity import Mode, format_key
from jusinfer.gateway.accounting.unknown_keys import BURST, PER_SECOND


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with Running(tmp_path_factory.mktemp("bounds")) as running:
        yield running


def asked(product: Running, path: str, key: str) -> httpx.Response:
    url = f"http://127.0.0.1:{product.port}{path}"
    return httpx.get(url, headers={"authorization": f"Bearer {key}"}, timeout=30)


def test_a_key_with_a_wrong_character_is_told_so(product: Running) -> None:
    wrong = product.key[:-1] + ("A" if product.key[-1] != "A" else "B")
    refused = asked(product, "/v1/models", wrong)
    assert refused.status_code == 401
    assert "whole API key" in refused.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/v1/models", "/v1/credits", "/v1/generation"])
def test_a_key_in_an_address_is_refused_and_to_be_revoked(product: Running, path: str) -> None:
    for name in ("api_key", "key", "x"):
        refused = asked(product, f"{path}?id=1&{name}={product.key}", product.key)
        assert refused.status_code == 401
        error = refused.json()["error"]
        assert "address" in error["message"]
        assert "Revoke" in error["hint"]
        assert product.key not in refused.text


def test_unknown_keys_run_out_and_known_ones_are_served(tmp_path: Path) -> None:
    # A product of its own: what is used up here would be missed by the tests after it.
    with Running(tmp_path) as product:
        assert asked(product, "/v1/credits", product.key).status_code == 200
        begun = time.monotonic()
        with httpx.Client(base_url=f"http://127.0.0.1:{product.port}") as line:
            count = 0
            while count < 5 * BURST:
                key = format_key(Mode.LIVE, secrets.token_bytes(32))
                answer = line.get("/v1/credits", headers={"authorization": f"Bearer {key}"})
                if answer.status_code == 429:
                    break
                assert answer.status_code == 401
                count += 1
        # The bucket fills while it is used.
        assert BURST <= count <= BURST + (time.monotonic() - begun) * PER_SECOND + 1
        assert answer.headers["retry-after"] == "1"
        assert asked(product, "/v1/credits", product.key).status_code == 200


@pytest.mark.parametrize(
    "path", ["/v1/models", "/v1/credits", "/v1/key", f"/v1/generation?id={'a' * 32}"]
)
def test_questions_take_a_request_of_the_key(product: Running, path: str) -> None:
    issued = product.cli("keys", "create", "--requests-per-minute", "2")
    fresh_minute(20)
    statuses = [asked(product, path, issued["key"]).status_code for _ in range(4)]
    assert statuses[2:] == [429, 429]
    assert 429 not in statuses[:2]


def raw(product: Running, sent: bytes) -> bytes:
    """Send bytes on a connection of their own; gives all that comes until it is closed."""
    with socket.create_connection(("127.0.0.1", product.port), timeout=10) as line:
        line.sendall(sent)
        return b"".join(iter(lambda: line.recv(65_536), b""))


def test_a_request_without_a_good_key_is_refused_before_its_body(product: Running) -> None:
    for path, shape in (
        ("chat/completions", b'"code":"invalid_api_key"'),
        ("messages", b"authentication_error"),
    ):
        for key in (
            "",
            "x-api-key: ji_live_short\r\n",
            f"x-api-key: {format_key(Mode.LIVE, bytes(32))}\r\n",
        ):
            head = f"POST /v1/{path} HTTP/1.1\r\nhost: a\r\n{key}content-length: 19000000\r\n\r\n"
            said = raw(product, head.encode() + b"{")
            assert said.startswith(b"HTTP/1.1 401 "), (path, key, said)
            assert shape in said.replace(b'": "', b'":"')


def test_a_prompt_sent_beside_the_api_is_told_where_the_api_is(product: Running) -> None:
    url = f"http://127.0.0.1:{product.port}"
    for path in ("/chat/completions", "/responses", "/messages", "/models/x"):
        refused = httpx.post(
            f"{url}{path}", headers={"authorization": f"Bearer {product.key}"}, json={"a": 1}
        )
        assert refused.status_code == 404
        error = refused.json()["error"]
        assert error["code"] == "path_not_found"
        assert f"/v1{path}" in error["hint"]
    assert httpx.get(f"{url}/nothing").status_code == 404
    assert httpx.post(f"{url}/docs", content=b"x").status_code == 405
    assert httpx.request("GET", f"{url}/docs", content=b"x" * 65_537).status_code == 413


def test_every_page_answers_head_and_what_follows_it(product: Running) -> None:
    for path in ("/", "/docs", "/health", "/openapi.json", "/static/jusinfer.css"):
        one = f"HEAD {path} HTTP/1.1\r\nhost: localhost\r\n\r\n"
        last = "GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        said = raw(product, (one + last).encode())
        assert said.count(b"HTTP/1.1 200 ") == 2, (path, said)
        assert said.endswith(b'{"status":"ok"}\r\n0\r\n\r\n')
