"""Each cut point met in the whole product: what the client pays and what the receipt says."""

import json
import socket
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from tests.e2e.running import Running, kill, wait_until
from tests.money import assert_books_are_right

CONFIG = """
[gateway]
drain_seconds = 1
"""


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with Running(tmp_path_factory.mktemp("cuts"), config=CONFIG) as running:
        yield running


def row_of(product: Running, completion_id: str) -> dict[str, Any]:
    found: list[tuple[Any, ...]] = []

    def is_posted() -> bool:
        with psycopg.connect(product.dsn) as connection:
            found[:] = connection.execute(
                "SELECT outcome, charge_nano, completion_tokens, is_estimated, prompt_tokens"
                " FROM usage_record WHERE completion_id = %s",
                (completion_id,),
            ).fetchall()
        return bool(found)

    wait_until(is_posted, 20)
    names = ("outcome", "charge_nano", "completion_tokens", "is_estimated", "prompt_tokens")
    return dict(zip(names, found[0], strict=True))


def streamed(product: Running, model: str) -> tuple[dict[str, Any], str]:
    answer = product.ask(model, stream=True, max_tokens=200)
    return row_of(product, answer.headers["x-jusinfer-completion-id"]), answer.text


@pytest.mark.parametrize(
    ("model", "outcome", "is_charged"),
    [
        ("sandbox/status?code=500", "upstream_failed", False),
        ("sandbox/status?code=400", "upstream_refused", False),
        ("sandbox/cut?before=head", "upstream_failed", False),
        ("sandbox/cut?after=5&n=20", "upstream_cut", True),
        ("sandbox/reset?after=5&n=20", "upstream_cut", True),
        ("sandbox/error_in_stream?after=5", "upstream_failed", False),
        ("sandbox/no_done", "completed", True),
        ("sandbox/role_only", "upstream_failed", False),
        ("sandbox/error_in_200", "upstream_failed", False),
        ("sandbox/missing_usage?n=12", "completed", True),
    ],
)
@pytest.mark.parametrize("is_stream", [True, False], ids=["stream", "plain"])
def test_what_the_upstream_breaks_costs_what_the_table_says(
    product: Running,
    model: str,
    outcome: str,
    is_charged: bool,  # noqa: FBT001 (a cell of a table)
    is_stream: bool,  # noqa: FBT001 (a cell of a table)
) -> None:
    if not is_stream and outcome == "upstream_cut":
        outcome, is_charged = "upstream_failed", False
    if not is_stream and ("role_only" in model or "no_done" in model or "in_stream" in model):
        outcome, is_charged = "", False
    answer = product.ask(model, stream=is_stream, max_tokens=200)
    row = row_of(product, answer.headers["x-jusinfer-completion-id"])
    assert row["outcome"] == (outcome or row["outcome"])
    assert (row["charge_nano"] > 0) == (is_charged or (not outcome and answer.status_code == 200))
    if is_charged:
        assert row["completion_tokens"] > 0
    if "missing_usage" in model:
        assert row["is_estimated"]
        # One event is one token of a stream; a whole answer is counted by its length.
        assert row["completion_tokens"] == 12 or (
            not is_stream and 8 <= row["completion_tokens"] <= 24
        )
    if answer.status_code == 200 and "x-jusinfer-cost" in answer.headers:
        assert Decimal(answer.headers["x-jusinfer-cost"]) * 10**9 == row["charge_nano"]


def half(product: Running, model: str, stop_at: int) -> str:
    """Ask for a stream and leave after so many events; gives the completion's id."""
    body = json.dumps(
        {
            "model": model,
            "stream": True,
            "max_tokens": 200,
            "messages": [{"role": "user", "content": "hello"}],
        }
    ).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {product.key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode()
    with socket.create_connection(("127.0.0.1", product.port), timeout=20) as connection:
        connection.sendall(head + body)
        got = b""
        while got.count(b"data: ") < stop_at or b"\r\n\r\n" not in got:
            got += connection.recv(65536)
    names = got.split(b"\r\n\r\n")[0].decode().lower().split("x-jusinfer-completion-id: ")
    return names[1][:32]


def test_a_client_that_leaves_in_mid_stream_pays_for_what_was_produced(product: Running) -> None:
    completion_id = half(product, "sandbox/tokens?n=150&token_ms=20", 10)
    row = row_of(product, completion_id)
    assert row["outcome"] == "cut_by_client"
    assert 5 <= row["completion_tokens"] <= 60
    assert row["is_estimated"]
    assert row["charge_nano"] > 0


@pytest.mark.parametrize("model", ["sandbox/slow_head?ms=9000", "sandbox/stall?before=head"])
def test_a_client_that_leaves_before_the_first_token_pays_nothing(
    product: Running, model: str
) -> None:
    body = json.dumps(
        {"model": model, "stream": True, "messages": [{"role": "user", "content": "hello"}]}
    ).encode()
    with psycopg.connect(product.dsn) as connection:
        before = connection.execute("SELECT count(*) FROM usage_record").fetchone()
    with socket.create_connection(("127.0.0.1", product.port), timeout=20) as client:
        client.sendall(
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer "
            f"{product.key}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        wait_until(lambda: product.sandbox("counts").get(model, {}).get("started"))
    assert before is not None
    found: list[tuple[Any, ...]] = []

    def is_posted() -> bool:
        with psycopg.connect(product.dsn) as connection:
            found[:] = connection.execute(
                "SELECT outcome, charge_nano, requested_model FROM usage_record"
                " WHERE requested_model = %s",
                (model,),
            ).fetchall()
        return bool(found)

    wait_until(is_posted, 20)
    assert found[-1][:2] == ("cut_by_client", 0)


def test_a_worker_that_is_killed_charges_nothing_for_what_was_in_flight(product: Running) -> None:
    # One stream is cut by its client first: it is charged, once its worker has seen it. Another is
    # killed with its worker.
    cut = half(product, "sandbox/tokens?n=190&token_ms=50", 3)
    assert row_of(product, cut)["charge_nano"] > 0
    body = json.dumps(
        {
            "model": "sandbox/tokens?n=180&token_ms=50",
            "stream": True,
            "max_tokens": 200,
            "messages": [{"role": "user", "content": "hello"}],
        }
    ).encode()
    with socket.create_connection(("127.0.0.1", product.port), timeout=20) as client:
        client.sendall(
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer "
            f"{product.key}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        got = b""
        while got.count(b"data: ") < 3:
            got += client.recv(65536)
        killed = got.decode().lower().split("x-jusinfer-completion-id: ")[1][:32]
        for pid in product.gateways:
            kill(pid)
    row = row_of(product, killed)
    assert (row["outcome"], row["charge_nano"]) == ("interrupted", 0)
    assert row_of(product, cut)["charge_nano"] > 0
    wait_until(product.ready, 30)


def test_the_books_of_all_this_are_right(product: Running) -> None:
    wait_until(product.ready, 30)
    assert_books_are_right(product.dsn)
    assert product.cli("ledger", "verify")["holds"]
