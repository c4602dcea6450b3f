"""Scripted misbehaviour: which faults, with which options, and whether they strike this time."""

import hashlib
import random
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

from jusinfer.sandbox import provider_quirks
from jusinfer.sandbox.validation import Refused

PREFIX: Final = "sandbox/"
REMEMBERED_MAX: Final = 10_000
TOKENS_MAX: Final = 200_000

# What can be asked for; the page docs/sandbox.md says the same at length.
KNOWN: Final[Mapping[str, str]] = {
    "annotations": "cites a page beside the text",
    "audio": "speaks: the message has audio",
    "bad_json": "breaks off inside JSON",
    "big": "gives very many tokens",
    "blank_lines": "puts blank lines before the body and between events",
    "burst": "sends a whole stream in one write",
    "call_without_id": "leaves the ids of tool calls out",
    "call_without_index": "leaves the index out of tool call deltas",
    "calls_at_one_index": "puts all tool calls under index 0",
    "close_before_answer": "closes at once",
    "comments": "sends comments before and between events",
    "compressed": "compresses although nobody asked",
    "content_after_finish": "goes on after finish_reason",
    "cost": "adds what it cost to usage",
    "crlf": "ends lines with CR LF",
    "cut": "closes in the middle",
    "data_after_done": "goes on after [DONE]",
    "delay": "waits before the head",
    "done_no_finish": "says [DONE] without finish_reason",
    "done_trailing": "adds characters after [DONE]",
    "early_hints": "sends informational answers first",
    "echo": "says what it was told",
    "echo_error": "refuses, and repeats the request in the error",
    "error_in_200": "puts an error into a good status",
    "error_in_stream": "fails in the middle of a stream",
    "function_call": "uses the old form of tool calls",
    "garbage": "sends bytes that are not HTTP",
    "headers": "sends a very large head",
    "html": "sends a page",
    "huge_error": "sends a very large error",
    "images": "draws: the message has images",
    "interleaved": "mixes the fragments of parallel tool calls",
    "keepalive": "sends keep-alive comments before the answer",
    "like": "has the habits of a named upstream",
    "long_line": "sends one very long line",
    "missing_usage": "never says what was used",
    "multi_data": "spreads each event over several data lines",
    "named_events": "names and numbers its events",
    "no_choices": "sends an event without choices",
    "no_done": "ends well without [DONE]",
    "no_space": "leaves out the blank after `data:`",
    "null_choices": "sends events with null and empty choices",
    "plain": "answers well",
    "plain_json": "answers a stream with one object",
    "prompt": "reports so many prompt tokens",
    "reason": "thinks first",
    "redirect": "points elsewhere",
    "refusal": "declines politely",
    "reset": "resets in the middle",
    "role_only": "says its role and no more",
    "set_cookie": "sends a cookie and headers of its own",
    "slow": "waits before each token",
    "slow_head": "sends the head byte by byte",
    "split": "writes so many bytes at a time",
    "stall": "falls silent",
    "status": "answers with a status",
    "tokens": "gives exactly so many tokens",
    "truncated_chunked": "never ends its chunked body",
    "unicode": "speaks in many alphabets",
    "usage_every_chunk": "says usage in every event",
    "usage_nonempty_choices": "says usage beside choices",
    "usage_with_finish": "says usage beside finish_reason",
    "whole_call": "sends each tool call in one delta",
    "wrong_length": "lies about its length",
    "wrong_usage": "says what cannot be true of its usage",
    "zero_usage": "says that nothing was used",
}
# Options that are whole numbers, each with its least and greatest value.
NUMBERS: Final[Mapping[str, tuple[int, int]]] = {
    "after": (0, TOKENS_MAX),
    "by": (-1_000_000, 1_000_000),
    "bytes": (1, 1_000_000),
    "code": (100, 999),
    "completion": (-1_000_000_000, 1_000_000_000),
    "first": (0, 1_000_000),
    "kb": (1, 65_536),
    "mb": (1, 256),
    "ms": (0, 3_600_000),
    "n": (0, TOKENS_MAX),
    "per": (1, TOKENS_MAX),
    "prompt": (0, 1_000_000_000),
    "reasoning": (0, TOKENS_MAX),
    "retry_after_date": (0, 1_000_000),
    "token_ms": (0, 3_600_000),
    "tokens": (0, TOKENS_MAX),
    "wait_ms": (0, 3_600_000),
}
FLAGS: Final = frozenset(
    {"before", "clean", "empty", "forever", "go_on", "key", "only", "plain", "quota"}
)
WORDS: Final = frozenset(
    {"as", "at", "enc", "err", "finish", "in", "kind", "message", "rate", "retry_after"}
    | {"retry_after_ms", "seed", "shape", "should_retry", "to", "type"}
)
# Asking for these is asking for a good answer.
GOOD: Final = frozenset({"big", "echo", "plain", "prompt", "reason", "tokens", "unicode"})
# Faults whose option `n` counts something else than tokens.
COUNTING: Final = frozenset({"blank_lines", "early_hints", "keepalive", "prompt"})


class Fault:
    """The faults of one request with their options; without any the answer is good."""

    def __init__(self, names: frozenset[str], options: Mapping[str, str]) -> None:
        self.names = names
        self.options = options

    def has(self, *names: str) -> bool:
        """Tell whether one of these faults was asked for."""
        return not self.names.isdisjoint(names)

    def number(self, name: str, default: int) -> int:
        """Give a whole-number option."""
        text = self.options.get(name)
        return default if text is None else int(text)

    def word(self, name: str, default: str) -> str:
        """Give an option that is a word."""
        return self.options.get(name, default)

    def flag(self, name: str) -> bool:
        """Tell whether an option is set; its name alone sets it."""
        return self.options.get(name, "0") not in {"0", "false", "no"}

    def tokens(self, default: int) -> int:
        """Say how many tokens of text are wanted."""
        if "tokens" not in self.options and not self.has(*COUNTING):
            return self.number("n", default)
        return self.number("tokens", default)


NO_FAULT: Final = Fault(frozenset(), {})


class Faults:
    """Chooses faults, and remembers how often those with `first` or `rate` have been asked for."""

    def __init__(self) -> None:
        self._asked: dict[tuple[str, str, str], int] = {}

    def choose(self, model: str, header: str | None, member: object, scope: str) -> Fault:
        """Read the fault from a header, else the body's `sandbox` member, else the model's name."""
        if header:
            text, extra = header, {}
        elif isinstance(member, dict):
            extra = {str(name): _text(value) for name, value in member.items()}
            text = extra.pop("fault", "")
        else:
            text, extra = model.removeprefix(PREFIX) if model.startswith(PREFIX) else "", {}
        name, _, query = text.partition("?")
        options = dict(parse_qsl(query, keep_blank_values=True)) | extra
        if not name and not options:
            return NO_FAULT
        fault = Fault(_names(name), _checked(options))
        return fault if self._strikes(fault, (model, text, scope)) else NO_FAULT

    def reset(self) -> None:
        """Forget what has been asked for."""
        self._asked.clear()

    def _strikes(self, fault: Fault, key: tuple[str, str, str]) -> bool:
        options = fault.options
        if "first" not in options and "rate" not in options:
            return True
        count = self._asked.pop(key, 0) + 1
        self._asked[key] = count
        if len(self._asked) > REMEMBERED_MAX:
            del self._asked[next(iter(self._asked))]
        if "first" in options and count > fault.number("first", 1):
            return False
        if "rate" not in options:
            return True
        seed = hashlib.sha256(f"{key}{fault.word('seed', '')}{count}".encode()).hexdigest()
        return random.Random(seed).random() < float(options["rate"])  # noqa: S311 (not a secret)


def _names(text: str) -> frozenset[str]:
    names = frozenset(filter(None, text.split("+")))
    for name in sorted(names - KNOWN.keys()):
        raise Refused.of(f"the sandbox knows no fault {name!r}", "model", "unknown_fault")
    return names


def _checked(options: dict[str, str]) -> dict[str, str]:
    for name, value in options.items():
        if name in NUMBERS:
            least, most = NUMBERS[name]
            if not value.lstrip("-").isdecimal() or not least <= int(value) <= most:
                message = f"option {name!r} must be a whole number from {least} to {most}"
                raise Refused.of(message, "model", "bad_option")
        elif name not in FLAGS and name not in WORDS:
            raise Refused.of(f"the sandbox knows no option {name!r}", "model", "unknown_option")
    if options.get("as", "groq") not in provider_quirks.KNOWN:
        expected = ", ".join(sorted(provider_quirks.KNOWN))
        raise Refused.of(f"option 'as' must be one of {expected}", "model", "bad_option")
    rate = options.get("rate", "0")
    if not rate.replace(".", "", 1).isdecimal() or float(rate) > 1:
        raise Refused.of("option 'rate' must be from 0 to 1", "model", "bad_option")
    # A flag is set by its name alone.
    return {name: value or "1" if name in FLAGS else value for name, value in options.items()}


def _text(value: object) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)
