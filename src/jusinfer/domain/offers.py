"""From entries of upstreams and prices, as an operator writes them, to the catalogs of both modes.

An entry without a price, with a negative one or with one finer than the unit is refused by name:
a model whose price is not known is never offered.
"""

import hashlib
import re
from typing import Final
from urllib.parse import urlsplit

import msgspec

from jusinfer.domain.catalog import (
    Capability,
    Catalog,
    Model,
    Price,
    PriceWindow,
    Route,
    Upstream,
)
from jusinfer.domain.money import MoneyError, parse_price

MODEL_ID_CHARS_MAX: Final = 256
AUTO_MODEL: Final = "jusinfer/auto"
SANDBOX: Final = "sandbox"
OUTPUT_TOKENS_DEFAULT: Final = 8_192
CONTEXT_TOKENS_DEFAULT: Final = 131_072
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_CLOCK: Final = re.compile(r"([01]\d|2[0-4]):([0-5]\d)")


class OfferError(ValueError):
    """An entry that cannot be offered; the text names the entry and how to mend it."""


class WindowEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hours of the UTC day at another price; weekdays count from Monday = 0."""

    start: str
    end: str
    input: str
    output: str
    cache_read: str | None = None
    cache_write: str | None = None
    weekdays: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6)


class ModelEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One model at one upstream; prices are decimal texts in USD per million tokens."""

    id: str
    input: str | None = None
    output: str | None = None
    cache_read: str | None = None
    cache_write: str | None = None
    upstream_model: str | None = None
    context_tokens: int = CONTEXT_TOKENS_DEFAULT
    output_tokens_max: int = OUTPUT_TOKENS_DEFAULT
    tier: int = 1
    capabilities: tuple[Capability, ...] = ()
    windows: tuple[WindowEntry, ...] = ()
    owned_by: str = ""


class UpstreamEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One upstream with the models it serves; `api_key_env` names the variable with its key."""

    name: str
    base_url: str = ""
    dialect: str = "openai_chat"
    api_key: str = ""
    api_key_env: str = ""
    is_local: bool = False
    ca_file: str | None = None
    quirks: tuple[str, ...] = ()
    headers: dict[str, str] = {}
    first_event_seconds: float = 120.0
    between_events_seconds: float = 60.0
    total_seconds: float = 900.0
    model: tuple[ModelEntry, ...] = ()


class Offers(msgspec.Struct, frozen=True):
    """What is offered: one catalog for live keys, one for test keys."""

    live: Catalog
    test: Catalog


def upstream_of(entry: UpstreamEntry, api_key: str) -> Upstream:
    """Turn an entry into an upstream, or say what is wrong with it."""
    where = f"upstream {entry.name!r}"
    if not _NAME.fullmatch(entry.name):
        raise OfferError(f"{where}: use lower-case letters, digits, `-` and `_` for its name")
    if entry.dialect != "openai_chat":
        raise OfferError(f"{where}: dialect {entry.dialect!r} is not known; use openai_chat")
    parts = urlsplit(entry.base_url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query:
        raise OfferError(f"{where}: base_url must look like https://host/v1")
    if parts.username or parts.password:
        raise OfferError(f"{where}: put the key in api_key_env, not into base_url")
    is_tls = parts.scheme == "https"
    if not is_tls and not entry.is_local:
        raise OfferError(f"{where}: plain http is for local upstreams; add is_local = true")
    try:
        port = parts.port or (443 if is_tls else 80)
    except ValueError as error:
        raise OfferError(f"{where}: the port in base_url must be 1 to 65535") from error
    return Upstream(
        name=entry.name,
        host=parts.hostname,
        port=port,
        is_tls=is_tls,
        base_path=parts.path.rstrip("/"),
        dialect=entry.dialect,
        api_key=api_key,
        is_local=entry.is_local,
        ca_file=entry.ca_file,
        quirks=entry.quirks,
        headers=tuple(sorted(entry.headers.items())),
        first_event_seconds=entry.first_event_seconds,
        between_events_seconds=entry.between_events_seconds,
        total_seconds=entry.total_seconds,
    )


def offers_of(
    live: list[tuple[UpstreamEntry, str]], known: list[UpstreamEntry], sandbox: Upstream | None
) -> Offers:
    """Build both catalogs: the live one from upstreams with keys, the test one from all names.

    In test mode every known model is served by the sandbox under its own name and price, so a
    test key can rehearse exactly what a live key will do.
    """
    live_models: dict[str, Model] = {}
    upstreams: dict[str, Upstream] = {}
    for entry, api_key in live:
        upstreams[entry.name] = upstream_of(entry, api_key)
        for row in entry.model:
            _add(live_models, row, entry.name)
    test_models: dict[str, Model] = {}
    if sandbox is not None:
        for entry in known:
            for row in entry.model:
                if row.id not in test_models:
                    _add(test_models, row, SANDBOX, upstream_model=row.id)
    version = _version(known)
    _with_auto(live_models)
    _with_auto(test_models)
    return Offers(
        live=Catalog(version=version, upstreams=upstreams, models=live_models),
        test=Catalog(
            version=version,
            upstreams={} if sandbox is None else {SANDBOX: sandbox},
            models=test_models,
        ),
    )


def _add(
    models: dict[str, Model], row: ModelEntry, upstream: str, upstream_model: str | None = None
) -> None:
    route = Route(
        route_id=f"{upstream}:{row.id}",
        upstream=upstream,
        upstream_model=upstream_model or row.upstream_model or row.id,
        price=_price(row, f"model {row.id!r} of upstream {upstream!r}"),
        windows=tuple(_window(row, window) for window in row.windows),
    )
    if not row.id or len(row.id) > MODEL_ID_CHARS_MAX or row.id.startswith("jusinfer/"):
        raise OfferError(f"model id {row.id!r}: use 1 to 256 characters, not beginning jusinfer/")
    if row.context_tokens < 1 or row.output_tokens_max < 1:
        raise OfferError(f"model {row.id!r}: context_tokens and output_tokens_max must be above 0")
    known = models.get(row.id)
    if known is not None:
        models[row.id] = msgspec.structs.replace(
            known,
            routes=(*known.routes, route),
            context_tokens=min(known.context_tokens, row.context_tokens),
            output_tokens_max=min(known.output_tokens_max, row.output_tokens_max),
            capabilities=known.capabilities & frozenset(row.capabilities),
        )
        return
    models[row.id] = Model(
        model_id=row.id,
        context_tokens=row.context_tokens,
        output_tokens_max=row.output_tokens_max,
        routes=(route,),
        owned_by=row.owned_by or upstream,
        tier=row.tier,
        capabilities=frozenset(row.capabilities),
    )


def _price(row: ModelEntry | WindowEntry, where: str) -> Price:
    if row.input is None or row.output is None:
        raise OfferError(
            f"{where}: a price is missing; state input and output in USD per million tokens"
            ' (input = "0" if it is free)'
        )
    try:
        return Price(
            input_micro_per_mtok=parse_price(row.input),
            output_micro_per_mtok=parse_price(row.output),
            cache_read_micro_per_mtok=_maybe(row.cache_read),
            cache_write_micro_per_mtok=_maybe(row.cache_write),
        )
    except MoneyError as error:
        raise OfferError(f"{where}: price {error}") from error


def _maybe(text: str | None) -> int | None:
    return None if text is None else parse_price(text)


def _window(row: ModelEntry, window: WindowEntry) -> PriceWindow:
    where = f"model {row.id!r}, window {window.start}-{window.end}"
    start, end = _minute(window.start, where), _minute(window.end, where)
    if start >= end:
        raise OfferError(f"{where}: the start must be before the end; split it at midnight")
    if any(not 0 <= day <= 6 for day in window.weekdays):  # noqa: PLR2004 (seven days)
        raise OfferError(f"{where}: weekdays count from 0 (Monday) to 6 (Sunday)")
    return PriceWindow(
        start_minute=start,
        end_minute=end,
        price=_price(window, where),
        weekdays=window.weekdays,
    )


def _minute(text: str, where: str) -> int:
    match = _CLOCK.fullmatch(text)
    if match is None:
        raise OfferError(f"{where}: write hours as 09:30, up to 24:00")
    return int(match[1]) * 60 + int(match[2])


def _with_auto(models: dict[str, Model]) -> None:
    """Offer the router's own name when there is something to choose from."""
    candidates = [model for model in models.values() if not model.model_id.startswith("sandbox/")]
    if candidates:
        models[AUTO_MODEL] = Model(
            model_id=AUTO_MODEL,
            context_tokens=max(model.context_tokens for model in candidates),
            output_tokens_max=max(model.output_tokens_max for model in candidates),
            routes=(),
            owned_by="jusinfer",
            is_auto=True,
            capabilities=frozenset().union(*(model.capabilities for model in candidates)),
        )


def _version(known: list[UpstreamEntry]) -> str:
    """Name a price list by what it says, so that a receipt names exactly what was in force."""
    text = msgspec.json.encode([(entry.name, entry.model) for entry in known])
    return hashlib.sha256(text).hexdigest()[:12]
