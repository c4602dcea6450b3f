"""Months of usage that are missing: the alarm for it, and that the settler makes them again."""

import os
import signal
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from tests.e2e.running import Running, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
MONTH = """
SELECT 'usage_record_' || to_char(date_trunc('month', now() AT TIME ZONE 'UTC')
  + %s * interval '1 month', 'YYYY_MM')
"""


def asked(product: Running, page: str) -> httpx.Response:
    return httpx.get(f"http://127.0.0.1:{product.operator_port}/{page}", timeout=10)


def readiness(product: Running) -> dict[str, Any]:
    answer = asked(product, "readyz")
    assert answer.status_code == 200, "clients are served all the same"
    return dict(answer.json())


def doctors_word(product: Running) -> tuple[str, str]:
    found = {row["check"]: row for row in product.cli("doctor")}["usage months"]
    return found["state"], found["detail"]


def drop_months(product: Running, *ahead: int) -> None:
    with psycopg.connect(product.admin_dsn, autocommit=True) as admin:
        for number in ahead:
            row = admin.execute(MONTH, (number,)).fetchone()
            assert row is not None
            admin.execute(f"DROP TABLE IF EXISTS {row[0]}".encode())


def test_missing_months_raise_an_alarm_and_are_made_again(tmp_path: Path) -> None:
    with Running(tmp_path) as product:
        wait_until(lambda: readiness(product).get("usage_months_ahead") == 2)
        assert "warnings" not in readiness(product)
        (settler,) = product.pids("bootstrap.settler")
        os.kill(settler, signal.SIGSTOP)
        try:
            drop_months(product, 1)
            found = readiness(product)
            assert found["usage_months_ahead"] == 0
            assert "the next month of usage has no table" in found["warnings"][0]
            assert "\njusinfer_usage_months_ahead 0\n" in asked(product, "metrics").text
            assert doctors_word(product)[0] == "warn"
            drop_months(product, 0, 2)
            assert readiness(product)["usage_months_ahead"] == -1
            assert "\njusinfer_usage_months_ahead -1\n" in asked(product, "metrics").text
        finally:
            os.kill(settler, signal.SIGCONT)
        wait_until(lambda: readiness(product).get("usage_months_ahead") == 2)
        assert "warnings" not in readiness(product)
        assert doctors_word(product) == ("ok", "2 made ahead")
        with psycopg.connect(product.admin_dsn) as admin:
            admin.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO jusinfer_mail")
        (found,) = (row for row in product.cli("doctor") if row["check"] == "rights to usage")
        assert found["detail"].startswith("jusinfer_mail has SELECT on 3 tables usage_record_")
