"""Whole answers that are nested as deep as can just be read: delivered and charged, or neither."""

import json

import pytest
from tests.golden.harness import Reply, play

CLIENTS = {
    "chat": {"messages": [{"role": "user", "content": "x"}]},
    "responses": {"input": "x"},
    "messages": {"max_tokens": 5, "messages": [{"role": "user", "content": "x"}]},
}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("depth", [50, 900, 960, 980, 990, 995, 998, 1_000, 1_010, 3_000])
def test_what_cannot_be_delivered_is_not_charged(client: str, depth: int) -> None:
    body = json.dumps({"model": "chat/model"} | CLIENTS[client]).encode()
    deep = "[" * depth + "]" * depth
    answer = (
        '{"id":"a","object":"chat.completion","created":5,"model":"m","choices":[{"index":0,'
        f'"message":{{"role":"assistant","content":"y","annotations":{deep}}},'
        '"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":9}}'
    )
    played = play(client, body, Reply(body=answer.encode()), {})
    assert played.ended is not None
    assert (played.status == 200) == (played.ended.charge_nano > 0), played.delivered
