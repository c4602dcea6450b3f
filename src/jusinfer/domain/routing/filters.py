"""What lets a model serve a request: what it can do, and routes that a policy leaves open."""

from typing import Final

from jusinfer.domain.catalog import Capability, Catalog, Model, Route
from jusinfer.domain.routing.features import RequestFeatures
from jusinfer.domain.routing.preferences import Preferences, preference_gate
from jusinfer.domain.tenant_policy import TenantPolicy, closed_gate

_BITS: Final = (
    (1, Capability.TOOLS),
    (2, Capability.VISION),
    (4, Capability.AUDIO),
    (8, Capability.JSON_SCHEMA),
)
TOOLS, VISION, AUDIO, SCHEMA = (bit for bit, _ in _BITS)


def table_gate(name: str) -> str:
    """Give what the rule table calls a gate of a policy or of a preference."""
    if name in {"region", "jurisdiction"}:
        return "residency"
    if name in {"zdr", "provider.zdr"}:
        return "retention"
    if name == "no_training":
        return "training"
    return "upstreams" if name == "allowed_upstreams" else "preference"


class Candidate:
    """A model with the routes that are open to somebody, and what its gates look at made ready.

    `tier` is below 0, so that of two that cost the same the stronger comes first.
    """

    __slots__ = ("bits", "model", "model_id", "routes", "row", "tier")

    def __init__(self, model: Model, routes: tuple[Route, ...]) -> None:
        self.model = model
        self.model_id = model.model_id
        self.routes = routes
        self.tier = -model.tier
        self.bits = sum(bit for bit, capability in _BITS if capability in model.capabilities)
        self.row = self._row()

    def _row(self) -> "Row | None":
        """Give what a quick look needs, where the prices of input and output are all that counts.

        Bits of what it can do, its window in hundredths of a token, its longest answer, the most
        tools, both prices, and who it is.
        """
        model, route, price = self.model, self.routes[0], self.routes[0].price
        if len(self.routes) > 1 or route.windows or route.changes or price.tiers or price.extras:
            return None
        return (
            self.bits,
            model.context_tokens * 100,
            model.output_tokens_max,
            model.tools_max,
            price.input_micro_per_mtok,
            price.output_micro_per_mtok,
            (self.tier, 0, model.model_id, self, route),
        )


# Tier below 0, microseconds to the first byte (where they matter), id, itself, cheapest route.
Who = tuple[int, int, str, Candidate, Route]
TIER: Final = 0
LATENCY: Final = 1
ID: Final = 2
CANDIDATE: Final = 3
ROUTE: Final = 4
Row = tuple[int, int, int, int, int, int, Who]


def open_routes(
    model: Model, tenant: TenantPolicy, preferences: Preferences, catalog: Catalog
) -> tuple[tuple[Route, ...], tuple[str, ...]]:
    """Give the routes that policy and preferences allow, and the gates that close the others."""
    kept: list[Route] = []
    closed: list[str] = []
    for route in model.routes:
        upstream = catalog.upstreams[route.upstream]
        gate = closed_gate(tenant, upstream) or preference_gate(preferences, route, upstream)
        if gate is None:
            kept.append(route)
        elif gate not in closed:
            closed.append(gate)
    return tuple(kept), tuple(closed)


def needed_bits(traits: RequestFeatures) -> int:
    """Give what a request needs of a model, as bits."""
    return (
        (TOOLS if traits.tool_count else 0)
        | (VISION if traits.has_images else 0)
        | (AUDIO if traits.has_audio else 0)
        | (SCHEMA if traits.needs_json_schema else 0)
    )


def closed_gates(candidate: Candidate, traits: RequestFeatures, needed_tokens: int) -> set[str]:
    """Give the gates, as the table names them, by which a model cannot serve a request.

    `needed_tokens` are hundredths of a token, with the margin.
    """
    missing = needed_bits(traits) & ~candidate.bits
    found: set[str] = set()
    if missing & (VISION | AUDIO):
        found.add("modality")
    if missing & TOOLS or traits.tool_count > candidate.model.tools_max:
        found.add("tools")
    if missing & SCHEMA:
        found.add("schema")
    if needed_tokens > candidate.model.context_tokens * 100:
        found.add("context")
    if (traits.output_tokens_max or 0) > candidate.model.output_tokens_max:
        found.add("budget")
    return found
