"""What a request prefers among the routes to a model, in OpenRouter's words."""

from typing import Final

import msgspec

from jusinfer.domain.catalog import Price, Route, Upstream
from jusinfer.domain.errors import InvalidRequest, PolicyRefused
from jusinfer.domain.routing.plan import PlannedRoute

NAMES_MAX: Final = 32
FALLBACKS_MAX: Final = 8


class Preferences(msgspec.Struct, frozen=True):
    """What one request prefers. Names are those of upstreams; prices micro-USD per million."""

    models: tuple[str, ...] = ()
    order: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    has_fallbacks: bool = True
    is_zdr: bool = False
    input_micro_max: int | None = None
    output_micro_max: int | None = None
    sort: str = ""

    @property
    def sorts(self) -> str:
        """Say by what routes are sorted; nothing where health may decide."""
        return self.sort or ("order" if self.order else "")


NO_PREFERENCES: Final = Preferences()


def preference_gate(preferences: Preferences, route: Route, upstream: Upstream) -> str | None:
    """Name the first of a request's preferences that a route does not meet."""
    if preferences is NO_PREFERENCES:
        return None
    name = route.upstream
    if preferences.is_zdr and not upstream.facts.is_zdr:
        return "provider.zdr"
    if preferences.only and name not in preferences.only:
        return "provider.only"
    if name in preferences.ignore:
        return "provider.ignore"
    if _is_dearer(route.price, preferences):
        return "provider.max_price"
    return None


def _is_dearer(price: Price, preferences: Preferences) -> bool:
    most_in, most_out = preferences.input_micro_max, preferences.output_micro_max
    return (most_in is not None and price.input_micro_per_mtok > most_in) or (
        most_out is not None and price.output_micro_per_mtok > most_out
    )


def ordered(steps: list[PlannedRoute], preferences: Preferences) -> list[PlannedRoute]:
    """Put routes in the order that a request prefers."""
    if preferences.sort == "price":
        steps = sorted(
            steps,
            key=lambda step: (
                step.route.price.input_micro_per_mtok + step.route.price.output_micro_per_mtok
            ),
        )
    if preferences.order:
        places = {name: place for place, name in enumerate(preferences.order)}
        steps = sorted(steps, key=lambda step: places.get(step.route.upstream, len(places)))
    return steps


def refused(closed: tuple[str, ...]) -> PolicyRefused | InvalidRequest:
    """Give the refusal of a model whose every route is closed, naming the gates."""
    asked = [gate for gate in closed if gate.startswith("provider.")]
    if len(asked) == len(closed):
        return InvalidRequest(
            f"no route to this model fits what the request prefers: {', '.join(asked)}",
            param=asked[0] if asked else "model",
            hint="Ask for less in `provider`, or choose another model.",
        )
    return PolicyRefused(
        f"the policy of this account closes every route to this model: {', '.join(closed)}",
        param="model",
        hint="Choose another model, or have the account's policy changed.",
    )
