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
    TOOLS_MAX,
    Capability,
    Catalog,
    DataHandling,
    Model,
    Route,
    Upstream,
)
from jusinfer.domain.price_parser import (
    ChangeEntry,
    OfferError,
    PriceSchedule,
    TieredEntry,
    WindowEntry,
    tariff_of,
)

MODEL_ID_CHARS_MAX: Final = 256
AUTO_MODEL: Final = "jusinfer/auto"
SANDBOX: Final = "sandbox"
OUTPUT_TOKENS_DEFAULT: Final = 8_192
CONTEXT_TOKENS_DEFAULT: Final = 131_072
ATTEMPTS_MAX: Final = 3
TIER_MAX: Final = 9
PROVIDER_APIS: Final = ("openai_chat", "anthropic", "workers_ai")
AUTHS: Final = ("bearer", "x-api-key", "api-key", "none")
_QUERY: Final = re.compile(r"(?:[A-Za-z0-9._~-]+=[A-Za-z0-9._~-]*(?:&|$))*")
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")


class ModelEntry(TieredEntry, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One model at one upstream; its margin counts instead of the upstream's."""

    id: str
    upstream_model: str | None = None
    context_tokens: int = CONTEXT_TOKENS_DEFAULT
    output_tokens_max: int | None = None
    tier: int = 1
    tools_max: int = TOOLS_MAX
    capabilities: tuple[Capability, ...] = ()
    windows: tuple[WindowEntry, ...] = ()
    changes: tuple[ChangeEntry, ...] = ()
    margin_bp: int | None = None
    owned_by: str = ""


class UpstreamEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One upstream with the models it serves; `api_key_env` names the variable with its key."""

    name: str
    base_url: str = ""
    provider_api: str = msgspec.field(default="openai_chat", name="api")
    api_key: str = ""
    api_key_env: str = ""
    is_local: bool = False
    ca_file: str | None = None
    flags: tuple[str, ...] = msgspec.field(default=(), name="compatibility")
    headers: dict[str, str] = {}
    query: str = ""
    auth: str = ""
    gateway_token: str = ""
    gateway_token_env: str = ""
    region: str = ""
    jurisdiction: str = ""
    retention_days: int | None = None
    trains_on_prompts: bool | None = None
    is_zdr: bool = False
    attempts_max: int = 2
    connect_seconds: float = 5.0
    hedge_seconds: float = 0.0
    first_event_seconds: float = 120.0
    between_events_seconds: float = 60.0
    total_seconds: float = 900.0
    margin_bp: int = 0
    model: tuple[ModelEntry, ...] = ()


class PriceListModelEntry(TieredEntry, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A model's own price in a price list, at one upstream or at all that serve it."""

    id: str
    upstream: str = ""
    windows: tuple[WindowEntry, ...] = ()
    changes: tuple[ChangeEntry, ...] = ()


class PriceListEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Prices for the tenants that are on this list.

    What it does not name costs what it always does, with the list's margin instead of the
    catalog's when it states one.
    """

    name: str
    margin_bp: int | None = None
    model: tuple[PriceListModelEntry, ...] = ()


class Catalogs(msgspec.Struct, frozen=True):
    """What is offered: one catalog for live keys, one for test keys."""

    live: Catalog
    test: Catalog


def upstream_of(entry: UpstreamEntry, api_key: str) -> Upstream:
    """Turn an entry into an upstream, or say what is wrong with it."""
    where = f"upstream {entry.name!r}"
    _refuse_words(entry, where)
    if not 1 <= entry.attempts_max <= ATTEMPTS_MAX:
        raise OfferError(f"{where}: attempts_max must be 1 to {ATTEMPTS_MAX}")
    if not _QUERY.fullmatch(entry.query):
        raise OfferError(f"{where}: query must look like api-version=2024-10-21")
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
        provider_api=entry.provider_api,
        api_key=api_key,
        is_local=entry.is_local,
        ca_file=entry.ca_file,
        flags=entry.flags,
        headers=tuple(sorted(entry.headers.items())),
        query=entry.query,
        auth=entry.auth or ("x-api-key" if entry.provider_api == "anthropic" else "bearer"),
        gateway_token=entry.gateway_token,
        facts=DataHandling(
            entry.region,
            entry.jurisdiction,
            entry.retention_days,
            entry.trains_on_prompts,
            entry.is_zdr,
        ),
        attempts_max=entry.attempts_max,
        connect_seconds=entry.connect_seconds,
        hedge_seconds=entry.hedge_seconds,
        first_event_seconds=entry.first_event_seconds,
        between_events_seconds=entry.between_events_seconds,
        total_seconds=entry.total_seconds,
    )


def _refuse_words(entry: UpstreamEntry, where: str) -> None:
    """Refuse a name, a provider API, a way to log in or a compatibility flag that is not one."""
    if not _NAME.fullmatch(entry.name):
        raise OfferError(f"{where}: use lower-case letters, digits, `-` and `_` for its name")
    if entry.provider_api not in PROVIDER_APIS:
        known = ", ".join(PROVIDER_APIS)
        raise OfferError(
            f"{where}: provider API {entry.provider_api!r} is not known; use one of {known}"
        )
    if "responses" in entry.flags and entry.provider_api != "openai_chat":
        raise OfferError(
            f"{where}: the compatibility flag `responses` is for provider API openai_chat"
        )
    if entry.auth and entry.auth not in AUTHS:
        raise OfferError(f"{where}: auth {entry.auth!r} is not known; use {', '.join(AUTHS)}")


def offers_of(
    live: list[tuple[UpstreamEntry, str]],
    known: list[UpstreamEntry],
    sandbox: Upstream | None,
    price_lists: tuple[PriceListEntry, ...] = (),
) -> Catalogs:
    """Build both catalogs: the live one from upstreams with keys, the test one from all names.

    In test mode every known model is served by the sandbox under its own name and price, so a
    test key can rehearse exactly what a live key will do.
    """
    live_models: dict[str, Model] = {}
    upstreams: dict[str, Upstream] = {}
    for entry, api_key in live:
        upstreams[entry.name] = upstream_of(entry, api_key)
        for row in entry.model:
            _add(live_models, row, entry, entry.name)
    test_models: dict[str, Model] = {}
    if sandbox is not None:
        for entry in known:
            for row in entry.model:
                if row.id not in test_models:
                    _add(test_models, row, entry, SANDBOX, upstream_model=row.id)
    version = _version(known, price_lists)
    served = [entry for entry, _ in live]
    _with_auto(live_models)
    _with_auto(test_models)
    return Catalogs(
        live=Catalog(
            version=version,
            upstreams=upstreams,
            models=live_models,
            price_lists=priced(price_lists, served, live_models),
        ),
        test=Catalog(
            version=version,
            upstreams={} if sandbox is None else {SANDBOX: sandbox},
            models=test_models,
            price_lists=priced(price_lists, known, test_models),
        ),
    )


def _add(
    models: dict[str, Model],
    row: ModelEntry,
    entry: UpstreamEntry,
    upstream: str,
    upstream_model: str | None = None,
) -> None:
    where = f"model {row.id!r} of upstream {entry.name!r}"
    margin_bp = entry.margin_bp if row.margin_bp is None else row.margin_bp
    tariff = tariff_of(row, row.windows, row.changes, where, margin_bp)
    route = Route(
        route_id=f"{upstream}:{row.id}",
        upstream=upstream,
        upstream_model=upstream_model or row.upstream_model or row.id,
        price=tariff.price,
        windows=tariff.windows,
        changes=tariff.changes,
    )
    if not row.id or len(row.id) > MODEL_ID_CHARS_MAX or row.id.startswith("jusinfer/"):
        raise OfferError(f"model id {row.id!r}: use 1 to 256 characters, not beginning jusinfer/")
    output_tokens_max = (
        OUTPUT_TOKENS_DEFAULT if row.output_tokens_max is None else row.output_tokens_max
    )
    if row.context_tokens < 1 or output_tokens_max < 1:
        raise OfferError(f"model {row.id!r}: context_tokens and output_tokens_max must be above 0")
    if row.tools_max < 1 or not 0 <= row.tier <= TIER_MAX:
        raise OfferError(f"model {row.id!r}: tools_max must be above 0, tier 0 to {TIER_MAX}")
    if Capability.EMBEDDINGS in row.capabilities and route.price.output_micro_per_mtok:
        raise OfferError(f"model {row.id!r}: embeddings have no output; set output to 0")
    known = models.get(row.id)
    if known is not None:
        models[row.id] = msgspec.structs.replace(
            known,
            routes=(*known.routes, route),
            context_tokens=min(known.context_tokens, row.context_tokens),
            output_tokens_max=min(known.output_tokens_max, output_tokens_max),
            has_output_limit=known.has_output_limit or row.output_tokens_max is not None,
            tools_max=min(known.tools_max, row.tools_max),
            capabilities=known.capabilities & frozenset(row.capabilities),
        )
        return
    models[row.id] = Model(
        model_id=row.id,
        context_tokens=row.context_tokens,
        output_tokens_max=output_tokens_max,
        has_output_limit=row.output_tokens_max is not None,
        routes=(route,),
        owned_by=row.owned_by or upstream,
        tier=row.tier,
        tools_max=row.tools_max,
        capabilities=frozenset(row.capabilities),
    )


def priced(
    price_lists: tuple[PriceListEntry, ...],
    entries: list[UpstreamEntry],
    models: dict[str, Model],
) -> dict[str, dict[str, Route]]:
    """Give, for each price list, the routes that it prices otherwise; raises OfferError."""
    found: dict[str, dict[str, Route]] = {}
    for listed in price_lists:
        if not _NAME.fullmatch(listed.name) or listed.name in found:
            raise OfferError(f"price list {listed.name!r}: use a name of its own, in lower case")
        found[listed.name] = _listed(listed, entries, models)
    return found


def _listed(
    listed: PriceListEntry, entries: list[UpstreamEntry], models: dict[str, Model]
) -> dict[str, Route]:
    named = {(row.id, row.upstream): row for row in listed.model}
    routes: dict[str, Route] = {}
    for entry in entries:
        for row in entry.model:
            own = named.get((row.id, entry.name)) or named.get((row.id, ""))
            where = f"price list {listed.name!r}, model {row.id!r}"
            if own is not None:
                tariff = tariff_of(own, own.windows, own.changes, where, 0)
            elif listed.margin_bp is not None:
                tariff = tariff_of(row, row.windows, row.changes, where, listed.margin_bp)
            else:
                continue
            model = models.get(row.id)
            for route in () if model is None else model.routes:
                if route.upstream in {entry.name, SANDBOX} and route.route_id not in routes:
                    routes[route.route_id] = msgspec.structs.replace(
                        route, price=tariff.price, windows=tariff.windows, changes=tariff.changes
                    )
    return routes


def tariffs(catalog: Catalog) -> dict[str, dict[str, PriceSchedule]]:
    """Give every route's prices by price list ("" is everyone's), to be kept for receipts."""
    plain = {
        route.route_id: PriceSchedule(route.price, route.windows, route.changes)
        for model in catalog.models.values()
        for route in model.routes
    }
    found = {"": plain}
    for name, routes in catalog.price_lists.items():
        found[name] = {
            route_id: PriceSchedule(route.price, route.windows, route.changes)
            for route_id, route in routes.items()
        }
    return found


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


def _version(known: list[UpstreamEntry], price_lists: tuple[PriceListEntry, ...]) -> str:
    """Name all prices by what they say, so that a receipt names exactly what was in force."""
    said = [(entry.name, entry.margin_bp, entry.model) for entry in known]
    return hashlib.sha256(msgspec.json.encode((said, price_lists))).hexdigest()[:12]
