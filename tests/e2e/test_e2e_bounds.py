"""What callers without a good key may cost others: nearly nothing."""

import secrets
import time
from collections.abc import Iterator

import httpx
import pytest
from tests.e2e.running import Running

from jusinfer.domain.identity import Mode, format_key
from jusinfer.gateway.strangers import BURST, PER_SECOND


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


def test_unknown_keys_run_out_and_good_ones_are_served(product: Running) -> None:
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
    statuses = [asked(product, path, issued["key"]).status_code for _ in range(4)]
    assert statuses[2:] == [429, 429]
    assert 429 not in statuses[:2]
