"""A plan: the routes to try in order, why the first was chosen, and why others were left out."""

from typing import Final

import msgspec

from jusinfer.domain.catalog import Model, Route

ATTEMPTS_MAX: Final = 3
AUTO: Final = "jusinfer/auto"
AUTO_PREFIX: Final = "jusinfer/auto:"


class Reason(msgspec.Struct, frozen=True):
    """One reason by its id; a signal counts points, a gate (below 0) how many it kept out.

    `code` is how headers and records carry it, such as `code+3`.
    """

    reason_id: str
    amount: int
    code: str


def reason(reason_id: str, amount: int = 0) -> Reason:
    """Make a reason with its code."""
    return Reason(reason_id, amount, f"{reason_id}{amount:+d}" if amount else reason_id)


class PlannedRoute(msgspec.Struct, frozen=True):
    """One step of a plan: the model it serves, the route to it, and what it is expected to cost.

    The estimate, in pico-USD, is none where nothing was compared: a model that was named.
    """

    model: Model
    route: Route
    estimate_pico: int | None = None


class Exclusion(msgspec.Struct, frozen=True):
    """A model that may not serve a request, and the gate that says so."""

    model_id: str
    gate: str


class RoutePlan(msgspec.Struct, frozen=True):
    """The routes to try in order, and the reasons by which this order came about.

    `codes` are the reasons as one text; `score` is the sum of the signals' points; `version`
    names the rule table; `asked` is what the request named, made of ids of the catalog and of
    words of closed lists. Nothing in a plan can hold a word of a request.
    """

    routes: tuple[PlannedRoute, ...]
    reasons: tuple[Reason, ...]
    codes: str
    version: str = ""
    score: int = 0
    excluded: tuple[Exclusion, ...] = ()
    asked: str = ""


def coded(reasons: tuple[Reason, ...]) -> str:
    """Give reasons as one text, such as `code+3,schema-1`."""
    return ",".join([one.code for one in reasons])


def read_codes(codes: str) -> tuple[Reason, ...]:
    """Read what `coded` wrote; a part that cannot be read is a reason without an amount."""
    found: list[Reason] = []
    for code in codes.split(","):
        for sign in "+-":
            name, found_sign, digits = code.rpartition(sign)
            if found_sign and digits.isdecimal() and name:
                found.append(reason(name, int(sign + digits)))
                break
        else:
            if code:
                found.append(reason(code))
    return tuple(found)
