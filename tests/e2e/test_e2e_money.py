"""Money as people meet it: limits, spend limits, price lists, receipts, in the whole product."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.e2e.running import Running, fresh_minute, wait_until
from tests.money import assert_books_are_right

CONFIG = """
[[price_list]]
name = "partner"
margin_bp = 10000
[[price_list.model]]
id = "sandbox/echo"
input = "1000"
output = "1000"
"""


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with Running(tmp_path_factory.mktemp("money"), workers=2, config=CONFIG) as running:
        yield running


def tenant(product: Running, name: str) -> tuple[str, str, str]:
    """Make a tenant with a test key; gives (tenant id, key id, key)."""
    tenant_id = product.cli("tenants", "create", name)[0]["tenant_id"]
    made = product.cli("keys", "create", "--tenant", name, "--mode", "test")
    return tenant_id, made["key_id"], made["key"]


def own(product: Running, path: str, key: str) -> Any:
    answer = httpx.get(
        f"http://127.0.0.1:{product.port}/v1/{path}",
        headers={"authorization": f"Bearer {key}"},
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    return json.loads(answer.text, parse_float=Decimal, parse_int=int)["data"]


def test_a_receipt_says_the_same_everywhere(product: Running) -> None:
    _, _, key = tenant(product, "receipts")
    answer = product.ask("gpt-6-astra", key=key, max_tokens=50, usage={"include": True})
    assert answer.status_code == 200
    cost = Decimal(answer.headers["x-jusinfer-cost"])
    shown = json.loads(answer.text, parse_float=Decimal)["usage"]["cost"]
    completion_id = answer.headers["x-jusinfer-completion-id"]
    generation = own(product, f"generation?id={completion_id}", key)
    assert cost == shown == generation["total_cost"] > 0
    assert generation["provider_name"] == "sandbox"
    assert generation["jusinfer"]["attempts"] == ["sandbox:gpt-6-astra=completed"]
    explained = product.cli("ledger", "explain", completion_id)
    assert explained["is_exact"]
    assert sum(line["cost_pico"] for line in explained["lines"]) == explained["usage"]["cost_pico"]
    assert explained["transfers"][0]["code"] == "usage"
    assert explained["draws"][0]["source"] == "promotional"
    credit = own(product, "credits", key)
    assert credit["total_credits"] == 1000
    assert Decimal(credit["total_usage"]) == cost
    spent = own(product, "key", key)
    assert Decimal(spent["usage"]) == Decimal(spent["usage_daily"]) == cost
    assert spent["limit"] is None


def test_a_generation_is_shown_to_its_own_member_only(product: Running) -> None:
    _, _, key = tenant(product, "one")
    _, _, other = tenant(product, "another")
    answer = product.ask("sandbox/echo", key=key)
    completion_id = answer.headers["x-jusinfer-completion-id"]
    assert own(product, f"generation?id={completion_id}", key)["id"] == completion_id
    base = f"http://127.0.0.1:{product.port}/v1"
    for query, status in (
        (f"id={completion_id}", 404),
        ("id=nonsense", 400),
        ("", 400),
    ):
        refused = httpx.get(
            f"{base}/generation?{query}", headers={"authorization": f"Bearer {other}"}, timeout=30
        )
        assert refused.status_code == status
        assert refused.json()["error"]["param"] == "id"
    assert httpx.get(f"{base}/credits", timeout=30).status_code == 401


def test_a_limit_of_requests_holds_over_all_workers(product: Running) -> None:
    _, key_id, key = tenant(product, "limited")
    product.cli("limits", "set", "key", key_id, "requests", "20")

    def ask(_: int) -> int:
        return product.ask("sandbox/plain", key=key, max_tokens=5).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(ask, range(45)))
    # A minute may end in between, and begin the count anew.
    assert set(statuses) == {200, 429}
    assert 19 <= statuses.count(200) <= 40


def test_what_a_key_was_issued_with_holds_exactly_over_all_workers(product: Running) -> None:
    key = product.cli("keys", "create", "--requests-per-minute", "20")["key"]

    def served(count: int) -> int:
        with ThreadPoolExecutor(8) as pool:
            asked = pool.map(lambda _: product.ask("sandbox/plain", key=key), range(count))
            statuses = [answer.status_code for answer in asked]
        assert set(statuses) <= {200, 429}
        return statuses.count(200)

    fresh_minute(40)
    total = served(45)
    assert total <= 20

    def is_used_whole() -> bool:
        # What one worker took ahead and did not use comes back to the other.
        nonlocal total
        total += served(4)
        return total >= 20

    wait_until(is_used_whole, 30)
    assert total + served(10) == 20


def test_requests_at_once_are_limited_and_freed(product: Running) -> None:
    tenant_id, _, key = tenant(product, "narrow")
    product.cli("limits", "set", "tenant", tenant_id, "concurrency", "2")

    def ask(_: int) -> httpx.Response:
        return product.ask("sandbox/tokens?n=100&token_ms=20", key=key, max_tokens=150, stream=True)

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(ask, range(6)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses.count(200) == 2
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert refused.headers["retry-after"] == "1"
    wait_until(lambda: product.ask("sandbox/plain", key=key, max_tokens=5).status_code == 200, 15)


def test_a_spend_limit_announces_and_stops_with_when_it_resets(product: Running) -> None:
    _, key_id, key = tenant(product, "capped")
    first = product.ask("gpt-6-astra", key=key, max_tokens=50)
    cost = Decimal(first.headers["x-jusinfer-cost"])
    # Room for several requests, of which the first was before the spend limit.
    product.cli(
        "spend-limits", "add", "key", key_id, str(cost * 6), "--period", "day", "--action", "stop",
        "--mode", "test",
    )  # fmt: skip
    answers = []
    for _ in range(60):
        answers.append(product.ask("gpt-6-astra", key=key, max_tokens=50))
        if answers[-1].status_code != 200:
            break
    refused = answers[-1]
    assert refused.status_code == 402
    error = refused.json()["error"]
    assert error["code"] == "spend_limit_reached"
    assert 0 < int(refused.headers["retry-after"]) <= 86_400
    charged = sum(Decimal(a.headers["x-jusinfer-cost"]) for a in answers[:-1])
    assert 0 < charged <= cost * 6
    row = next(row for row in product.cli("spend-limits", "list") if row["spend_limit_id"])
    assert Decimal(row["spent_usd"]) <= Decimal(row["limit_usd"])


def test_a_reached_spend_limit_can_choose_the_cheapest_and_says_so(product: Running) -> None:
    tenant_id, _, key = tenant(product, "thrifty")
    product.cli(
        "spend-limits",
        "add",
        "tenant",
        tenant_id,
        "0.000001",
        "--action",
        "cheapest",
        "--mode",
        "test",
    )
    first = product.ask("gpt-6-astra", key=key, max_tokens=50)
    assert first.headers["x-jusinfer-model"] == "gpt-6-astra"

    def is_cheap() -> bool:
        answer = product.ask("gpt-6-astra", key=key, max_tokens=50)
        return (
            answer.headers["x-jusinfer-model"] != "gpt-6-astra"
            and "100% cheapest" in answer.headers["x-jusinfer-spend-limit"]
            and "spend_limit" in answer.headers["x-jusinfer-route"]
        )

    wait_until(is_cheap, 20)


def test_a_tenant_on_a_price_list_pays_its_prices(product: Running) -> None:
    tenant_id, _, key = tenant(product, "partner")
    plain = Decimal(product.ask("gpt-6-astra", key=key, max_tokens=5).headers["x-jusinfer-cost"])
    product.cli("tenants", "terms", tenant_id, "--price-list", "partner")

    def cost(model: str) -> Decimal:
        return Decimal(product.ask(model, key=key, max_tokens=5).headers["x-jusinfer-cost"])

    wait_until(lambda: cost("gpt-6-astra") == 2 * plain, 10)
    listed = product.ask("sandbox/echo", key=key, max_tokens=5)
    tokens = listed.json()["usage"]["total_tokens"]
    assert Decimal(listed.headers["x-jusinfer-cost"]) == Decimal(tokens) / 1000
    completion_id = listed.headers["x-jusinfer-completion-id"]
    own(product, f"generation?id={completion_id}", key)
    assert product.cli("ledger", "explain", completion_id)["is_exact"]
    rated = product.cli("ledger", "rerate")
    assert all(Decimal(row["difference_usd"]) == 0 for row in rated)
    assert all(row["without_prices"] == 0 for row in rated)


def test_the_ledger_of_all_this_holds(product: Running, tmp_path: Path) -> None:
    assert tmp_path.exists()
    report = product.cli("ledger", "verify")
    assert report["holds"], report
    assert len(report["findings"]) >= 15
    assert_books_are_right(product.dsn)
