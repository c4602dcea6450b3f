"""The names of the sandbox's scripts: a closed grammar, so that none of them can carry a text.

A name is `sandbox/`, faults joined by `+`, then options as in a query. What it may say is said
here once more because the sandbox shares no code with the rest; a test compares the two.
"""

import re
from collections.abc import Mapping
from typing import Final

from jusinfer.domain.errors import InvalidRequest
from jusinfer.domain.provider_codes import PROVIDER_CODES

SANDBOX_PREFIX: Final = "sandbox/"
FAULTS_MAX: Final = 8
OPTIONS_MAX: Final = 12
SHOWN_CHARS_MAX: Final = 40
HINT: Final = (
    "See docs/sandbox.md; what is no number and on no list there goes into the body, as in "
    '"sandbox": {"fault": "status", "message": "…"}.'
)


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


FAULTS: Final = _set(
    "annotations audio bad_json big blank_lines burst call_without_id call_without_index"
    " calls_at_one_index close_before_answer comments compressed content_after_finish cost"
    " crlf cut data_after_done delay done_no_finish done_trailing early_hints echo echo_error"
    " error_in_200 error_in_stream function_call garbage headers html huge_error images"
    " interleaved keepalive like long_line missing_usage multi_data named_events no_choices"
    " no_done no_space null_choices plain plain_json prompt reason redirect refusal reset"
    " role_only set_cookie slow slow_head split stall status tokens truncated_chunked unicode"
    " usage_every_chunk usage_nonempty_choices usage_with_finish whole_call wrong_length"
    " wrong_usage zero_usage"
)
# Whole numbers, each with its least and greatest value.
NUMBERS: Final[Mapping[str, tuple[int, int]]] = {
    "after": (0, 200_000),
    "by": (-1_000_000, 1_000_000),
    "bytes": (1, 1_000_000),
    "code": (100, 999),
    "completion": (-1_000_000_000, 1_000_000_000),
    "first": (0, 1_000_000),
    "kb": (1, 65_536),
    "mb": (1, 256),
    "ms": (0, 3_600_000),
    "n": (0, 200_000),
    "per": (1, 200_000),
    "prompt": (0, 1_000_000_000),
    "reasoning": (0, 200_000),
    "retry_after": (0, 1_000_000),
    "retry_after_date": (0, 1_000_000),
    "retry_after_ms": (0, 1_000_000_000),
    "seed": (0, 1_000_000),
    "token_ms": (0, 3_600_000),
    "tokens": (0, 200_000),
    "wait_ms": (0, 3_600_000),
}
FLAGS: Final = frozenset(
    ("before", "clean", "empty", "forever", "go_on", "key", "only", "plain", "quota")
)
_FLAG_VALUES: Final = frozenset({"", "0", "1", "true", "false", "yes", "no"})
_FINISHES: Final = "content_filter error function_call length null stop tool_calls"
# Words, each with all that it may be.
WORDS: Final[Mapping[str, frozenset[str]]] = {
    "as": _set("azure deepseek groq llamacpp mistral openrouter together"),
    "at": _set("chunk end finish head role usage"),
    "before": _FLAG_VALUES | {"head"},
    "enc": _set("base64 deflate gzip hex html json raw upper url"),
    "err": PROVIDER_CODES | {"native"},
    "finish": _set(_FINISHES),
    "in": _set("body choice message metadata"),
    "kind": _set("cached details_null fraction large negative reasoning text total"),
    "shape": _set("anthropic array bare cloudflare detail openai openrouter text"),
    "should_retry": frozenset({"true", "false"}),
    "type": PROVIDER_CODES | {"sandbox_error"},
}
_NUMBER: Final = re.compile(r"0|-?[1-9][0-9]{0,9}")
_RATE: Final = re.compile(r"0(?:\.[0-9]{1,3})?|1(?:\.0{1,3})?")


def sandbox_name(name: str) -> str:
    """Judge a name and give it in its one form, faults and options in order of the alphabet.

    Raises InvalidRequest for whatever the grammar does not hold.
    """
    text, _, query = name.removeprefix(SANDBOX_PREFIX).partition("?")
    faults = sorted(set(filter(None, text.split("+"))))
    for fault in faults:
        if fault not in FAULTS:
            raise _refused(f"the sandbox knows no fault {fault[:SHOWN_CHARS_MAX]!r}")
    pairs = list(filter(None, query.split("&")))
    if len(faults) > FAULTS_MAX or len(pairs) > OPTIONS_MAX:
        raise _refused(f"at most {FAULTS_MAX} faults and {OPTIONS_MAX} options may be asked for")
    options: dict[str, str] = {}
    for pair in pairs:
        option, has_value, value = pair.partition("=")
        if option in options:
            raise _refused(f"option {option!r} stands there twice")
        _judge(option, value)
        options[option] = f"{option}{has_value}{value}"
    joined = SANDBOX_PREFIX + "+".join(faults)
    return f"{joined}?{'&'.join(options[key] for key in sorted(options))}" if options else joined


def _judge(option: str, value: str) -> None:
    if option in NUMBERS:
        least, most = NUMBERS[option]
        if not _NUMBER.fullmatch(value) or not least <= int(value) <= most:
            raise _refused(f"option {option!r} must be a whole number from {least} to {most}")
    elif option in WORDS:
        if value not in WORDS[option]:
            raise _refused(f"option {option!r} has no such value")
    elif option in FLAGS:
        if value not in _FLAG_VALUES:
            raise _refused(f"option {option!r} is set by its name alone")
    elif option == "rate":
        if not _RATE.fullmatch(value):
            raise _refused("option 'rate' must be from 0 to 1, with three decimals at most")
    else:
        raise _refused(f"the sandbox takes no option {option[:SHOWN_CHARS_MAX]!r} in a name")


def _refused(message: str) -> InvalidRequest:
    return InvalidRequest(message, param="model", hint=HINT)
