"""The decision: a pure function from traits, policy, table, catalog and health to a route plan.

It sees no text, no tenant, no person and no country; the time is in the snapshot of health and
the dice come in. The same values give the same plan in any process.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Final

import msgspec

from jusinfer.domain.catalog import Catalog
from jusinfer.domain.errors import (
    JusinferError,
    ModelNotFound,
)
from jusinfer.domain.routing.candidates import CandidateSelector
from jusinfer.domain.routing.explicit import (
    EXPLICIT,
    EXPLICIT_CODE,
    asked_name,
    explicit_plan,
    plan_named,
)
from jusinfer.domain.routing.features import RequestFeatures
from jusinfer.domain.routing.filters import CANDIDATE, ID, ROUTE, TIER
from jusinfer.domain.routing.load_balancing import by_health
from jusinfer.domain.routing.objective import (
    Objective,
    RoutingPolicy,
    is_auto,
    parse_objective,
    worth_of,
)
from jusinfer.domain.routing.plan import (
    ATTEMPTS_MAX,
    PlannedRoute,
    Reason,
    RoutePlan,
    coded,
    reason,
)
from jusinfer.domain.routing.preferences import NO_PREFERENCES
from jusinfer.domain.routing.rules import OUTCOMES, RuleTable
from jusinfer.domain.routing.scoring import Scorer
from jusinfer.domain.routing.selection import (
    CHEAP,
    COST,
    FAST,
    WHO,
    Fit,
    QualityGains,
    fallbacks,
    fastest,
    strongest,
)
from jusinfer.domain.upstream_health import HealthSnapshot, zero_random

Dice = Callable[[], float]
WHY: Final[Mapping[str, Reason]] = {name: reason(name) for name in OUTCOMES}


def decide(
    traits: RequestFeatures,
    policy: RoutingPolicy,
    table: RuleTable,
    catalog: Catalog,
    health: HealthSnapshot,
    random: Dice,
) -> RoutePlan:
    """Plan the routes of a request, or refuse with what is wrong."""
    return Router(table, catalog).decide(traits, policy, health, random)


class Router:
    """One table and one catalog made ready for many decisions; keeps nothing of any request."""

    def __init__(self, table: RuleTable, catalog: Catalog) -> None:
        self.table = table
        self.catalog = catalog
        self.fitting = CandidateSelector(table, catalog)
        self.gains = QualityGains(table)
        self.scorer = Scorer(table)
        self._worth_micro = worth_of(table)
        self._explicit = {
            model.model_id: explicit_plan(model, table.version)
            for model in catalog.models.values()
            if not model.is_auto
        }

    def named(self, model_id: str, input_tokens: int) -> RoutePlan | None:
        """Give the plan of a model that is named, where nobody forbids or prefers anything."""
        plan = self._explicit.get(model_id)
        if plan is None or input_tokens > plan.routes[0].model.context_tokens:
            return None
        return plan

    def decide(
        self,
        traits: RequestFeatures,
        policy: RoutingPolicy,
        health: HealthSnapshot,
        random: Dice,
        ignored: Collection[str] = (),
    ) -> RoutePlan:
        """Plan the routes of a request, or refuse with what is wrong.

        `ignored` are ids of signals that do not count, to ask what would be without them.
        """
        if policy.preferences.models and not policy.is_cheapest:
            return self._listed(traits, policy, health, random)
        if not is_auto(policy):
            steps = plan_named(
                traits,
                policy,
                self.catalog,
                health,
                random,
                lambda model, route: self.fitting.step(model, route, traits, policy, health),
            )
            asked = asked_name(policy, self.catalog)
            return RoutePlan(steps, EXPLICIT, EXPLICIT_CODE, self.table.version, asked=asked)
        # Before a spend limit's short cut: a name that nobody knows is refused, not recorded.
        asked = asked_name(policy, self.catalog) if policy.is_cheapest else ""
        field = self.fitting.field(policy)
        wish = parse_objective(policy, self.catalog, self.fitting.known, self._worth_micro)
        output_tokens = self.fitting.output_tokens(traits)
        fits, excluded = self.fitting.filter_candidates(traits, policy, field, wish, health)
        score, fired = self.scorer.score(traits, output_tokens, ignored)
        chosen, why = self.choose(fits, wish, traits, score)
        steps = self._steps(fits, chosen, wish, traits, policy, health, random)
        reasons = (*wish.reasons, *fired, WHY[why], *self.fitting.counted(excluded))
        version = self.table.version
        asked = asked or asked_name(policy, self.catalog)
        return RoutePlan(steps, reasons, coded(reasons), version, score, tuple(excluded), asked)

    def decisive_signals(
        self,
        plan: RoutePlan,
        traits: RequestFeatures,
        policy: RoutingPolicy,
        health: HealthSnapshot,
    ) -> frozenset[str]:
        """Give the ids of the signals without which another model would have been chosen."""
        chosen = plan.routes[0].model.model_id
        found: set[str] = set()
        for one in plan.reasons:
            if one.amount and one.reason_id not in self.fitting.gate_order:
                other = self.decide(traits, policy, health, zero_random, (one.reason_id,))
                if other.routes[0].model.model_id != chosen:
                    found.add(one.reason_id)
        return frozenset(found)

    def estimated(
        self,
        plan: RoutePlan,
        traits: RequestFeatures,
        policy: RoutingPolicy,
        health: HealthSnapshot,
    ) -> RoutePlan:
        """Give a plan to be shown: with estimates where none were needed to make it."""
        steps = tuple(
            step
            if step.estimate_pico is not None
            else self.fitting.step(step.model, step.route, traits, policy, health)
            for step in plan.routes
        )
        return msgspec.structs.replace(plan, routes=steps)

    # ------------------------------------------------------------------ choice

    def choose(
        self, fits: list[Fit], wish: Objective, traits: RequestFeatures, score: int
    ) -> tuple[Fit, str]:
        """Choose one of the models that fit, and say by what."""
        cheapest = fits[0]
        if len(fits) == 1:
            return cheapest, "no_other"
        if wish.worth_micro is None:
            return strongest(fits), "strongest"
        if wish.dial == FAST:
            return fastest(fits), "fastest"
        if wish.dial == CHEAP:
            return cheapest, "cheapest"
        chosen = self.gains.best(fits, score, wish.worth_micro)
        stay = self._staying(fits, traits, chosen, score)
        if stay is not None:
            return stay, "kept_warm"
        return chosen, "not_worth_it" if chosen is cheapest else "worth_it"

    def _staying(
        self, fits: list[Fit], traits: RequestFeatures, chosen: Fit, score: int
    ) -> Fit | None:
        """Give the model that a conversation stays with, when it is not the one chosen anyway."""
        warm, rise = traits.warm, self.table.choose.keep_until_rise
        if warm is None or not rise or warm.model_id == chosen[WHO][ID]:
            return None
        stay = next((fit for fit in fits if fit[WHO][ID] == warm.model_id), None)
        if stay is None or (score - warm.score >= rise and chosen[WHO][TIER] < stay[WHO][TIER]):
            return None
        return stay

    def _steps(  # noqa: PLR0913, PLR0917 (one for each thing that orders routes)
        self,
        fits: list[Fit],
        chosen: Fit,
        wish: Objective,
        traits: RequestFeatures,
        policy: RoutingPolicy,
        health: HealthSnapshot,
        random: Dice,
    ) -> tuple[PlannedRoute, ...]:
        """Give the routes of the chosen model in order, then the cheapest of what stands in."""
        candidate = chosen[WHO][CANDIDATE]
        if len(candidate.routes) == 1:
            steps = [PlannedRoute(candidate.model, chosen[WHO][ROUTE], chosen[COST])]
        else:
            steps = by_health(
                self.fitting.steps(candidate, traits, policy, health),
                health,
                random,
                traits.warm,
                policy.preferences.sorts,
            )
        if not policy.preferences.has_fallbacks:
            return tuple(steps[:1])
        if len(steps) < ATTEMPTS_MAX and len(fits) > 1:
            for fit in fallbacks(fits, chosen, wish.dial, ATTEMPTS_MAX - len(steps)):
                steps.append(PlannedRoute(fit[WHO][CANDIDATE].model, fit[WHO][ROUTE], fit[COST]))
        return tuple(steps[:ATTEMPTS_MAX])

    def _listed(
        self, traits: RequestFeatures, policy: RoutingPolicy, health: HealthSnapshot, random: Dice
    ) -> RoutePlan:
        """Plan a list of models: each that is offered, in order, the named one first."""
        preferences = msgspec.structs.replace(policy.preferences, models=())
        if preferences == NO_PREFERENCES:
            preferences = NO_PREFERENCES
        plans: list[RoutePlan] = []
        refusal: JusinferError | None = None
        for name in dict.fromkeys((policy.model, *policy.preferences.models)):
            own = msgspec.structs.replace(policy, model=name, preferences=preferences)
            try:
                plans.append(self.decide(traits, own, health, random))
            except JusinferError as error:
                refusal = refusal or error
        if not plans:
            raise refusal or ModelNotFound("no model was named", param="models")
        steps = tuple(step for plan in plans for step in plan.routes)
        if not preferences.has_fallbacks:
            steps = steps[:1]
        return msgspec.structs.replace(plans[0], routes=steps[:ATTEMPTS_MAX])
