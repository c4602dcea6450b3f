"""What survives when processes are killed, the database is away, and workers drain."""

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest
from tests.e2e.running import Running, children, is_alive, kill, wait_until
from tests.money import assert_books_are_right, balance

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
US_PER_SECOND = 1_000_000


class Load:
    """Clients that ask without pause and keep the ids of what they were answered."""

    def __init__(self, product: Running, model: str, clients: int, **fields: object) -> None:
        self.answered: list[str] = []
        self.refused: list[int] = []
        self.cut = 0
        self._stop = threading.Event()
        self._product = product
        self._body = {"model": model, "messages": [{"role": "user", "content": "Hi"}]} | fields
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]

    @contextmanager
    def running(self) -> Iterator["Load"]:
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join(30)

    def _run(self) -> None:
        url = f"http://127.0.0.1:{self._product.port}/v1/chat/completions"
        headers = {"authorization": f"Bearer {self._product.key}"}
        while not self._stop.is_set():
            try:
                answer = httpx.post(url, json=self._body, headers=headers, timeout=20)
            except httpx.HTTPError:
                self.cut += 1
                time.sleep(0.05)
                continue
            if answer.status_code == 200 and self._is_whole(answer):
                self.answered.append(answer.headers["x-jusinfer-completion-id"])
            elif answer.status_code == 200:
                self.cut += 1
            else:
                self.refused.append(answer.status_code)

    def _is_whole(self, answer: httpx.Response) -> bool:
        return not self._body.get("stream") or "data: [DONE]" in answer.text


@contextmanager
def held(product: Running, count: int) -> Iterator[None]:
    """Keep streams under way, however slow the machine is: each takes nearly a minute."""
    url = f"http://127.0.0.1:{product.port}/v1/chat/completions"
    headers = {"authorization": f"Bearer {product.key}"}
    messages = [{"role": "user", "content": "Hi"}]
    body = {"model": "sandbox/slow?ms=500&n=100", "messages": messages, "stream": True}
    with contextlib.ExitStack() as open_streams:
        client = open_streams.enter_context(httpx.Client(timeout=20))
        for _ in range(count):
            asked = client.stream("POST", url, json=body, headers=headers)
            answer = open_streams.enter_context(asked)
            assert answer.status_code == 200
            assert next(answer.iter_lines()).startswith("data: ")
        yield


def posted(dsn: str) -> dict[str, str]:
    """Give every posted completion with its outcome; each stands once."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT completion_id, outcome FROM usage_record").fetchall()
    ids = [str(row[0]).replace("-", "") for row in rows]
    assert len(ids) == len(set(ids))
    return dict(zip(ids, (row[1] for row in rows), strict=True))


def wait_for_posting(product: Running, answered: list[str]) -> dict[str, str]:
    wait_until(lambda: set(answered) <= set(posted(product.dsn)), 30)
    return posted(product.dsn)


def test_a_killed_worker_loses_no_finished_completion(tmp_path: Path) -> None:
    with Running(tmp_path, workers=2) as product:
        before = product.gateways
        load = Load(product, "sandbox/slow?ms=50&n=20", 12, stream=True)
        with held(product, 4), load.running():
            wait_until(lambda: len(load.answered) > 20)
            # Both, one after the other: the kernel may have given all connections to one of them.
            for worker in before:
                kill(worker)
                wait_until(
                    lambda worker=worker: (
                        len(product.gateways) == 2  # type: ignore[misc]
                        and worker not in product.gateways
                    )
                )
            seen = len(load.answered)
            wait_until(lambda: len(load.answered) > seen + 20)
        outcomes = wait_for_posting(product, load.answered)
        wait_until(lambda: "interrupted" in posted(product.dsn).values())
        outcomes = posted(product.dsn)
        assert load.cut > 0
        assert load.refused == []
        assert all(outcomes[name] == "completed" for name in load.answered)
        with psycopg.connect(product.dsn) as connection:
            charged = connection.execute(
                "SELECT sum(charge_nano) FROM usage_record WHERE outcome = 'interrupted'"
            ).fetchone()
        assert charged == (0,)
        assert_books_are_right(product.dsn)


def test_a_settler_killed_again_and_again_posts_everything_once(tmp_path: Path) -> None:
    with Running(tmp_path) as product:
        with Load(product, "sandbox/tokens?n=3", 6).running() as load:
            for _ in range(4):
                wait_until(lambda: product.pids("bootstrap.settler"))
                seen = len(load.answered)
                wait_until(lambda seen=seen: len(load.answered) > seen + 12)  # type: ignore[misc]
                for pid in product.pids("bootstrap.settler"):
                    kill(pid)
        assert load.refused == []
        assert len(load.answered) > 50
        wait_for_posting(product, load.answered)
        assert_books_are_right(product.dsn)


def test_a_database_that_is_away_stops_nobody_who_is_known(tmp_path: Path) -> None:
    with Running(tmp_path) as product:
        assert product.ask("sandbox/plain").status_code == 200
        postmaster = int((product.data_dir / "postgres" / "postmaster.pid").read_text().split()[0])
        frozen = [postmaster, *children(postmaster)]
        with Load(product, "sandbox/tokens?n=3", 4).running() as load:
            for pid in frozen:
                os.kill(pid, signal.SIGSTOP)
            try:
                seen = len(load.answered)
                began = time.monotonic()
                unknown = product.ask("sandbox/plain", key="ji_test_" + "u" * 43)
                assert unknown.status_code == 503
                assert int(unknown.headers["retry-after"]) > 0
                time.sleep(max(0.0, 6 - (time.monotonic() - began)))
                wait_until(lambda: len(load.answered) > seen + 50, 20)
            finally:
                for pid in frozen:
                    os.kill(pid, signal.SIGCONT)
            time.sleep(1)
        assert load.refused == []
        assert load.cut == 0
        wait_for_posting(product, load.answered)
        assert_books_are_right(product.dsn)


def test_a_database_that_dies_is_started_again_and_nothing_is_lost(tmp_path: Path) -> None:
    with Running(tmp_path) as product:
        with Load(product, "sandbox/tokens?n=3", 4).running() as load:
            wait_until(lambda: len(load.answered) > 30)
            pid = int((product.data_dir / "postgres" / "postmaster.pid").read_text().split()[0])
            os.kill(pid, signal.SIGQUIT)
            wait_until(lambda: not is_alive(pid))
            wait_until(product.ready)
            seen = len(load.answered)
            wait_until(lambda: len(load.answered) > seen + 30)
        assert load.refused == []
        wait_for_posting(product, load.answered)
        assert_books_are_right(product.dsn)


def test_what_a_dead_database_left_behind_keeps_a_new_one_out_only_for_a_while(
    tmp_path: Path,
) -> None:
    with Running(tmp_path) as product:
        assert product.ask("sandbox/plain").status_code == 200
        postmaster = int((product.data_dir / "postgres" / "postmaster.pid").read_text().split()[0])
        backends = children(postmaster)
        # They cannot see that their parent has gone, and hold its shared memory.
        for pid in backends:
            os.kill(pid, signal.SIGSTOP)
        try:
            os.kill(postmaster, signal.SIGKILL)
            wait_until(lambda: product.err.read_text().count('"name":"postgres"') > 1, 60)
            assert product.ask("sandbox/plain").status_code == 200
        finally:
            for pid in backends:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        wait_until(product.ready, 60)
        assert product.ask("sandbox/plain").status_code == 200


def test_a_revoked_key_stops_in_every_worker_within_a_second(tmp_path: Path) -> None:
    with Running(tmp_path, workers=2) as product:
        made = product.cli("keys", "create", "--mode", "test")
        for _ in range(20):
            assert product.ask("sandbox/plain", key=made["key"]).status_code == 200
        used = httpx.get(f"http://127.0.0.1:{product.operator_port}/metrics", timeout=10).text
        assert 'worker="0",upstream="sandbox"' in used
        assert 'worker="1",upstream="sandbox"' in used
        assert product.cli("keys", "revoke", made["key_id"])["revoked"] == [made["key_id"]]
        time.sleep(1)
        statuses = {product.ask("sandbox/plain", key=made["key"]).status_code for _ in range(20)}
        assert statuses == {401}
        assert product.ask("sandbox/plain").status_code == 200


def test_a_killed_supervisor_takes_everything_with_it(tmp_path: Path) -> None:
    product = Running(tmp_path)
    product.start()
    below = [pid for pid in children(product.pid) if pid not in product.pids("postgres")]
    assert len(below) >= 4
    kill(product.pid)
    wait_until(lambda: not [pid for pid in below if is_alive(pid)], 20)
    # The next start finds the database as it was left, and the same key.
    product.start()
    assert product.ask("sandbox/plain").status_code == 200
    product.stop()


def is_under_way(product: Running, model: str) -> bool:
    """Whether the sandbox has begun the body of an answer of this model."""
    return bool(product.sandbox("counts").get(model, {}).get("tokens"))


def test_a_running_stream_is_finished_before_the_end(tmp_path: Path) -> None:
    model = "sandbox/slow?ms=50&n=40"
    with Running(tmp_path) as product:
        answer: list[httpx.Response] = []
        asking = threading.Thread(target=lambda: answer.append(product.ask(model, stream=True)))
        asking.start()
        wait_until(lambda: is_under_way(product, model))
        assert product.stop() == 0
        asking.join(20)
    assert "data: [DONE]" in answer[0].text


def test_a_stream_past_the_drain_ends_honestly(tmp_path: Path) -> None:
    config = "[gateway]\ndrain_seconds = 1.0\n"
    model = "sandbox/slow?ms=50&n=1000"
    with Running(tmp_path, config=config) as product:
        answer: list[httpx.Response] = []
        asking = threading.Thread(target=lambda: answer.append(product.ask(model, stream=True)))
        asking.start()
        wait_until(lambda: is_under_way(product, model))
        assert product.stop() == 0
        asking.join(20)
    events = [line[6:] for line in answer[0].text.splitlines() if line.startswith("data: ")]
    assert json.loads(events[-1])["error"]["code"] == "gateway_stopped"
    assert "[DONE]" not in answer[0].text


def test_credit_that_does_not_suffice_is_refused_with_what_would(tmp_path: Path) -> None:
    with Running(tmp_path) as product:
        tenant = product.cli("tenants", "create", "poor")[0]["tenant_id"]
        key = product.cli("keys", "create", "--tenant", "poor", "--mode", "test")["key"]
        # All but two cents are taken away.
        product.cli(
            "credits", "adjust", "poor", "-999.98", "--mode", "test", "--reason", "to be poor"
        )
        dear = product.ask("gpt-6-astra", key=key, max_tokens=100_000)
        assert dear.status_code == 402
        error = dear.json()["error"]
        assert error["code"] == "insufficient_credit"
        assert 0 < error["affordable_max_tokens"] < 100_000
        assert float(error["available_usd"]) == 0.02
        less = product.ask("gpt-6-astra", key=key, max_tokens=error["affordable_max_tokens"])
        assert less.status_code == 200
        clamped = product.ask("gpt-6-astra", key=key)
        assert clamped.status_code == 200
        assert 0 < int(clamped.headers["x-jusinfer-output-tokens-max"]) < 400
        wait_until(lambda: len(posted(product.dsn)) == 2)
        assert balance(product.dsn, tenant, "test")[0] > 0


def test_a_sandbox_that_was_killed_is_found_again(tmp_path: Path) -> None:
    with Running(tmp_path) as product:
        for _ in range(2):
            for pid in product.pids("jusinfer.sandbox"):
                kill(pid)
            wait_until(lambda: product.ask("sandbox/plain").status_code == 200, 20)
