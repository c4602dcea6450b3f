"""Which models fit a request, and what each would cost: gates first, then estimates."""

from collections.abc import Iterable
from typing import Final

import msgspec

from jusinfer.domain.catalog import Capability, Catalog, Model, Route, price_at
from jusinfer.domain.errors import InvalidRequest, JusinferError, PolicyRefused, Unavailable
from jusinfer.domain.pricing import expected_pico
from jusinfer.domain.routing.features import RequestFeatures
from jusinfer.domain.routing.filters import (
    CANDIDATE,
    ID,
    Candidate,
    Row,
    closed_gates,
    needed_bits,
    open_routes,
    table_gate,
)
from jusinfer.domain.routing.load_balancing import quota_exhausted
from jusinfer.domain.routing.objective import Objective, RoutingPolicy
from jusinfer.domain.routing.plan import Exclusion, PlannedRoute, Reason, reason
from jusinfer.domain.routing.preferences import NO_PREFERENCES
from jusinfer.domain.routing.rules import RuleTable
from jusinfer.domain.routing.selection import FAST, WHO, Fit
from jusinfer.domain.tenant_policy import NO_POLICY, TenantPolicy
from jusinfer.domain.upstream_health import HealthSnapshot

POLICY_GATES: Final = frozenset({"residency", "upstreams", "retention", "training", "price_cap"})
FIELDS_MAX: Final = 256
US_PER_SECOND: Final = 1_000_000


class Field(msgspec.Struct, frozen=True):
    """The candidates that a policy leaves, and those that it closes.

    `rows` are those of the candidates that a quick look can judge.
    """

    candidates: dict[str, Candidate]
    excluded: tuple[Exclusion, ...]
    rows: tuple[Row, ...]


class CandidateSelector:
    """The gates of one table over one catalog."""

    def __init__(self, table: RuleTable, catalog: Catalog) -> None:
        self.table = table
        self.catalog = catalog
        self.gate_order = {gate.id: place for place, gate in enumerate(table.gate)}
        self._models = [model for model in catalog.models.values() if may_be_chosen(model)]
        # What a policy leaves is the same for every request under it.
        self._fields: dict[TenantPolicy, Field] = {}
        self._all: Field | None = None
        self._all = self.field(RoutingPolicy(""))
        self.known = self._all.candidates

    def output_tokens(self, traits: RequestFeatures) -> int:
        """Give the output that a request is expected to take, in tokens."""
        if traits.output_tokens_max is not None:
            return traits.output_tokens_max
        estimate = self.table.estimate
        if traits.tool_count:
            return estimate.output_with_tools
        if traits.needs_json_schema or traits.needs_json:
            return estimate.output_with_json
        return estimate.output_plain

    def step(
        self,
        model: Model,
        route: Route,
        traits: RequestFeatures,
        policy: RoutingPolicy,
        health: HealthSnapshot,
    ) -> PlannedRoute:
        """Give a route with what a request is expected to cost on it, with what is warm there."""
        output_tokens = min(self.output_tokens(traits), model.output_tokens_max)
        cached = 0
        warm = traits.warm
        if warm is not None and (warm.upstream, warm.model_id) == (route.upstream, model.model_id):
            cached = min(warm.cached_tokens, traits.input_tokens)
        priced = route
        if policy.price_list and policy.price_list in self.catalog.price_lists:
            priced = self.catalog.listed(policy.price_list, route)
        cost = expected_pico(
            price_at(priced, health.epoch_seconds),
            traits.input_tokens,
            cached,
            output_tokens * traits.choice_count,
            traits.image_count,
        )
        return PlannedRoute(model, route, cost)

    def field(self, policy: RoutingPolicy) -> Field:
        """Give the candidates with the routes that policy and preferences leave open."""
        tenant, preferences = policy.tenant, policy.preferences
        is_plain = preferences is NO_PREFERENCES
        if is_plain:
            known = self._all if tenant is NO_POLICY else self._fields.get(tenant)
            if known is not None:
                return known
        candidates: dict[str, Candidate] = {}
        excluded: list[Exclusion] = []
        for model in self._models:
            routes = model.routes
            closed: tuple[str, ...] = ()
            if not is_plain or tenant != NO_POLICY:
                routes, closed = open_routes(model, tenant, preferences, self.catalog)
            if routes:
                candidates[model.model_id] = Candidate(model, routes)
            else:
                gates = {table_gate(gate) for gate in closed}
                excluded.append(self._exclusion(model.model_id, gates))
        rows = [one.row for one in candidates.values() if one.row is not None]
        field = Field(candidates, tuple(excluded), tuple(rows))
        if is_plain:
            if len(self._fields) >= FIELDS_MAX:
                self._fields.clear()
            self._fields[tenant] = field
        return field

    def filter_candidates(
        self,
        traits: RequestFeatures,
        policy: RoutingPolicy,
        field: Field,
        wish: Objective,
        health: HealthSnapshot,
    ) -> tuple[list[Fit], list[Exclusion]]:
        """Let the candidates through the gates; raises with the gates when none is left."""
        needs = needed_bits(traits)
        input_tokens, output_tokens = traits.input_tokens, self.output_tokens(traits)
        margin = self.table.estimate.context_margin_percent
        window_tokens = max(input_tokens, traits.window_tokens)
        needed = window_tokens * (100 + margin) + output_tokens * 100
        tools, answers = traits.tool_count, traits.choice_count
        fits: list[Fit] = []
        excluded: list[Exclusion] = []
        rest = self._among(field, wish, excluded)
        if not wish.only and _is_quick(policy, wish, health):
            # Nearly all decisions end here: one look at each candidate, and all of them fit.
            fits = [
                (input_tokens * input_micro + output_tokens * answers * output_micro, who)
                for bits, context, most, tools_max, input_micro, output_micro, who in field.rows
                if not needs & ~bits
                and needed <= context
                and most >= output_tokens
                and tools <= tools_max
            ]
            if traits.warm is not None:
                fits = [fit for fit in fits if fit[WHO][ID] != traits.warm.model_id]
            if fits and len(fits) == len(field.candidates):
                fits.sort()
                return fits, excluded
            known = {fit[WHO][ID] for fit in fits}
            rest = [one for one in field.candidates.values() if one.model_id not in known]
        for candidate in rest:
            gates = closed_gates(candidate, traits, needed)
            if gates:
                excluded.append(self._exclusion(candidate.model_id, gates))
                continue
            fit = self._fit(candidate, traits, policy, health)
            if isinstance(fit, Exclusion):
                excluded.append(fit)
            else:
                fits.append(fit)
        shorter = None if fits else self._within_reach(field, wish, traits)
        if shorter is not None:
            return self.filter_candidates(shorter, policy, field, wish, health)
        fits.sort()
        return self._sound(fits, excluded, health)

    def _within_reach(
        self, field: Field, wish: Objective, traits: RequestFeatures
    ) -> RequestFeatures | None:
        """Cut a budget that is beyond every model which can do the rest to the longest of theirs.

        None when it is not: then it keeps out the models that give less, as any gate does.
        """
        able = [
            one.model.output_tokens_max
            for one in self._among(field, wish, [])
            if not closed_gates(one, traits, 0) - {"budget"}
        ]
        longest = max(able, default=0)
        if not 0 < longest < (traits.output_tokens_max or 0):
            return None
        return msgspec.structs.replace(traits, output_tokens_max=longest)

    def _among(
        self, field: Field, wish: Objective, excluded: list[Exclusion]
    ) -> Iterable[Candidate]:
        """Give the candidates that a request may mean, and note those that a policy closes."""
        if not wish.only:
            excluded += field.excluded
            return field.candidates.values()
        excluded += [one for one in field.excluded if one.model_id in wish.only]
        return [field.candidates[name] for name in wish.only if name in field.candidates]

    def _fit(
        self,
        candidate: Candidate,
        traits: RequestFeatures,
        policy: RoutingPolicy,
        health: HealthSnapshot,
    ) -> Fit | Exclusion:
        """Find the cheapest route to a model that may be taken, or the gate that closes them."""
        steps = self.steps(candidate, traits, policy, health)
        if not steps:
            is_used_up = all(health.shut_seconds(one.upstream) for one in candidate.routes)
            return Exclusion(candidate.model_id, "account" if is_used_up else "price_cap")
        best = steps[0]
        latency_us = _latency_us(health, best.route)
        who = (candidate.tier, latency_us, candidate.model_id, candidate, best.route)
        return best.estimate_pico or 0, who

    def steps(
        self,
        candidate: Candidate,
        traits: RequestFeatures,
        policy: RoutingPolicy,
        health: HealthSnapshot,
    ) -> list[PlannedRoute]:
        """Give the routes to a model that may be taken, the cheapest first."""
        found = [
            self.step(candidate.model, route, traits, policy, health)
            for route in candidate.routes
            if not health.shut_seconds(route.upstream)
        ]
        if policy.tenant.call_nano_max is not None:
            found = [step for step in found if policy.tenant.affords(step.estimate_pico or 0)]
        found.sort(key=lambda step: step.estimate_pico or 0)
        return found

    def _sound(
        self, fits: list[Fit], excluded: list[Exclusion], health: HealthSnapshot
    ) -> tuple[list[Fit], list[Exclusion]]:
        """Leave out models whose every route is failing, unless no other is left."""
        if not fits:
            raise self._refusal(excluded, health)
        if health.is_all_healthy:
            return fits, excluded
        sound = [fit for fit in fits if not _is_failing(fit, health)]
        if not sound or len(sound) == len(fits):
            return fits, excluded
        kept = {fit[WHO][ID] for fit in sound}
        failing = [Exclusion(fit[WHO][ID], "health") for fit in fits if fit[WHO][ID] not in kept]
        return sound, [*excluded, *failing]

    def _refusal(self, excluded: list[Exclusion], health: HealthSnapshot) -> JusinferError:
        """Say why no model is left: a gate is never opened for want of one."""
        found = {exclusion.gate for exclusion in excluded}
        if "account" in found:
            shut = [
                health.shut_seconds(route.upstream)
                for exclusion in excluded
                if exclusion.gate == "account"
                for route in self.catalog.models[exclusion.model_id].routes
            ]
            return quota_exhausted(min((seconds for seconds in shut if seconds), default=1.0))
        names = ", ".join(sorted(found))
        if not found:
            return Unavailable("no model is on offer")
        if found <= POLICY_GATES:
            return PolicyRefused(
                f"the policy of this account closes every model that fits: {names}",
                param="model",
                hint="Have the account's policy changed, or name a model that it allows.",
            )
        return InvalidRequest(
            f"no model on offer fits this request: {names}",
            param="model",
            hint="Shorten the input, ask for less output, or leave out what no model can do.",
        )

    def _exclusion(self, model_id: str, gates: set[str]) -> Exclusion:
        return Exclusion(model_id, min(gates, key=self.gate_order.__getitem__))

    def counted(self, excluded: list[Exclusion]) -> tuple[Reason, ...]:
        """Give the gates that kept models out, each with how many, in the table's order."""
        if not excluded:
            return ()
        counts: dict[str, int] = {}
        for exclusion in excluded:
            counts[exclusion.gate] = counts.get(exclusion.gate, 0) - 1
        order = self.gate_order.__getitem__
        return tuple([reason(gate, counts[gate]) for gate in sorted(counts, key=order)])


def may_be_chosen(model: Model) -> bool:
    """Tell whether a model is one that the router may choose by itself."""
    return (
        not model.is_auto
        and not model.model_id.startswith("sandbox/")
        and Capability.EMBEDDINGS not in model.capabilities
    )


def _is_quick(policy: RoutingPolicy, wish: Objective, health: HealthSnapshot) -> bool:
    """Tell whether nothing but everyone's prices can matter to most costs."""
    return (
        health.is_all_healthy
        and not policy.price_list
        and policy.tenant.call_nano_max is None
        and wish.dial != FAST
    )


def _latency_us(health: HealthSnapshot, route: Route) -> int:
    return int(health.latency_seconds(route.upstream, route.upstream_model) * US_PER_SECOND)


def _is_failing(fit: Fit, health: HealthSnapshot) -> bool:
    """Tell whether no route to a model may be taken without trying its luck."""
    return all(
        health.is_open(route.upstream, route.upstream_model)
        or health.shut_seconds(route.upstream) > 0
        for route in fit[WHO][CANDIDATE].routes
    )
