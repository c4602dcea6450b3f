"""What a request wishes of the router: which models it may choose among, and how."""

from collections.abc import Mapping
from typing import Final

import msgspec

from jusinfer.domain.catalog import Catalog
from jusinfer.domain.errors import ModelNotFound
from jusinfer.domain.money import parse_price
from jusinfer.domain.routing.filters import Candidate
from jusinfer.domain.routing.plan import AUTO, AUTO_PREFIX, Reason, reason
from jusinfer.domain.routing.preferences import NO_PREFERENCES, Preferences
from jusinfer.domain.routing.rules import RuleTable
from jusinfer.domain.routing.selection import BALANCED, BEST, CHEAP, DIALS
from jusinfer.domain.tenant_policy import NO_POLICY, TenantPolicy

_ASKED: Final[Mapping[str, tuple[Reason, ...]]] = {
    name: (reason(f"asked_{name}"),) for name in DIALS if name != BALANCED
}
_LISTED: Final = (reason("asked_list"),)
_CAPPED: Final = (reason("spend_limit"),)


class RoutingPolicy(msgspec.Struct, frozen=True):
    """What a request names and prefers and what its tenant allows: no name of anybody.

    `model` is what the request names; `is_cheapest` that a spend limit asks for the cheapest;
    `price_list` names the prices that hold.
    """

    model: str
    tenant: TenantPolicy = NO_POLICY
    preferences: Preferences = NO_PREFERENCES
    price_list: str = ""
    is_cheapest: bool = False


class Objective(msgspec.Struct, frozen=True):
    """How to choose, what a right answer is worth (none: whatever it takes), and among which."""

    dial: str
    worth_micro: int | None
    reasons: tuple[Reason, ...] = ()
    only: tuple[str, ...] = ()


def worth_of(table: RuleTable) -> int:
    """Give what a table says one more right answer is worth, in micro-USD."""
    return parse_price(table.choose.balanced)


def is_auto(policy: RoutingPolicy) -> bool:
    """Tell whether the router chooses the model."""
    return policy.is_cheapest or policy.model == AUTO or policy.model.startswith(AUTO_PREFIX)


def parse_objective(
    policy: RoutingPolicy,
    catalog: Catalog,
    candidates: Mapping[str, Candidate],
    worth_micro: int,
) -> Objective:
    """Read the wish in the name that a request gives; raises ModelNotFound."""
    tenant = policy.tenant
    if policy.is_cheapest:
        return Objective(CHEAP, 0, _CAPPED)
    if AUTO not in catalog.models:
        raise ModelNotFound("the model is not offered with this key", param="model")
    own_worth = worth_micro if tenant.worth_micro is None else tenant.worth_micro
    said = policy.model[len(AUTO_PREFIX) :]
    dial = said or tenant.dial or BALANCED
    if dial in DIALS:
        worth = None if dial == BEST else 0 if dial == CHEAP else own_worth
        return Objective(dial, worth, _ASKED.get(dial, ()))
    names = tuple(dict.fromkeys(name.strip() for name in said.split(",")))
    known = [name for name in names if name in candidates]
    if not known:
        raise ModelNotFound(
            "use jusinfer/auto, jusinfer/auto:cheap, :balanced, :best or :fast, or models that "
            "are offered, as in jusinfer/auto:one,other",
            param="model",
        )
    if len(known) < len(names):
        raise ModelNotFound("not every model of the list may be chosen", param="model")
    return Objective(BALANCED, own_worth, _LISTED, names)
