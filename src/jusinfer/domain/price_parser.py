"""Prices as an operator writes them, read as exact integers; what cannot be held is refused.

Texts are decimal US dollars: per million tokens, or for `request` and `image` per one of them. A
margin is in basis points (100 are one per cent) and is added to every price, rounded up.
"""

import datetime as dt
import itertools
import re
from typing import Final

import msgspec

from jusinfer.domain.catalog import AdditionalPrices, Price, PriceChange, PriceTier, PriceWindow
from jusinfer.domain.money import MoneyError, parse_price

BASIS_POINTS: Final = 10_000
MARGIN_BP_MAX: Final = 1_000_000
_CLOCK: Final = re.compile(r"([01]\d|2[0-4]):([0-5]\d)")


class OfferError(ValueError):
    """An entry that cannot be offered; the text names the entry and how to mend it."""


class PriceEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One price; what is left out of the cache prices costs what input costs."""

    input: str | None = None
    output: str | None = None
    cache_read: str | None = None
    cache_write: str | None = None
    cache_write_1h: str | None = None
    reasoning: str | None = None
    request: str | None = None
    image: str | None = None


class TierEntry(PriceEntry, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Another price for requests whose prompt is longer."""

    above_prompt_tokens: int


class TieredEntry(PriceEntry, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A price with its tiers."""

    tiers: tuple[TierEntry, ...] = ()


class WindowEntry(TieredEntry, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Hours of the UTC day at another price; weekdays count from Monday = 0."""

    start: str
    end: str
    weekdays: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6)


class ChangeEntry(TieredEntry, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What replaces price and windows from a day (or an instant, in UTC) on."""

    effective_from: str
    windows: tuple[WindowEntry, ...] = ()


class PriceSchedule(msgspec.Struct, frozen=True):
    """All prices of one route over time; the JSON of this is what receipts are explained by."""

    price: Price
    windows: tuple[PriceWindow, ...] = ()
    changes: tuple[PriceChange, ...] = ()


def tariff_of(
    price: TieredEntry,
    windows: tuple[WindowEntry, ...],
    changes: tuple[ChangeEntry, ...],
    where: str,
    margin_bp: int,
) -> PriceSchedule:
    """Read a price with its windows and later changes, margin added; raises OfferError."""
    if not 0 <= margin_bp <= MARGIN_BP_MAX:
        raise OfferError(f"{where}: margin_bp must be 0 to {MARGIN_BP_MAX} basis points")
    later = [
        PriceChange(
            effective_from=_instant(change.effective_from, where),
            price=price_of(change, where, margin_bp),
            windows=_windows(change.windows, where, margin_bp),
        )
        for change in changes
    ]
    if any(a.effective_from >= b.effective_from for a, b in itertools.pairwise(later)):
        raise OfferError(f"{where}: write changes in the order of their effective_from")
    return PriceSchedule(
        price=price_of(price, where, margin_bp),
        windows=_windows(windows, where, margin_bp),
        changes=tuple(later),
    )


def price_of(row: TieredEntry | TierEntry, where: str, margin_bp: int) -> Price:
    """Read one price with its tiers; raises OfferError."""
    tiers = row.tiers if isinstance(row, TieredEntry) else ()
    if any(
        a.above_prompt_tokens >= b.above_prompt_tokens for a, b in itertools.pairwise(tiers)
    ) or any(tier.above_prompt_tokens < 1 for tier in tiers):
        raise OfferError(f"{where}: write tiers from the shortest prompt to the longest")
    if row.input is None or row.output is None:
        raise OfferError(
            f"{where}: a price is missing; state input and output in USD per million tokens"
            ' (input = "0" if it is free)'
        )
    try:
        return Price(
            input_micro_per_mtok=_with_margin(parse_price(row.input), margin_bp),
            output_micro_per_mtok=_with_margin(parse_price(row.output), margin_bp),
            cache_read_micro_per_mtok=_maybe(row.cache_read, margin_bp),
            cache_write_micro_per_mtok=_maybe(row.cache_write, margin_bp),
            extras=_extras(row, margin_bp),
            tiers=tuple(
                PriceTier(tier.above_prompt_tokens, price_of(tier, where, margin_bp))
                for tier in tiers
            ),
        )
    except MoneyError as error:
        raise OfferError(f"{where}: price {error}") from error


def _extras(row: PriceEntry, margin_bp: int) -> AdditionalPrices | None:
    extras = AdditionalPrices(
        cache_write_1h_micro_per_mtok=_maybe(row.cache_write_1h, margin_bp),
        reasoning_micro_per_mtok=_maybe(row.reasoning, margin_bp),
        request_micro=_maybe(row.request, margin_bp) or 0,
        image_micro=_maybe(row.image, margin_bp) or 0,
    )
    return None if extras == AdditionalPrices() else extras


def _maybe(text: str | None, margin_bp: int) -> int | None:
    return None if text is None else _with_margin(parse_price(text), margin_bp)


def _with_margin(micro: int, margin_bp: int) -> int:
    return -(-micro * (BASIS_POINTS + margin_bp) // BASIS_POINTS)


def _windows(rows: tuple[WindowEntry, ...], where: str, margin_bp: int) -> tuple[PriceWindow, ...]:
    return tuple(_window(row, where, margin_bp) for row in rows)


def _window(row: WindowEntry, of: str, margin_bp: int) -> PriceWindow:
    where = f"{of}, window {row.start}-{row.end}"
    start, end = _minute(row.start, where), _minute(row.end, where)
    if start >= end:
        raise OfferError(f"{where}: the start must be before the end; split it at midnight")
    if any(not 0 <= day <= 6 for day in row.weekdays):  # noqa: PLR2004 (seven days)
        raise OfferError(f"{where}: weekdays count from 0 (Monday) to 6 (Sunday)")
    return PriceWindow(
        start_minute=start,
        end_minute=end,
        price=price_of(row, where, margin_bp),
        weekdays=row.weekdays,
    )


def _minute(text: str, where: str) -> int:
    match = _CLOCK.fullmatch(text)
    if match is None:
        raise OfferError(f"{where}: write hours as 09:30, up to 24:00")
    return int(match[1]) * 60 + int(match[2])


def _instant(text: str, where: str) -> int:
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise OfferError(
            f"{where}: write effective_from as 2026-12-01 or 2026-12-01T09:00:00"
        ) from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return int(moment.timestamp())
