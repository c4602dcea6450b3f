"""What real agents sent, played to the running product over each provider."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from tools.agents.product import Place, product, providers_for

from jusinfer.sandbox.agent.heard import Heard, heard_chat, heard_messages, heard_responses
from jusinfer.sandbox.agent.script import move

pytestmark = pytest.mark.slow
FOLDER = Path(__file__).with_name("requests")
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
FILE_BYTES_MAX = 40_000
RECORDED = "reason"


class Arrived(NamedTuple):
    """What an answer says to its client: text, and calls with their arguments."""

    text: str
    calls: list[tuple[str, Any]]


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with product() as made:
        yield made


def rows(name: str) -> list[dict[str, Any]]:
    read: list[dict[str, Any]] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return read


def events(text: str) -> list[dict[str, Any]]:
    lines = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def arrived_chat(text: str, *, is_stream: bool) -> Arrived:
    said, calls = "", dict[int, list[str]]()
    choices = [
        choice
        for body in (events(text) if is_stream else [json.loads(text)])
        for choice in body["choices"]
    ]
    for choice in choices:
        part = choice["delta" if is_stream else "message"]
        said += part.get("content") or ""
        for number, call in enumerate(part.get("tool_calls") or []):
            row = calls.setdefault(call.get("index", number), ["", ""])
            row[0] += call["function"].get("name") or ""
            row[1] += call["function"].get("arguments") or ""
    assert choices[-1]["finish_reason"] == ("tool_calls" if calls else "stop")
    return Arrived(said, [(name, json.loads(given)) for name, given in calls.values()])


def arrived_messages(text: str, *, is_stream: bool) -> Arrived:
    if not is_stream:
        blocks = json.loads(text)["content"]
        reason = json.loads(text)["stop_reason"]
    else:
        blocks, reason = [], ""
        for event in events(text):
            if event["type"] == "content_block_start":
                blocks.append(event["content_block"] | {"input": ""})
            elif event["type"] == "content_block_delta":
                delta = event["delta"]
                blocks[-1]["text"] = blocks[-1].get("text", "") + delta.get("text", "")
                blocks[-1]["input"] += delta.get("partial_json", "")
            elif event["type"] == "message_delta":
                reason = event["delta"]["stop_reason"]
    calls = [
        (block["name"], json.loads(block["input"]) if is_stream else block["input"])
        for block in blocks
        if block["type"] == "tool_use"
    ]
    assert reason == ("tool_use" if calls else "end_turn")
    return Arrived("".join(b["text"] for b in blocks if b["type"] == "text"), calls)


def arrived_responses(text: str, *, is_stream: bool) -> Arrived:
    body = json.loads(text) if not is_stream else events(text)[-1]["response"]
    assert body["status"] == "completed"
    output = body["output"]
    said = [p["text"] for item in output if item["type"] == "message" for p in item["content"]]
    calls = [
        (item["name"], json.loads(item["arguments"]))
        for item in output
        if item["type"] == "function_call"
    ]
    return Arrived("".join(said), calls)


APIS: dict[str, tuple[Callable[[Any], Heard], Callable[..., Arrived]]] = {
    "/chat/completions": (heard_chat, arrived_chat),
    "/messages": (heard_messages, arrived_messages),
    "/responses": (heard_responses, arrived_responses),
}


@pytest.mark.parametrize(
    ("name", "provider"),
    [(name, provider) for name in NAMES for provider in providers_for(name.rpartition("-")[2])],
)
def test_what_an_agent_sent_is_answered_in_its_clients_shape(
    place: Place, name: str, provider: str
) -> None:
    for row in rows(name):
        body = row["body"] | {"model": f"{provider}/mock-agent-{RECORDED}"}
        headers = {key: said.replace("KEY", place.key) for key, said in row["headers"].items()}
        if "authorization" in headers:
            headers["authorization"] = f"Bearer {place.key}"
        answer = httpx.post(f"{place.url}{row['path']}", json=body, headers=headers, timeout=30)
        assert answer.status_code == 200, answer.text
        path = row["path"].partition("?")[0].removeprefix("/v1")
        hear, arrive = APIS[path]
        arrived = arrive(answer.text, is_stream=bool(body.get("stream")))
        wanted = move(RECORDED, hear(body))
        assert arrived.text == wanted.text
        calls = [(act.tool.name, json.loads(act.arguments)) for act in wanted.acts]
        assert arrived.calls == calls


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_is_small_and_tells_nothing_of_the_machine(name: str) -> None:
    text = (FOLDER / f"{name}.json").read_text(encoding="utf-8")
    assert len(text.encode()) < FILE_BYTES_MAX
    for word in ("ji_live_", "/ro" + "ot/", "/wo" + "rk/", "x86_64"):
        assert word not in text
    kinds = [hear(row["body"]) for row in rows(name) for hear in [_hear(row)]]
    assert any(heard.is_task and not heard.results for heard in kinds)
    assert any(heard.results or heard.edit for heard in kinds)


def _hear(row: dict[str, Any]) -> Callable[[Any], Heard]:
    return APIS[row["path"].partition("?")[0].removeprefix("/v1")][0]
