"""What is wrong with a request, in our own words: the decoder's may quote the client's values."""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from jusinfer.domain.errors import InvalidRequest

# How large a body may be in which the fault is looked for.
SEARCHED_BYTES_MAX: Final = 256 * 1024
NAME_CHARS_MAX: Final = 64
_MASK: Final = b"000000"
_HALF: Final = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_any: Final = msgspec.json.Decoder().decode
_PLACE: Final = re.compile(r" - at `\$(?P<path>[^`]*)`$")
_KEY: Final = re.compile(r"\[\.\.\.\]|\[\"[^\"]*\"\]")
_MISSING: Final = re.compile(r"missing required field `(?P<name>\w+)`")
# The only sentence of the decoder that is read on: it names types and bounds, never values.
_EXPECTED: Final = re.compile(
    r"Expected `(?P<wanted>[a-z |]+)`(?P<length> of length)?"
    r"(?: (?P<side>[<>])= (?P<bound>-?[0-9.]+))?(?:, got `(?P<got>[a-z]+)`)?"
)
_WANTED: Final[Mapping[str, str]] = {
    "str": "a string",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "an array",
    "object": "an object",
}
_GOT: Final[Mapping[str, str]] = {
    **_WANTED,
    "float": "a number with a decimal point or an exponent",
}
_NAMED: Final[Mapping[str, str]] = {
    "role": "Roles are developer, system, user, assistant, tool and function.",
    "tool_choice": "It is none, auto, required, or an object that names a tool.",
}


def validation_error(text: str) -> InvalidRequest:
    """Turn what the decoder found into an error that names the field and repeats no value."""
    place = _PLACE.search(text)
    path = _KEY.sub("[…]", place["path"]).lstrip(".") if place else ""
    missing = _MISSING.search(text)
    if missing is not None:
        name = f"{path}.{missing['name']}" if path else missing["name"]
        return InvalidRequest(f"`{name}` is missing", param=name, hint=f"Add `{name}`.")
    subject = f"`{path}`" if path else "the body"
    param = path or None
    expected = _EXPECTED.match(text)
    if expected is not None:
        return InvalidRequest(
            f"{subject} must be {_wanted(expected)}{_bound(expected)}{_got(expected)}",
            param=param,
            hint="Change its value." if expected["side"] else "Change its type.",
        )
    if text.startswith("Invalid enum value"):
        return InvalidRequest(
            f"{subject} is not one of the values it may have",
            param=param,
            hint=_NAMED.get(path.rpartition(".")[2], "Change its value."),
        )
    return InvalidRequest(f"{subject} cannot be understood", param=param, hint="Change its value.")


def _wanted(expected: re.Match[str]) -> str:
    kinds = [kind for kind in expected["wanted"].split(" | ") if kind != "null"]
    return " or ".join(_WANTED.get(kind, kind) for kind in kinds)


def _bound(expected: re.Match[str]) -> str:
    if not expected["side"]:
        return ""
    limit = expected["bound"].removesuffix(".0")
    least = "at least" if expected["side"] == ">" else "at most"
    if expected["length"] is None:
        return f", {least} {limit}"
    unit = "character" if expected["wanted"].startswith("str") else "item"
    return f" of {least} {limit} {unit}{'' if limit == '1' else 's'}"


def _got(expected: re.Match[str]) -> str:
    got = expected["got"]
    return f", not {_GOT.get(got, got)}" if got else ""


def unreadable(fields: Mapping[str, msgspec.Raw]) -> InvalidRequest:
    """Name the member that holds what no decoder reads: a number out of range, or deep nesting."""
    for name, raw in fields.items():
        try:
            _any(raw)
        except (ValueError, RecursionError):
            return InvalidRequest(
                f"`{name}` holds a number out of range, or what is nested too deeply",
                param=name,
                hint="Change its value.",
            )
    return InvalidRequest("the body cannot be read", hint="Change what is in it.")


def unreadable_body(body: bytes, hint: str) -> InvalidRequest:
    """Say that a body is no JSON, or name the member that holds what no decoder reads.

    Serializers write numbers beyond all bounds and halves of surrogate pairs, and call it JSON.
    """
    if not body.strip():
        return InvalidRequest("the body is empty", hint=hint)
    if len(body) <= SEARCHED_BYTES_MAX:
        # The same body, byte for byte, but for halves: what stands where is then known.
        whole = _HALF.sub(_MASK, body)
        try:
            members = _members(whole)
        except (ValueError, RecursionError):
            members = {}
        place = 0
        for name, raw in members.items():
            text = bytes(raw)
            if _MASK in text:
                place = max(whole.find(text, place), 0)
                text = body[place : place + len(text)]
            error = _member_error(name, text)
            if error is not None:
                return error
    return InvalidRequest("the body is not JSON that can be read", hint=hint)


def _member_error(name: str, raw: bytes) -> InvalidRequest | None:
    try:
        _any(raw)
    except (ValueError, RecursionError):
        is_shown = name.isascii() and name.isprintable() and len(name) <= NAME_CHARS_MAX
        said = f"`{name}`" if is_shown else "a member"
        return InvalidRequest(
            f"{said} holds a number out of range, text that is not UTF-8, half of a surrogate "
            "pair (as \\ud800), or what is nested too deeply",
            param=name if is_shown else None,
            hint="Change its value.",
        )
    return None


def misplaced(where: str, why: str, hint: str = "Change it, or leave it out.") -> InvalidRequest:
    """Say which member is at fault, by its place in the client's own request."""
    return InvalidRequest(f"`{where}` {why}", param=where, hint=hint)
