"""Output budgets above a model's limit, and models that cost nothing."""

import os
import signal
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
from tests.e2e.odd_provider import OddProvider
from tests.e2e.running import Running, children, wait_until
from tests.money import assert_books_are_right

FREE = 'odd/free=input = "0"\noutput = "0"'


@pytest.fixture(scope="module")
def provider() -> Iterator[OddProvider]:
    with OddProvider() as running:
        yield running


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory, provider: OddProvider) -> Iterator[Running]:
    config = provider.config("odd/chat=output_tokens_max = 8192", FREE)
    with Running(tmp_path_factory.mktemp("budget"), config=config) as running:
        yield running


def live(product: Running, name: str, credit: str | None = None) -> tuple[str, str]:
    """Make a tenant with a live key; gives (tenant id, key)."""
    tenant_id = product.cli("tenants", "create", name)[0]["tenant_id"]
    if credit is not None:
        product.cli("grant", name, credit, "--mode", "live", "--reason", "a test")
    return tenant_id, product.cli("keys", "create", "--tenant", name, "--mode", "live")["key"]


def test_a_budget_above_the_models_limit_is_cut_in_request_bound_and_limit(
    product: Running, provider: OddProvider
) -> None:
    tenant_id, key = live(product, "cut", "0.03")
    product.cli("limits", "set", "tenant", tenant_id, "tokens", "10000")
    answer = product.ask("odd/chat", key=key, max_tokens=32_000)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-jusinfer-output-tokens-max"] == "8192"
    assert provider.asked[-1]["max_tokens"] == 8_192
    assert Decimal(answer.headers["x-jusinfer-cost"]) == Decimal("0.00004")
    plain = product.ask("odd/chat", key=key, max_tokens=100)
    assert "x-jusinfer-output-tokens-max" not in plain.headers
    assert provider.asked[-1]["max_tokens"] == 100


def test_a_limit_that_nobody_stated_cuts_nothing(product: Running, provider: OddProvider) -> None:
    _, key = live(product, "unlimited", "5")
    answer = product.ask("odd/free", key=key, max_tokens=32_000)
    assert answer.status_code == 200, answer.text
    assert "x-jusinfer-output-tokens-max" not in answer.headers
    assert provider.asked[-1]["max_tokens"] == 32_000


def test_what_is_free_needs_no_credit(product: Running) -> None:
    tenant_id, key = live(product, "penniless")
    for max_tokens in (None, 50, 1_000_000):
        answer = product.ask("odd/free", key=key, max_tokens=max_tokens)
        assert answer.status_code == 200, answer.text
        assert Decimal(answer.headers["x-jusinfer-cost"]) == 0
    refused = product.ask("odd/chat", key=key, max_tokens=50)
    assert refused.status_code == 402

    def rows() -> list[tuple[object, ...]]:
        with psycopg.connect(product.dsn) as connection:
            return connection.execute(
                "SELECT charge_nano, bound_nano, transfer_id FROM usage_record"
                " WHERE tenant_id = %s",
                (tenant_id,),
            ).fetchall()

    wait_until(lambda: len(rows()) == 3, 20)
    assert set(rows()) == {(0, 0, None)}
    assert_books_are_right(product.dsn)


def test_what_is_free_is_served_while_the_database_is_away(product: Running) -> None:
    _, key = live(product, "stranded")
    assert product.ask("odd/free", key=key).status_code == 200
    pidfile: Path = product.data_dir / "postgres" / "postmaster.pid"
    postmaster = int(pidfile.read_text().split()[0])
    frozen = [postmaster, *children(postmaster)]
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    try:
        assert [product.ask("odd/free", key=key).status_code for _ in range(5)] == [200] * 5
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)


def test_a_spend_limit_that_is_reached_does_not_stop_what_is_free(product: Running) -> None:
    tenant_id, key = live(product, "capped", "1")
    product.cli(
        "spend-limits", "add", "tenant", tenant_id, "0.000001", "--action", "stop", "--mode", "live"
    )
    assert product.ask("odd/chat", key=key, max_tokens=50).status_code == 402
    assert product.ask("odd/free", key=key).status_code == 200
