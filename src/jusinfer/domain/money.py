"""Money as integers: pico-, nano- and micro-USD, and the one rounding rule.

A price is micro-USD per million tokens, so tokens times price is an exact integer of pico-USD.
A charge is that product rounded up once per completion to nano-USD, the unit of the ledger.
"""

import re
from typing import Final, NewType

PicoUsd = NewType("PicoUsd", int)
NanoUsd = NewType("NanoUsd", int)
MicroUsdPerMtok = NewType("MicroUsdPerMtok", int)

PICO_PER_NANO: Final = 1_000
NANO_PER_USD: Final = 1_000_000_000
NANO_DECIMALS: Final = 9
MICRO_DECIMALS: Final = 6
# The largest amount that fits a signed 64-bit column, which is where amounts end up.
AMOUNT_MAX: Final = 2**63 - 1

_DECIMAL: Final = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,18}))?")


class MoneyError(ValueError):
    """A text that is not an amount of money we can hold exactly."""


def charge_nano(cost_pico: int) -> NanoUsd:
    """Round a completion's exact cost up to the ledger's unit: the only rounding anywhere."""
    if cost_pico < 0:
        raise MoneyError("a cost cannot be negative")
    return NanoUsd(-(-cost_pico // PICO_PER_NANO))


def parse_usd(text: str) -> NanoUsd:
    """Read a decimal text of US dollars such as "12.50" as exact nano-USD."""
    return NanoUsd(_scaled(text, NANO_DECIMALS, "nano-USD (nine decimals)"))


def parse_price(text: str) -> MicroUsdPerMtok:
    """Read a decimal text of US dollars per million tokens as exact micro-USD per million."""
    unit = "micro-USD per million tokens (six decimals)"
    return MicroUsdPerMtok(_scaled(text, MICRO_DECIMALS, unit))


def format_usd(amount_nano: int) -> str:
    """Write nano-USD as a decimal text of US dollars: exact, with at least two decimals."""
    sign = "-" if amount_nano < 0 else ""
    whole, part = divmod(abs(amount_nano), NANO_PER_USD)
    digits = f"{part:09d}".rstrip("0").ljust(2, "0")
    return f"{sign}{whole}.{digits}"


def format_pico(cost_pico: int) -> str:
    """Write pico-USD as a decimal text of US dollars: exact, with at least two decimals."""
    sign = "-" if cost_pico < 0 else ""
    whole, part = divmod(abs(cost_pico), NANO_PER_USD * PICO_PER_NANO)
    digits = f"{part:012d}".rstrip("0").ljust(2, "0")
    return f"{sign}{whole}.{digits}"


def _scaled(text: str, decimals: int, unit: str) -> int:
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise MoneyError(f"{text!r} is not a plain, non-negative decimal number")
    part = (match[2] or "").rstrip("0")
    if len(part) > decimals:
        raise MoneyError(f"{text!r} is finer than a whole number of {unit}")
    amount = int(match[1] + part.ljust(decimals, "0"))
    if amount > AMOUNT_MAX:
        raise MoneyError(f"{text!r} is larger than an account can hold")
    return amount
