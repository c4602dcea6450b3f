"""Receipts explained, completions rated anew, and what upstreams said they cost us."""

import re
from typing import Final

import msgspec

from jusinfer.domain.actor import Action, Operator
from jusinfer.domain.billing_rules import CHARGED, billable_cost_pico
from jusinfer.domain.catalog import Price, Route, price_at, tier_of
from jusinfer.domain.errors import InvalidRequest
from jusinfer.domain.money import charge_nano
from jusinfer.domain.price_parser import PriceSchedule
from jusinfer.domain.usage import Outcome, TokenUsage
from jusinfer.services.dependencies import Services
from jusinfer.store import usage_details
from jusinfer.store.database import Reader
from jusinfer.store.usage_details import Draw, Reports, TransferRow, Usage

COMPLETION_ID: Final = re.compile(r"[0-9a-f]{32}")
Tariffs = dict[str, dict[str, PriceSchedule]]


class Line(msgspec.Struct, frozen=True):
    """One product of the arithmetic: a count, its price in micro-USD, and pico-USD."""

    what: str
    count: int
    price_micro: int
    cost_pico: int


class Receipt(msgspec.Struct, frozen=True):
    """All there is to say of one charge."""

    usage: Usage
    lines: list[Line]
    is_exact: bool
    transfers: list[TransferRow]
    draws: list[Draw]


class RerateResult(msgspec.Struct, frozen=True):
    """What rows of one tenant and model came to, and come to when rated anew."""

    tenant: str
    mode: str
    model: str
    upstream: str
    completions: int
    charged_nano: int
    rated_nano: int
    unknown: int


class CostDifference(msgspec.Struct, frozen=True):
    """What one upstream said a model cost, against what our prices make of the same tokens."""

    upstream: str
    model: str
    completions: int
    ours_pico: int
    reported_pico: int


def explain(world: Services, operator: Operator, completion_id: str) -> Receipt:
    """Explain one completion's charge from the prices in force when it was admitted."""
    wanted = completion_id.replace("-", "").lower()
    if not COMPLETION_ID.fullmatch(wanted):
        raise InvalidRequest("a completion's id has 32 hexadecimal characters", param="id")
    seen = ("completion", wanted)
    with world.database.read_as_operator(operator, Action.RECEIPT_READ, seen) as tx:
        usage = usage_details.find(tx, wanted)
        if usage is None:
            raise InvalidRequest(
                "there is no such completion",
                param="id",
                hint="It is posted a fraction of a second after its end; rows are kept 13 months.",
            )
        price = PriceBook(tx).price(usage)
        transfers = draws = []
        if usage.transfer_id is not None:
            transfers = usage_details.transfers_of(tx, usage.transfer_id)
            draws = usage_details.draws_of(tx, usage.transfer_id)
    is_free = usage.cost_pico == 0
    lines = [] if price is None or is_free else arithmetic(price, tokens(usage))
    return Receipt(
        usage=usage,
        lines=lines,
        is_exact=sum(line.cost_pico for line in lines) == usage.cost_pico,
        transfers=transfers,
        draws=draws,
    )


def rerate(
    world: Services, operator: Operator, days: int, version: str | None
) -> list[RerateResult]:
    """Rate the rows of the last days again, at their own prices or at those of another version."""
    sums: dict[tuple[str, str, str, str], list[int]] = {}
    with world.database.snapshot(operator, Action.RECEIPT_READ) as tx:
        book = PriceBook(tx, version)
        for usage in usage_details.between(tx, days):
            key = (usage.tenant, usage.mode, usage.served_model, usage.upstream)
            row = sums.setdefault(key, [0, 0, 0, 0])
            price = book.price(usage)
            row[0] += 1
            row[1] += usage.charge_nano
            if price is None:
                row[3] += 1
                row[2] += usage.charge_nano
            else:
                is_charged = Outcome(usage.outcome) in CHARGED
                billed = billable_cost_pico(price, tokens(usage), is_charged=is_charged)
                row[2] += charge_nano(billed)
    return [RerateResult(*key, *row) for key, row in sorted(sums.items())]


def drift(world: Services, operator: Operator, days: int) -> list[CostDifference]:
    """Compare what upstreams reported with our prices, over the last days."""
    sums: dict[tuple[str, str], list[int]] = {}
    with world.database.snapshot(operator, Action.RECEIPT_READ) as tx:
        for usage in usage_details.between(tx, days):
            if usage.reported_cost_pico is not None:
                row = sums.setdefault((usage.upstream, usage.served_model), [0, 0, 0])
                row[0] += 1
                row[1] += usage.cost_pico
                row[2] += usage.reported_cost_pico
    return [CostDifference(*key, *row) for key, row in sorted(sums.items())]


def reports(world: Services, operator: Operator, days: int) -> list[Reports]:
    """Compare what providers told later of completions that broke off with what we charged."""
    with world.database.snapshot(operator, Action.RECEIPT_READ) as tx:
        return usage_details.reports(tx, days)


class PriceBook:
    """Prices by version, read once each."""

    def __init__(self, tx: Reader, version: str | None = None) -> None:
        self._tx = tx
        self._version = version
        self._known: dict[tuple[str, str], Tariffs] = {}

    def price(self, usage: Usage) -> Price | None:
        """Give the price that held for a row; None when its version is not known."""
        version = self._version or usage.price_version
        found = self._known.get((version, usage.mode))
        if found is None:
            said = usage_details.tariffs(self._tx, version, usage.mode)
            found = self._known[version, usage.mode] = (
                {} if said is None else msgspec.convert(said, Tariffs)
            )
        route_id = f"{usage.upstream}:{usage.served_model}"
        tariff = found.get(usage.price_list, {}).get(route_id) or found.get("", {}).get(route_id)
        if tariff is None:
            return None
        route = Route(route_id, "", "", tariff.price, tariff.windows, tariff.changes)
        return price_at(route, int(usage.admitted_at))


def tokens(usage: Usage) -> TokenUsage:
    """Give the usage that was charged."""
    return TokenUsage(
        prompt_tokens=usage.prompt_tokens,
        cached_prompt_tokens=usage.cached_prompt_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        completion_tokens=usage.completion_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        is_estimated=usage.is_estimated,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
        image_count=usage.image_count,
    )


def arithmetic(price: Price, usage: TokenUsage) -> list[Line]:
    """Write a cost as the products that it is the sum of."""
    price = tier_of(price, usage.prompt_tokens)
    plain = usage.prompt_tokens - usage.cached_prompt_tokens - usage.cache_write_tokens
    short = usage.cache_write_tokens - usage.cache_write_1h_tokens
    said = usage.completion_tokens - usage.reasoning_tokens
    input_micro = price.input_micro_per_mtok
    read = _or(price.cache_read_micro_per_mtok, input_micro)
    write = _or(price.cache_write_micro_per_mtok, input_micro)
    extras = price.extras
    hour = _or(extras.cache_write_1h_micro_per_mtok if extras else None, write)
    output = price.output_micro_per_mtok
    reasoning = _or(extras.reasoning_micro_per_mtok if extras else None, output)
    rows = [
        ("input tokens", plain, input_micro),
        ("tokens read from a cache", usage.cached_prompt_tokens, read),
        ("tokens written to a cache", short, write),
        ("tokens written to a cache for an hour", usage.cache_write_1h_tokens, hour),
        ("output tokens", said, output),
        ("reasoning tokens", usage.reasoning_tokens, reasoning),
    ]
    lines = [Line(what, count, micro, count * micro) for what, count, micro in rows if count]
    if extras is not None and (usage.prompt_tokens or usage.completion_tokens):
        lines += [
            Line(what, count, micro, count * micro * 1_000_000)
            for what, count, micro in (
                ("request", 1, extras.request_micro),
                ("images", usage.image_count, extras.image_micro),
            )
            if count * micro
        ]
    return lines


def _or(price: int | None, other: int) -> int:
    return other if price is None else price
