import copy
import json
import pickle

import msgspec
import pytest

from jusinfer.domain.inference.request import CompletionRequest
from jusinfer.domain.routing.features import RequestFeatures

CANARY = "canary-in-a-prompt"


def request() -> CompletionRequest:
    return CompletionRequest(
        model=CANARY,
        is_stream=True,
        wants_usage=False,
        output_tokens_max=5,
        choice_count=1,
        fields={"messages": msgspec.Raw(f'"{CANARY}"'.encode())},
        traits=RequestFeatures(
            input_tokens=1, input_tokens_max=2, output_tokens_max=5, message_count=1
        ),
        body_bytes=77,
    )


@pytest.mark.parametrize("show", [repr, str, "{}".format, ascii])
def test_a_request_shows_sizes_only(show: object) -> None:
    text = show(request())  # type: ignore[operator]
    assert text == "CompletionRequest(1 fields, 77 bytes)"


@pytest.mark.parametrize(
    "write",
    [
        pickle.dumps,
        copy.copy,
        copy.deepcopy,
        json.dumps,
        msgspec.json.encode,
        msgspec.msgpack.encode,
        msgspec.to_builtins,
        vars,
    ],
)
def test_a_request_cannot_be_written_anywhere(write: object) -> None:
    with pytest.raises(TypeError) as caught:
        write(request())  # type: ignore[operator]
    assert CANARY not in str(caught.value)


def test_a_request_keeps_what_it_was_given() -> None:
    asked = request()
    assert (asked.model, asked.is_stream, asked.wants_usage) == (CANARY, True, False)
    assert (asked.output_tokens_max, asked.choice_count, asked.body_bytes) == (5, 1, 77)
    assert asked.traits.message_count == 1
    assert bytes(asked.fields["messages"]) == b'"canary-in-a-prompt"'
