"""Plays the odd shapes through instructor: python odd_instructor.py <url> <key> <file of shapes>.

The file is a list of {model, text, calls, usage}; what differs is printed, a line each. A shape
with one call is asked for by the modes of one tool, one with more calls by the modes of parallel
tools, one whose text is a JSON object by the modes of JSON; other texts hold nothing that a
structured answer could be read from. It runs where instructor is installed and knows nothing of
this repository.
"""

import functools
import json
import operator
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import GenericAlias
from typing import Any, Final, NamedTuple

import instructor  # type: ignore[import-not-found]
from anthropic import Anthropic, AnthropicError
from instructor.core.exceptions import InstructorError  # type: ignore[import-not-found]
from openai import OpenAI, OpenAIError
from pydantic import BaseModel, create_model

ASKED: Final = ({"role": "user", "content": "Say hello."},)
REASON_CHARACTERS: Final = 300
SECONDS: Final = 20.0
TOKENS_MAX: Final = 1_000
# This mode always asks for one call at a time, which Workers AI has no setting for.
REFUSED: Final = "`tool_choice.disable_parallel_tool_use` cannot be sent to this model"

# The name of a class is that of its tool.
TOOLS: Final[Mapping[str, type[BaseModel]]] = {
    "get_weather": create_model("get_weather", __doc__="Say the weather.", city=(str, ...)),
    "get_time": create_model("get_time", __doc__="Say the time.", zone=(str, ...)),
    "ping": create_model("ping", __doc__="Do nothing."),
}


class Counted(BaseModel):
    """What the shapes hold whose text is JSON."""

    a: int


class Way(NamedTuple):
    """A mode of instructor: by which API, and for what kind of shape."""

    mode: str
    api: str
    kind: str


WAYS: Final = (
    Way("TOOLS", "chat", "call"),
    Way("TOOLS_STRICT", "chat", "call"),
    Way("RESPONSES_TOOLS", "responses", "call"),
    Way("ANTHROPIC_TOOLS", "messages", "call"),
    Way("PARALLEL_TOOLS", "chat", "calls"),
    Way("ANTHROPIC_PARALLEL_TOOLS", "messages", "calls"),
    Way("JSON", "chat", "json"),
    Way("JSON_SCHEMA", "chat", "json"),
    Way("MD_JSON", "chat", "json"),
    Way("ANTHROPIC_JSON", "messages", "json"),
)


def kind_of(shape: Mapping[str, Any]) -> str:
    """Tell how a shape can be asked for: `call`, `calls`, `json`, or empty."""
    if shape["calls"]:
        return "call" if len(shape["calls"]) == 1 else "calls"
    return "json" if shape["text"].lstrip().startswith("{") else ""


def client_of(way: Way, url: str, key: str) -> Any:
    """Make a client of instructor, which asks once."""
    mode = instructor.Mode[way.mode]
    options: dict[str, Any] = {"api_key": key, "max_retries": 0, "timeout": SECONDS}
    if way.api == "messages":
        return instructor.from_anthropic(Anthropic(base_url=url, **options), mode=mode)
    return instructor.from_openai(OpenAI(base_url=f"{url}/v1", **options), mode=mode)


def usage_of(completion: Any) -> list[int]:
    """Give the tokens of the prompt and of the answer, by the names of each API."""
    usage = completion.usage
    if hasattr(usage, "prompt_tokens"):
        return [usage.prompt_tokens, usage.completion_tokens]
    cached = getattr(usage, "cache_read_input_tokens", 0) or 0
    return [usage.input_tokens + cached, usage.output_tokens]


def play(client: Any, way: Way, shape: Mapping[str, Any], *, is_stream: bool) -> list[str]:
    """Ask for one shape; gives what is not as it must be."""
    asked: dict[str, Any] = {"model": shape["model"], "messages": list(ASKED), "max_retries": 0}
    if way.api == "messages":
        asked["max_tokens"] = TOKENS_MAX
    wanted: list[Any] = [given for _, given in shape["calls"]] or [json.loads(shape["text"])]
    kinds: list[type[BaseModel]] = [TOOLS[name] for name, _ in shape["calls"]] or [Counted]
    if way.kind == "calls":
        any_of_them = functools.reduce(operator.or_, TOOLS.values())
        several = GenericAlias(Iterable, (any_of_them,))
        answers = list(client.create(response_model=several, **asked))
    elif is_stream:
        answers = [*client.create_partial(response_model=kinds[0], **asked)][-1:]
    else:
        answer, completion = client.create_with_completion(response_model=kinds[0], **asked)
        answers = [answer]
        used = usage_of(completion)
        if shape["usage"][1] > 0 and used != shape["usage"]:
            return [f"usage is {used}, not {shape['usage']}"]
    found = [answer.model_dump() for answer in answers]
    names = [type(answer).__name__.removeprefix("Partial") for answer in answers]
    if found == wanted and names == [kind.__name__ for kind in kinds]:
        return []
    return [f"found {names} {found!r}, not {wanted!r}"]


def main(url: str, key: str, shapes: list[dict[str, Any]]) -> None:
    """Play all shapes by each mode that can ask for them, whole and, of one answer, streamed."""
    played = 0
    for way in WAYS:
        client = client_of(way, url, key)
        for shape in shapes:
            if kind_of(shape) != way.kind:
                continue
            for is_stream in (False,) if way.kind == "calls" else (True, False):
                played += 1
                try:
                    wrong = play(client, way, shape, is_stream=is_stream)
                except (AnthropicError, InstructorError, OpenAIError, ValueError) as error:
                    wrong = [f"{type(error).__name__}: {error}"[:REASON_CHARACTERS]]
                if way.mode == "ANTHROPIC_TOOLS" and shape["model"].startswith("oddcf/"):
                    wrong = [] if REFUSED in "".join(wrong) else ["not refused"]
                if wrong:
                    said = " ".join("; ".join(wrong).split())
                    print(
                        f"{way.mode} {shape['model']} {'stream' if is_stream else 'whole'}: {said}"
                    )
    print(f"played {played}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], json.loads(Path(sys.argv[3]).read_text(encoding="utf-8")))
