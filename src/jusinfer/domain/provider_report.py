"""What a provider says afterwards that one completion cost us; recorded, never charged.

OpenRouter answers `GET /generation?id=`. Its answer is not trusted: bounded, read strictly, and
whatever cannot be read is a failure with a code.
"""

import re
from decimal import ROUND_HALF_UP, Decimal
from typing import Annotated, Final

import msgspec

REPORTS_FLAG: Final = "openrouter"
# Seconds from the end to the first question, and from each question to the next; the last repeats.
DELAYS_SECONDS: Final = (5, 30, 300, 3_600)
GIVE_UP_SECONDS: Final = 86_400
ANSWER_BYTES_MAX: Final = 64 * 1024
# More than any completion can cost, and in pico-USD still far from the end of a bigint.
COST_USD_MAX: Final = 1_000_000
TOKENS_MAX: Final = 2**31
USD_CHARS_MAX: Final = 64
PICO_DIGITS: Final = 12
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
_NUMBER: Final = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?")

Tokens = Annotated[int, msgspec.Meta(ge=0, le=TOKENS_MAX)]


class ProviderReport(msgspec.Struct, frozen=True):
    """What a provider says of one completion; tokens are None where it does not say."""

    cost_pico: int
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class NoReport(Exception):
    """There is no report yet, or none that can be read; `code` says which."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class _Generation(msgspec.Struct, frozen=True):
    total_cost: msgspec.Raw
    id: str | None = None
    native_tokens_prompt: Tokens | None = None
    native_tokens_completion: Tokens | None = None
    tokens_prompt: Tokens | None = None
    tokens_completion: Tokens | None = None


class _Answer(msgspec.Struct, frozen=True):
    data: _Generation


_read: Final = msgspec.json.Decoder(_Answer).decode


def is_generation_id(text: str) -> bool:
    """Tell whether a text is an id that may be kept and asked for."""
    return _ID.fullmatch(text) is not None


def read_report(status: int, body: bytes, generation_id: str) -> ProviderReport:
    """Read the answer to a question about a generation; raises NoReport."""
    if status == 404:  # noqa: PLR2004 (it is not there yet)
        raise NoReport("not_found")
    if status != 200:  # noqa: PLR2004 (redirects too: they are not followed)
        raise NoReport(f"status_{status}")
    if len(body) > ANSWER_BYTES_MAX:
        raise NoReport("too_large")
    try:
        said = _read(body).data
    except (ValueError, RecursionError) as error:
        raise NoReport("unreadable") from error
    if said.id is not None and said.id != generation_id:
        raise NoReport("other_generation")
    native = said.native_tokens_prompt, said.native_tokens_completion
    plain = said.tokens_prompt, said.tokens_completion
    prompt, completion = plain if native == (None, None) else native
    return ProviderReport(_cost(bytes(said.total_cost)), prompt, completion)


def _cost(raw: bytes) -> int:
    """Read US dollars, a JSON number, as pico-USD by their digits: never as a float."""
    text = raw.decode("ascii", "replace")
    if len(text) > USD_CHARS_MAX or not _NUMBER.fullmatch(text):
        raise NoReport("unreadable")
    dollars = Decimal(text)
    if not 0 <= dollars <= COST_USD_MAX:
        raise NoReport("impossible_cost")
    return int(dollars.scaleb(PICO_DIGITS).to_integral_value(ROUND_HALF_UP))
