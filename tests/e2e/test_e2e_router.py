"""The router in the running product: chosen, explained, recorded, and ruled by an operator."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.e2e.running import Running, wait_until

from jusinfer import rules

CANARY = "canary-4c1d"
BUILTIN = rules.builtin()
CODE = f"```\n{CANARY}\n```"

pytestmark = [pytest.mark.slow, pytest.mark.enable_socket]


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with Running(tmp_path_factory.mktemp("router")) as running:
        yield running


def post(
    product: Running, path: str, words: str, key: str = "", headers: Any = None, **more: Any
) -> httpx.Response:
    body = {
        "model": "jusinfer/auto",
        "messages": [{"role": "user", "content": words}],
        "max_tokens": 300,
    } | more
    return httpx.post(
        f"http://127.0.0.1:{product.port}/v1/{path}",
        json=body,
        headers={"authorization": f"Bearer {key or product.key}"} | (headers or {}),
        timeout=30,
    )


def chat(product: Running, words: str, **more: Any) -> httpx.Response:
    answer = post(product, "chat/completions", words, **more)
    assert answer.status_code == 200, answer.text
    return answer


def generation(product: Running, answer: httpx.Response) -> Any:
    found = httpx.get(
        f"http://127.0.0.1:{product.port}/v1/generation",
        params={"id": answer.headers["x-jusinfer-completion-id"]},
        headers={"authorization": f"Bearer {product.key}"},
        timeout=30,
    )
    return found.json()["data"]["jusinfer"]


def run(
    product: Running, *arguments: str, words: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "jusinfer", *arguments, *product.common],
        input=words,
        capture_output=True,
        timeout=60,
        check=False,
    )


def test_a_choice_is_explained_wherever_it_can_be_asked_for(product: Running) -> None:
    words = f"{CODE} one, two, three, four, five"
    told = post(product, "route", words).json()
    answer = chat(product, words, route={"include": True})
    header = answer.headers["x-jusinfer-route"]
    assert header.startswith("code+3,clauses+1,")
    assert header.endswith(f";v={BUILTIN.table.version}")
    shown = answer.json()["route"]
    assert shown["sentence"] == told["sentence"]
    assert shown["served"]["model"] == answer.headers["x-jusinfer-model"] == told["model"]
    assert "the message contains code" in shown["sentence"]
    assert [one["code"] for one in told["reasons"]] == header.partition(";")[0].split(",")
    receipt = generation(product, answer)
    assert ",".join(receipt["reasons"]) == header.partition(";")[0]
    assert receipt["rules_version"] == BUILTIN.table.version
    completion_id = answer.headers["x-jusinfer-completion-id"]
    explained = product.cli("route", "explain", completion_id)
    assert "the message contains code" in explained["sentence"]
    assert explained["table_version"] == BUILTIN.table.version
    aloud = run(product, "route", "explain", completion_id)
    assert aloud.returncode == 0
    for said in (json.dumps(told), header, json.dumps(shown), str(receipt), aloud.stdout.decode()):
        assert CANARY not in said


def test_a_stream_carries_its_route_on_request(product: Running) -> None:
    answer = chat(product, CODE, stream=True, route={"include": True})
    events = [line[6:] for line in answer.text.splitlines() if line.startswith("data: {")]
    last = json.loads(events[-1])
    assert last["route"]["sentence"].endswith(f"table {BUILTIN.table.version}.")
    assert "usage" in last
    assert not any('"route"' in event for event in events[:-1])
    plain = chat(product, CODE, stream=True)
    assert '"route"' not in plain.text
    assert '"route"' not in chat(product, CODE, route="fallback").text


def test_a_declared_task_counts_instead_of_words(product: Running) -> None:
    by_header = chat(product, CODE, headers={"x-jusinfer-task": "facts"})
    assert "task_plain-2" in by_header.headers["x-jusinfer-route"]
    assert "code+3" not in by_header.headers["x-jusinfer-route"]
    by_metadata = chat(product, "hello there", metadata={"task": "code"})
    assert "task_code+3" in by_metadata.headers["x-jusinfer-route"]
    assert "code" not in chat(product, "hello", metadata={"task": "x"}).headers["x-jusinfer-route"]
    wrong = post(product, "chat/completions", "hello", headers={"x-jusinfer-task": CANARY})
    assert wrong.status_code == 400
    assert wrong.json()["error"]["param"] == "x-jusinfer-task"
    assert CANARY not in wrong.text


def test_a_conversation_stays_with_its_model(product: Running) -> None:
    opening = f"```\nwarm {CANARY}\n```"
    first = chat(product, opening, model="jusinfer/auto:gpt-6-astra")
    turns = [
        {"role": "user", "content": opening},
        {"role": "assistant", "content": "done"},
        {"role": "user", "content": "who wrote it?"},
    ]
    second = chat(product, "", messages=turns)
    assert second.headers["x-jusinfer-model"] == first.headers["x-jusinfer-model"]
    assert "kept_warm" in second.headers["x-jusinfer-route"]
    fresh = chat(product, "who wrote it?")
    assert "kept_warm" not in fresh.headers["x-jusinfer-route"]


def test_any_dial_can_be_named(product: Running) -> None:
    seen = {}
    for dial in ("cheap", "balanced", "best", "fast"):
        answer = chat(product, "hello", model=f"jusinfer/auto:{dial}")
        seen[dial] = answer.headers["x-jusinfer-route"].split(",")[0]
    assert seen["cheap"] == "asked_cheap"
    assert seen["best"] == "asked_best"
    assert seen["fast"] == "asked_fast"


def test_an_operator_edits_tests_activates_and_takes_back_a_table(
    product: Running, tmp_path: Path
) -> None:
    def version() -> str:
        return chat(product, CODE).headers["x-jusinfer-route"].rpartition("v=")[2]

    assert version() == BUILTIN.table.version
    path = tmp_path / "own.toml"
    path.write_text(BUILTIN.text.replace("points = 3", "points = 33", 1), "utf-8")
    bad = run(product, "rules", "check", str(path))
    assert bad.returncode == 2
    line = path.read_text().split("points = 33")[0].count("\n") + 1
    assert f"own.toml:{line} " in bad.stderr.decode()
    edited = BUILTIN.text.replace(BUILTIN.table.version, "mine.1")
    path.write_text(edited.replace("points = 3", "points = 4", 1), "utf-8")
    assert product.cli("rules", "check", str(path))["version"] == "mine.1"
    compared = product.cli("rules", "diff", str(path))
    assert {one["rule"] for one in compared["changes"]} == {"version", "signal code"}
    assert compared["moved"]["weaker"] == 0
    request = tmp_path / "request.json"
    body = {"model": "jusinfer/auto", "messages": [{"role": "user", "content": CODE}]}
    request.write_text(json.dumps(body), "utf-8")
    tried = product.cli("route", "explain", str(request), "--rules", str(path))
    assert tried["table_version"] == "mine.1"
    assert tried["reasons"][0]["reason"] == "code+4"
    assert product.cli("rules", "activate", str(path))["version"] == "mine.1"
    wait_until(lambda: version() == "mine.1", 10)
    answer = chat(product, CODE)
    assert "code+4" in answer.headers["x-jusinfer-route"]
    assert generation(product, answer)["rules_version"] == "mine.1"
    assert product.cli("rules", "rollback")["version"] == BUILTIN.table.version
    wait_until(lambda: version() == BUILTIN.table.version, 10)
    old = product.cli("route", "explain", answer.headers["x-jusinfer-completion-id"])
    assert old["table_version"] == "mine.1"
    assert old["sentence"].endswith("table mine.1.")
    listed = [row["version"] for row in product.cli("rules", "list")]
    assert listed[-3:] == [BUILTIN.table.version, "mine.1", BUILTIN.table.version]
    assert run(product, "rules", "show").stdout.decode() == BUILTIN.text


def test_a_table_that_was_spoiled_by_hand_is_not_taken(product: Running, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(BUILTIN.text.replace(BUILTIN.table.version, "mine.2"), "utf-8")
    product.cli("rules", "activate", str(path))
    active = product.data_dir / "rules" / "active.toml"
    active.write_text("version = ", "utf-8")
    wait_until(lambda: "rules_refused" in product.err.read_text(), 10)
    assert chat(product, CODE).headers["x-jusinfer-route"]
    product.cli("rules", "rollback", "builtin")
    wait_until(
        lambda: chat(product, CODE).headers["x-jusinfer-route"].endswith(BUILTIN.table.version), 10
    )


def test_a_request_is_explained_from_standard_input(product: Running) -> None:
    body = {"model": "jusinfer/auto:best", "messages": [{"role": "user", "content": CANARY}]}
    said = run(product, "route", "explain", "-", words=json.dumps(body).encode())
    assert said.returncode == 0, said.stderr
    assert b"the strongest was asked for" in said.stdout
    assert CANARY.encode() not in said.stdout
    for wrong in ("none.json", "0" * 32, "odd"):
        assert run(product, "route", "explain", wrong).returncode == 1
    assert run(product, "route", "--hint", "nothing").returncode == 1


def test_a_tenant_has_a_dial_and_a_cap_on_a_call(product: Running) -> None:
    tenant = product.cli("tenants", "create", "choosy")[0]["tenant_id"]
    product.cli("grant", "choosy", "5", "--reason", "test", "--mode", "test")
    key = product.cli("keys", "create", "--tenant", "choosy", "--mode", "test")["key"]
    before = post(product, "chat/completions", "hello", key)
    assert before.status_code == 200
    product.cli("tenants", "policy", tenant, "--dial", "best")
    wait_until(
        lambda: (
            "asked_best"
            in post(product, "chat/completions", "hello", key).headers["x-jusinfer-route"]
        ),
        10,
    )
    bad = run(product, "tenants", "policy", tenant, "--dial", "sideways")
    assert b"sideways is not one of" in bad.stderr


def test_no_word_of_a_request_is_left_behind(product: Running) -> None:
    chat(product, f"{CODE} why", metadata={"task": CANARY})
    metrics = httpx.get(f"http://127.0.0.1:{product.operator_port}/metrics", timeout=10).text
    assert "jusinfer_completions_total" in metrics
    assert CANARY not in metrics
    assert CANARY not in product.err.read_text()
    assert CANARY not in product.out.read_text()
    for path in product.data_dir.rglob("*"):
        if path.is_file():
            assert CANARY.encode() not in path.read_bytes(), path
