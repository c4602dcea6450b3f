"""What a request held is free once it is over: nothing waits for the garbage collector."""

import gc
import json

import pytest
from tests.golden.harness import Reply, play

from jusinfer.domain.completion import CompletionRequest
from jusinfer.domain.inference.admitted_request import AdmittedRequest
from jusinfer.domain.inference.pending_request import PendingRequest
from jusinfer.domain.inference.settlement import Settlement
from jusinfer.gateway.inference.attempt import StreamingAttempt, UnaryAttempt
from jusinfer.gateway.inference.handler import InferenceHandler

KINDS = (
    AdmittedRequest,
    CompletionRequest,
    InferenceHandler,
    PendingRequest,
    Settlement,
    StreamingAttempt,
    UnaryAttempt,
)
ASKED = {"model": "chat/model", "messages": [{"role": "user", "content": "Hi"}]}
WHOLE = (
    b'{"id":"a","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}'
)
# A played provider keeps the attempts of other answers itself.
REPLIES = {
    "whole": (ASKED, Reply(body=WHOLE)),
    "refused": ({"model": "nothing", "messages": []}, Reply(body=WHOLE)),
}


@pytest.mark.parametrize("name", REPLIES)
def test_nothing_of_a_request_waits_for_the_collector(name: str) -> None:
    asked, reply = REPLIES[name]
    gc.collect()
    gc.disable()
    try:
        play("chat", json.dumps(asked).encode(), reply, {})
        kept = [type(one).__name__ for one in gc.get_objects() if isinstance(one, KINDS)]
    finally:
        gc.enable()
    assert kept == []
