"""What is offered: upstreams, models, routes, and the price in force at an instant."""

import enum
from typing import Final

import msgspec

SECONDS_PER_DAY: Final = 86_400
MINUTES_PER_DAY: Final = 1_440
# 1 January 1970 was a Thursday; weekday 0 is Monday.
_EPOCH_WEEKDAY: Final = 3


class Price(msgspec.Struct, frozen=True):
    """Micro-USD per million tokens by kind. A missing cache price means the input price."""

    input_micro_per_mtok: int
    output_micro_per_mtok: int
    cache_read_micro_per_mtok: int | None = None
    cache_write_micro_per_mtok: int | None = None


class PriceWindow(msgspec.Struct, frozen=True):
    """Another price between two minutes of the UTC day (end exclusive) on some weekdays."""

    start_minute: int
    end_minute: int
    price: Price
    weekdays: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6)


class Upstream(msgspec.Struct, frozen=True):
    """A company or endpoint that completions are sent to; `api_key` never leaves the gateway."""

    name: str
    host: str
    port: int
    is_tls: bool
    base_path: str
    dialect: str = "openai_chat"
    api_key: str = ""
    is_local: bool = False
    is_sandbox: bool = False
    ca_file: str | None = None
    quirks: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    first_event_seconds: float = 120.0
    between_events_seconds: float = 60.0
    total_seconds: float = 900.0

    def __repr__(self) -> str:
        """Show where it is, never its key."""
        return f"Upstream({self.name!r}, {self.host!r}, {self.port})"


class Capability(enum.StrEnum):
    """What a model can take or do, as far as a request can ask for it."""

    TOOLS = "tools"
    VISION = "vision"
    JSON_SCHEMA = "json_schema"
    REASONING = "reasoning"


class Route(msgspec.Struct, frozen=True):
    """One candidate: an upstream, the model's name there, and what it costs there."""

    route_id: str
    upstream: str
    upstream_model: str
    price: Price
    windows: tuple[PriceWindow, ...] = ()


class Model(msgspec.Struct, frozen=True):
    """A model offered to callers under its public id, with the routes that serve it."""

    model_id: str
    context_tokens: int
    output_tokens_max: int
    routes: tuple[Route, ...]
    owned_by: str = ""
    tier: int = 1
    capabilities: frozenset[Capability] = frozenset()
    is_auto: bool = False
    created: int = 0


class Catalog(msgspec.Struct, frozen=True):
    """All that is offered in one mode, under one version that receipts name."""

    version: str
    upstreams: dict[str, Upstream]
    models: dict[str, Model]


def price_at(route: Route, epoch_seconds: int) -> Price:
    """Give the price in force at an instant (UTC seconds since 1970)."""
    if not route.windows:
        return route.price
    day, second = divmod(epoch_seconds, SECONDS_PER_DAY)
    weekday = (day + _EPOCH_WEEKDAY) % 7
    minute = second // 60
    for window in route.windows:
        if weekday in window.weekdays and window.start_minute <= minute < window.end_minute:
            return window.price
    return route.price


def dearest_price(route: Route) -> Price:
    """Give the highest price of each kind that can apply to a route at any hour."""
    if not route.windows:
        return route.price
    prices = [route.price, *(window.price for window in route.windows)]
    return Price(
        input_micro_per_mtok=max(p.input_micro_per_mtok for p in prices),
        output_micro_per_mtok=max(p.output_micro_per_mtok for p in prices),
        cache_read_micro_per_mtok=max(_cache_read(p) for p in prices),
        cache_write_micro_per_mtok=max(_cache_write(p) for p in prices),
    )


def _cache_read(price: Price) -> int:
    kept = price.cache_read_micro_per_mtok
    return price.input_micro_per_mtok if kept is None else kept


def _cache_write(price: Price) -> int:
    kept = price.cache_write_micro_per_mtok
    return price.input_micro_per_mtok if kept is None else kept
