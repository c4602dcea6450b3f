"""What the model behind an agent does next: a thought, a text, calls; by the model's name."""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from jusinfer.sandbox.agent import tools as act
from jusinfer.sandbox.agent.heard import Heard
from jusinfer.sandbox.agent.tools import Act
from jusinfer.sandbox.text import words

NAME: Final = re.compile(r"mock-agent(?:-([a-z]+))?")
KINDS: Final[Mapping[str, str]] = {
    "": "one tool call, then an answer that quotes what the tool said",
    "parallel": "two calls at once",
    "sequence": "three calls, one after another: write, read, count",
    "reason": "thinks before each call and before the answer",
    "image": "makes an image, looks at it, and says whether one arrived",
    "context": "a call whose result is long, one more after it, and how long the prompt became",
    "long": "a call, then an answer of some thousand words",
    "cut": "the first stream breaks off in the middle",
    "limit": "the first request meets the rate limit",
    "overflow": "every request is too long for the model",
}
QUOTE_CHARACTERS: Final = 400
LONG_WORDS: Final = 3_000
THOUGHT_WORDS: Final = 12
FILE: Final = "proof.txt"
IMAGE_FILE: Final = "proof.png"
FOLDER: Final = re.compile(r"folder=(/[^\s\"\\]+)")
# One red pixel.
PIXEL: Final = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAE"
    "hQGAhKmMIQAAAABJRU5ErkJggg=="
)
UNABLE: Final = "None of the tools that are offered can do this."
SEEN: Final = "image-seen"


class Move(NamedTuple):
    """One answer of the model."""

    thought: str
    text: str
    acts: list[Act]


def kind_of(model: str) -> str | None:
    """Tell which script a model's name asks for; None when it asks for none."""
    found = NAME.search(model)
    if found is None or (found[1] or "") not in KINDS:
        return None
    return found[1] or ""


def proof_of(marker: str) -> str:
    """Give the text that only a tool can have said: the task holds the marker, not the sum."""
    return f"proof-{marker}-42"


def move(kind: str, heard: Heard) -> Move:
    """Decide what to say and to call next."""
    thought = ""
    if kind == "reason":
        seed = f"{heard.marker}{len(heard.results)}"
        thought = "".join(words(seed, THOUGHT_WORDS))
    if not heard.is_task:
        return Move(thought, "Amber basin", [])
    if heard.edit:
        return Move(thought, _edited(heard), [])
    acts = _next(kind, heard)
    if acts:
        return Move(thought, "Let me see what the tool says about it.", acts)
    text = _ending(kind, heard)
    last = act.end(heard.tools, text)
    return Move(thought, text, []) if last is None else Move(thought, "Done now.", [last])


def _next(kind: str, heard: Heard) -> list[Act]:
    """Give the calls of the step that the results so far have led to; none at the end."""
    at = 0
    for step in _steps(kind, heard):
        acts = [one for one in step if one is not None]
        if at == len(heard.results):
            return acts
        at += len(acts)
    return []


def _steps(kind: str, heard: Heard) -> list[list[Act | None]]:
    tools, marker = heard.tools, heard.marker
    prove = f"printf 'proof-%s-%d\\n' {marker} $((40 + 2))"
    first = act.shell(tools, f"{prove} > {FILE} && cat {FILE}") or _written(heard)
    place = FOLDER.search(heard.results[0]) if heard.results else None
    folder = place[1] if place else "."
    if kind == "parallel":
        return [[first, act.shell(tools, f"printf 'second-%s-%d\\n' {marker} $((40 + 3))")]]
    if kind == "sequence":
        put = act.shell(tools, f'{prove} > {FILE} && printf "folder=%s\\n" "$PWD"')
        path = f"{folder}/{FILE}"
        get = act.read(tools, path) or act.shell(tools, f"cat {FILE}")
        return [[put or first], [get], [act.shell(tools, f"wc -c < {FILE}")]]
    if kind == "image":
        draw = f"printf %s {PIXEL} | base64 -d > {IMAGE_FILE} && printf 'folder=%s\\n' \"$PWD\""
        make = act.shell(tools, f"{draw} && {prove} > {FILE} && cat {FILE}")
        return [[make or first], [act.view(tools, f"{folder}/{IMAGE_FILE}")]]
    if kind == "context":
        return [[act.shell(tools, "seq 1 27000")], [first]]
    return [[first]]


def _written(heard: Heard) -> Act | None:
    return act.write(heard.tools, FILE, f"{proof_of(heard.marker)}\n")


def _ending(kind: str, heard: Heard) -> str:
    if not heard.results:
        return UNABLE
    quoted = " | ".join(result.strip()[-QUOTE_CHARACTERS:] for result in heard.results)
    text = f"The tool said: {quoted}"
    if kind == "long":
        return f"{''.join(words(heard.marker, LONG_WORDS))}. {text}"
    if kind == "context":
        return f"{text} (prompt-characters={heard.characters})"
    if kind == "image":
        return f"{text} ({SEEN if heard.has_image else 'no image arrived'})"
    return text


def _edited(heard: Heard) -> str:
    """Write the file in the form that an agent without tools reads out of a text."""
    proof = proof_of(heard.marker)
    if heard.edit == "diff":
        block = f"<<<<<<< SEARCH\n=======\n{proof}\n>>>>>>> REPLACE"
        return f"Here it is.\n\n{FILE}\n```\n{block}\n```\n"
    return f"Here it is.\n\n{FILE}\n```\n{proof}\n```\n"
