"""The requests of the benchmark are what their rows say, and the product takes them."""

import json
from pathlib import Path

import pytest
from bench import bodies, settings
from bench.subjects import write_private

from jusinfer import config
from jusinfer.wire.inbound import openai_chat


@pytest.mark.parametrize(
    ("body", "size", "messages", "tools"),
    [
        (bodies.tiny("bench/model"), 627, 2, 0),
        (bodies.text("bench/model"), 202_000, 2, 0),
        (bodies.agent("bench/model", 101, bodies.AGENT_BYTES), 51_000, 101, 20),
        (bodies.agent("bench/model", 1_001, bodies.LONG_AGENT_BYTES), 201_000, 1_001, 20),
    ],
)
def test_bodies_have_their_sizes(body: bytes, size: int, messages: int, tools: int) -> None:
    read = json.loads(body)
    assert len(body) == size
    assert len(read["messages"]) == messages
    assert len(read.get("tools", [])) == tools
    assert openai_chat.decode_request(body).model == "bench/model"


def test_an_agent_s_body_has_what_agents_send() -> None:
    body = bodies.agent("bench/model", 101, bodies.AGENT_BYTES)
    roles = [message["role"] for message in json.loads(body)["messages"]]
    assert roles == ["system", *["user", "assistant", "tool"] * 33, "user"]
    assert not body.isascii()
    assert b"\\n" in body
    assert b'\\"' in body


def test_a_history_ends_with_a_user() -> None:
    with pytest.raises(ValueError, match="multiple of three"):
        bodies.agent("bench/model", 100, bodies.AGENT_BYTES)


def test_the_settings_offer_every_model_that_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "jusinfer.toml"
    write_private(file, settings.config(1001, 1002, tls=(1003, tmp_path / "ca.pem")))
    (tmp_path / "ca.pem").write_text("")
    read = config.load(config.Overrides(config_file=str(file)), {})
    config.require_private_file(read)
    offered = {model.id for entry in read.entries for model in entry.model}
    asked = {"bench/model", "bench/strong", "bench/claude", "bench/tls", *settings.STREAMS}
    assert asked <= offered
