"""What is offered: upstreams, models, routes, and the price in force at an instant."""

import enum
from typing import Final

import msgspec

SECONDS_PER_DAY: Final = 86_400
MINUTES_PER_DAY: Final = 1_440
TOOLS_MAX: Final = 128
# 1 January 1970 was a Thursday; weekday 0 is Monday.
_EPOCH_WEEKDAY: Final = 3


class AdditionalPrices(msgspec.Struct, frozen=True):
    """What few models charge for besides tokens in and out.

    Cache writes that last an hour, reasoning where it costs otherwise than other output, each
    request and each image taken (both in micro-USD).
    """

    cache_write_1h_micro_per_mtok: int | None = None
    reasoning_micro_per_mtok: int | None = None
    request_micro: int = 0
    image_micro: int = 0


class Price(msgspec.Struct, frozen=True):
    """Micro-USD per million tokens by kind. A missing cache price means the input price.

    `tiers` hold other prices for longer prompts, shortest first; they apply to the whole request.
    """

    input_micro_per_mtok: int
    output_micro_per_mtok: int
    cache_read_micro_per_mtok: int | None = None
    cache_write_micro_per_mtok: int | None = None
    extras: AdditionalPrices | None = None
    tiers: tuple["PriceTier", ...] = ()


class PriceTier(msgspec.Struct, frozen=True):
    """The price of requests whose prompt is longer than so many tokens."""

    above_prompt_tokens: int
    price: Price


class PriceWindow(msgspec.Struct, frozen=True):
    """Another price between two minutes of the UTC day (end exclusive) on some weekdays."""

    start_minute: int
    end_minute: int
    price: Price
    weekdays: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6)


class PriceChange(msgspec.Struct, frozen=True):
    """What replaces a route's price and windows from an instant (UTC seconds since 1970) on."""

    effective_from: int
    price: Price
    windows: tuple[PriceWindow, ...] = ()


class DataHandling(msgspec.Struct, frozen=True):
    """Where an upstream is and what it does with prompts; what is not stated counts against it.

    `region` and `jurisdiction` are free names such as `eu` and `DE`; `retention_days` of None
    means that it is not known; `is_zdr` that it keeps nothing, or can be told so by request.
    """

    region: str = ""
    jurisdiction: str = ""
    retention_days: int | None = None
    trains_on_prompts: bool | None = None
    is_zdr: bool = False


class Upstream(msgspec.Struct, frozen=True):
    """A company or endpoint that completions are sent to; `api_key` never leaves the gateway."""

    name: str
    host: str
    port: int
    is_tls: bool
    base_path: str
    provider_api: str = "openai_chat"
    api_key: str = ""
    is_local: bool = False
    is_sandbox: bool = False
    ca_file: str | None = None
    flags: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    query: str = ""
    auth: str = "bearer"
    gateway_token: str = ""
    facts: "DataHandling" = DataHandling()
    attempts_max: int = 2
    connect_seconds: float = 5.0
    hedge_seconds: float = 0.0
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
    AUDIO = "audio"
    EMBEDDINGS = "embeddings"


class Route(msgspec.Struct, frozen=True):
    """One candidate: an upstream, the model's name there, and what it costs there."""

    route_id: str
    upstream: str
    upstream_model: str
    price: Price
    windows: tuple[PriceWindow, ...] = ()
    changes: tuple[PriceChange, ...] = ()


class Model(msgspec.Struct, frozen=True):
    """A model offered to clients under its public id, with the routes that serve it.

    Without `has_output_limit` nobody has stated how long its answers may be: `output_tokens_max` is
    then what is assumed where a request does not say, and no limit for one that does.
    """

    model_id: str
    context_tokens: int
    output_tokens_max: int
    routes: tuple[Route, ...]
    owned_by: str = ""
    tier: int = 1
    capabilities: frozenset[Capability] = frozenset()
    is_auto: bool = False
    created: int = 0
    tools_max: int = TOOLS_MAX
    has_output_limit: bool = True

    def output_tokens(self, asked: int) -> int:
        """Return how much of an output budget the model can use, in tokens."""
        return min(asked, self.output_tokens_max) if self.has_output_limit else asked


class Catalog(msgspec.Struct, frozen=True):
    """All that is offered in one mode, under one version that receipts name."""

    version: str
    upstreams: dict[str, Upstream]
    models: dict[str, Model]
    price_lists: dict[str, dict[str, Route]] = {}

    def listed(self, price_list: str, route: Route) -> Route:
        """Give a route as a tenant's price list prices it; raises KeyError for an unknown list."""
        return self.price_lists[price_list].get(route.route_id, route)


def price_at(route: Route, epoch_seconds: int) -> Price:
    """Give the price in force at an instant (UTC seconds since 1970)."""
    if not route.windows and not route.changes:
        return route.price
    price, windows = route.price, route.windows
    for change in route.changes:
        if change.effective_from <= epoch_seconds:
            price, windows = change.price, change.windows
    day, second = divmod(epoch_seconds, SECONDS_PER_DAY)
    weekday = (day + _EPOCH_WEEKDAY) % 7
    minute = second // 60
    for window in windows:
        if weekday in window.weekdays and window.start_minute <= minute < window.end_minute:
            return window.price
    return price


def tier_of(price: Price, prompt_tokens: int) -> Price:
    """Give the price that applies to a prompt of so many tokens."""
    found = price
    for tier in price.tiers:
        if prompt_tokens > tier.above_prompt_tokens:
            found = tier.price
    return found
