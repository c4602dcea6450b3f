"""Whether a completion may begin: key, request, plan, rates and bound, in this order."""

from typing import Final

import msgspec

from jusinfer.domain.catalog import Catalog, Price, price_at
from jusinfer.domain.completion import CompletionRequest
from jusinfer.domain.errors import InsufficientCredit, InvalidKey, Unavailable
from jusinfer.domain.identity import Principal, fingerprint
from jusinfer.domain.limits import CapAction, in_force
from jusinfer.domain.money import charge_nano
from jusinfer.domain.pricing import affordable_completion_tokens, bound_pico
from jusinfer.domain.routing import RoutePlan, cheapest_plan
from jusinfer.gateway.context import Context
from jusinfer.gateway.server import Request
from jusinfer.wire.chat_request import decode_request

KEY_BYTES_MAX: Final = 256
OUTPUT_TOKENS_MIN: Final = 16
_BEARER: Final = b"bearer "


class Admission(msgspec.Struct):
    """A request that may be served once its bound has been reserved."""

    asked: CompletionRequest
    plan: RoutePlan
    prices: tuple[Price, ...]
    price_version: str
    output_tokens: int
    bound_nano: int
    clamped_tokens: int | None = None
    price_list: str = ""


def credential(request: Request) -> bytes:
    """Give the fingerprint of the key a request carries; raises InvalidKey."""
    header = request.header(b"authorization")
    if header is not None:
        if header[: len(_BEARER)].lower() != _BEARER:
            raise InvalidKey("the Authorization header is not a Bearer token")
        key = header[len(_BEARER) :].strip()
    else:
        key = request.header(b"x-api-key") or b""
    if not key:
        raise InvalidKey("no API key was sent")
    if len(key) > KEY_BYTES_MAX or not key.startswith((b"ji_live_", b"ji_test_")):
        raise InvalidKey("this is not an API key of ours")
    return fingerprint(key)


def examine(context: Context, principal: Principal, body: bytes, epoch_seconds: int) -> Admission:
    """Read a request, plan its routes and bound its cost; raises what is wrong with it."""
    asked = decode_request(body)
    snapshot = context.snapshot
    mode = principal.mode
    if principal.caps and in_force(principal.caps, CapAction.CHEAPEST, epoch_seconds):
        routes = cheapest_plan(asked.traits, snapshot.catalog(mode))
    else:
        routes = snapshot.plan(mode, asked.model, asked.traits)
    steps = routes.routes
    catalog = snapshot.catalog(mode)
    if principal.price_list:
        prices = _listed_prices(catalog, principal.price_list, routes, epoch_seconds)
    elif len(steps) == 1:
        prices = (price_at(steps[0].route, epoch_seconds),)
    else:
        prices = tuple([price_at(step.route, epoch_seconds) for step in steps])
    output_tokens = asked.output_tokens_max
    if output_tokens is None:
        output_tokens = max([step.model.output_tokens_max for step in steps])
    return Admission(
        asked,
        routes,
        prices,
        catalog.version,
        output_tokens,
        _bound_nano(asked, prices, output_tokens),
        None,
        principal.price_list,
    )


def _listed_prices(
    catalog: Catalog, price_list: str, routes: RoutePlan, epoch_seconds: int
) -> tuple[Price, ...]:
    """Give the prices of a tenant's own list; a list that is not configured serves nobody."""
    if price_list not in catalog.price_lists:
        raise Unavailable("this account's price list is not configured here")
    return tuple(
        [price_at(catalog.listed(price_list, step.route), epoch_seconds) for step in routes.routes]
    )


def _bound_nano(asked: CompletionRequest, prices: tuple[Price, ...], output_tokens: int) -> int:
    """Give the bound at the dearest of the routes that may be tried."""
    input_tokens = asked.traits.input_tokens_max
    answers = output_tokens * asked.choice_count
    bound = 0
    for price in prices:
        bound = max(bound, bound_pico(price, input_tokens, answers, asked.traits.image_count))
    return charge_nano(bound)


def clamp(admission: Admission, available_nano: int) -> None:
    """Cut the output budget to what the credit affords, or refuse with what is affordable.

    Only a budget that the caller did not set is cut; one that it set is refused.
    """
    asked = admission.asked
    affordable = min(
        affordable_completion_tokens(
            price, asked.traits.input_tokens_max, available_nano * 1000, asked.traits.image_count
        )
        for price in admission.prices
    )
    affordable //= asked.choice_count
    if asked.output_tokens_max is not None or affordable < OUTPUT_TOKENS_MIN:
        raise InsufficientCredit(
            "the credit does not cover the most that this completion can cost",
            bound_nano=admission.bound_nano,
            available_nano=available_nano,
            affordable_tokens=affordable,
        )
    admission.output_tokens = admission.clamped_tokens = affordable
    admission.bound_nano = _bound_nano(asked, admission.prices, affordable)
