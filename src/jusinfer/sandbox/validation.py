"""What OpenAI would refuse, and the error it would refuse it with."""

from collections.abc import Mapping
from typing import Any, Final, Self

ROLES: Final = frozenset({"developer", "system", "user", "assistant", "tool", "function"})
CHOICES_MAX: Final = 128
STOPS_MAX: Final = 4
LOGPROBS_MAX: Final = 20
DIMENSIONS_MAX: Final = 4_096
INPUTS_MAX: Final = 2_048
FORMATS: Final = frozenset({"text", "json_object", "json_schema"})
TOOL_CHOICES: Final = frozenset({"none", "auto", "required"})
_RANGES: Final[Mapping[str, tuple[float, float]]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "frequency_penalty": (-2, 2),
    "presence_penalty": (-2, 2),
    "n": (1, CHOICES_MAX),
    "max_tokens": (1, 1e9),
    "max_completion_tokens": (1, 1e9),
    "top_logprobs": (0, LOGPROBS_MAX),
    "dimensions": (1, DIMENSIONS_MAX),
}
_WHOLE: Final = frozenset(
    {"n", "max_tokens", "max_completion_tokens", "top_logprobs", "dimensions"}
)


class Refused(Exception):
    """The request is refused, in OpenAI's shape."""

    def __init__(self, status: int, error: dict[str, Any]) -> None:
        super().__init__(error["message"])
        self.status = status
        self.body: dict[str, Any] = {"error": error}

    @classmethod
    def of(
        cls, message: str, param: str | None = None, code: str | None = None, status: int = 400
    ) -> Self:
        """Refuse with the usual type."""
        kind = "invalid_request_error"
        return cls(status, {"message": message, "type": kind, "param": param, "code": code})


def judge_chat(request: object) -> dict[str, Any]:
    """Give the request back if Chat Completions would take it."""
    checked = _object_with_model(request)
    messages = checked.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refused.of("'messages' must be a non-empty array", "messages", "invalid_value")
    for number, message in enumerate(messages):
        _judge_message(message, f"messages[{number}]")
    _judge_ranges(checked)
    _judge_stream(checked)
    _judge_stop(checked.get("stop"))
    _judge_tools(checked)
    shape = checked.get("response_format")
    if shape is not None and (not isinstance(shape, dict) or shape.get("type") not in FORMATS):
        raise Refused.of("unknown response format", "response_format.type", "invalid_value")
    return checked


def judge_embeddings(request: object) -> dict[str, Any]:
    """Give the request back if Embeddings would take it."""
    checked = _object_with_model(request)
    asked = checked.get("input")
    is_list = isinstance(asked, list) and 0 < len(asked) <= INPUTS_MAX
    if not (isinstance(asked, str) and asked) and not is_list:
        raise Refused.of("'input' must be a text or an array", "input", "invalid_value")
    if checked.get("encoding_format", "float") not in {"float", "base64"}:
        raise Refused.of("must be float or base64", "encoding_format", "invalid_value")
    _judge_ranges(checked)
    return checked


def _object_with_model(request: object) -> dict[str, Any]:
    if not isinstance(request, dict):
        raise Refused.of("the body must be a JSON object", None, "invalid_type")
    if not isinstance(request.get("model"), str) or not request["model"]:
        raise Refused.of("you must provide a model parameter", "model", "missing_parameter")
    return request


def _judge_message(message: object, where: str) -> None:
    if not isinstance(message, dict):
        raise Refused.of("a message must be an object", where, "invalid_type")
    role = message.get("role")
    if not isinstance(role, str) or role not in ROLES:
        expected = ", ".join(sorted(ROLES))
        raise Refused.of(f"this role is not one of {expected}", f"{where}.role", "invalid_value")
    content = message.get("content")
    is_empty_allowed = role in {"assistant", "function"}
    if not isinstance(content, str | list) and not (content is None and is_empty_allowed):
        raise Refused.of(
            "content must be a text or an array of parts", f"{where}.content", "invalid_type"
        )
    if isinstance(content, list):
        for number, part in enumerate(content):
            if not isinstance(part, dict) or not isinstance(part.get("type"), str):
                raise Refused.of(
                    "a part must be an object with a type",
                    f"{where}.content[{number}].type",
                    "missing_parameter",
                )
    if role == "tool" and not isinstance(message.get("tool_call_id"), str):
        raise Refused.of(
            "a tool message answers a tool call", f"{where}.tool_call_id", "missing_parameter"
        )


def _judge_ranges(request: dict[str, Any]) -> None:
    for name, (least, most) in _RANGES.items():
        value = request.get(name)
        if value is None:
            continue
        kinds = int if name in _WHOLE else int | float
        if isinstance(value, bool) or not isinstance(value, kinds):
            raise Refused.of(f"'{name}' must be a number", name, "invalid_type")
        if not least <= value <= most:
            raise Refused.of(
                f"'{name}' must be from {least} to {most:g}", name, "integer_out_of_range"
            )


def _judge_stream(request: dict[str, Any]) -> None:
    stream, options = request.get("stream"), request.get("stream_options")
    if stream is not None and not isinstance(stream, bool):
        raise Refused.of("'stream' must be true or false", "stream", "invalid_type")
    if options is None:
        return
    if not stream:
        raise Refused.of("only allowed when 'stream' is true", "stream_options", "invalid_value")
    if not isinstance(options, dict):
        raise Refused.of("'stream_options' must be an object", "stream_options", "invalid_type")


def _judge_stop(stop: object) -> None:
    stops = stop if isinstance(stop, list) else [stop or "x"]
    if len(stops) > STOPS_MAX or not all(isinstance(item, str) and item for item in stops):
        raise Refused.of("'stop' must be a text or up to four", "stop", "invalid_value")


def _judge_tools(request: dict[str, Any]) -> None:
    tools = request.get("tools")
    if tools is not None and not isinstance(tools, list):
        raise Refused.of("'tools' must be an array", "tools", "invalid_type")
    known = {_tool_name(tool, f"tools[{number}]") for number, tool in enumerate(tools or [])}
    choice = request.get("tool_choice")
    if choice is None:
        return
    if not tools and choice != "none":
        raise Refused.of("only allowed when 'tools' are given", "tool_choice", "invalid_value")
    if isinstance(choice, str) and choice in TOOL_CHOICES:
        return
    if not isinstance(choice, dict):
        raise Refused.of("unknown tool choice", "tool_choice", "invalid_value")
    if choice.get("type") == "allowed_tools":
        return
    if _tool_name(choice, "tool_choice") not in known:
        raise Refused.of("names a tool that was not given", "tool_choice", "invalid_value")


def _tool_name(tool: object, where: str) -> str:
    if isinstance(tool, dict):
        kind = tool.get("type")
        body = tool.get(kind) if kind in {"function", "custom"} else None
        if isinstance(body, dict) and isinstance(body.get("name"), str) and body["name"]:
            return str(body["name"])
    raise Refused.of("a tool must have a type and a name", where, "missing_parameter")
