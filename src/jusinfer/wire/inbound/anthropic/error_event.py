"""An error in the middle of a stream, as an event of Anthropic Messages."""

from typing import Final

import msgspec

from jusinfer.wire.error_kinds import is_refusal, with_code

_encode: Final = msgspec.json.Encoder().encode


def error_event(code: str, message: str) -> bytes:
    """Write an error event as Anthropic does.

    Clients ask again where its words are among those that they know; `api_error`, which Anthropic
    gives for what a server failed at, is not among them in every client, `server error` is.
    """
    said = with_code(code, message)
    if "overload" in code:
        kind = "overloaded_error"
    elif code == "rate_limit_exceeded":
        kind = "rate_limit_error"
    elif is_refusal(code):
        kind = "invalid_request_error"
    else:
        kind, said = "api_error", f"server error: {said}"
    error = {"type": kind, "message": said}
    return b"event: error\ndata: %b\n\n" % _encode({"type": "error", "error": error})
