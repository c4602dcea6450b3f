"""A plan as people and programs read it: what would be tried, at which cost, and why."""

from collections.abc import Collection
from typing import Final

import msgspec

from jusinfer.domain.money import charge_nano, format_usd
from jusinfer.domain.routing.explanation import sentence_of
from jusinfer.domain.routing.features import RequestFeatures
from jusinfer.domain.routing.plan import RoutePlan
from jusinfer.domain.routing.rules import RuleTable

_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def plan_object(
    plan: RoutePlan, table: RuleTable, decisive_signals: Collection[str] | None = None
) -> dict[str, object]:
    """Give a plan as an object; costs are US dollars as text. No word of a request is in it.

    `decisive_signals` are the ids of the signals without which another would have been chosen.
    """
    says = table.sentences()
    reasons: list[dict[str, object]] = []
    for one in plan.reasons:
        reason: dict[str, object] = {
            "id": one.reason_id,
            "code": one.code,
            "amount": one.amount,
            "says": says.get(one.reason_id, ""),
        }
        if decisive_signals is not None:
            reason["is_decisive"] = one.reason_id in decisive_signals
        reasons.append(reason)
    return {
        "model": plan.routes[0].model.model_id,
        "sentence": sentence_of(plan, table),
        "reasons": reasons,
        "score": plan.score,
        "table_version": plan.version,
        "routes": [
            {
                "model": step.model.model_id,
                "upstream": step.route.upstream,
                "estimate_usd": None
                if step.estimate_pico is None
                else format_usd(charge_nano(step.estimate_pico)),
            }
            for step in plan.routes
        ],
        "excluded": [
            {"model": one.model_id, "reason": one.gate, "says": says.get(one.gate, "")}
            for one in sorted(plan.excluded, key=lambda one: one.model_id)
        ],
    }


def plan_json(
    plan: RoutePlan,
    table: RuleTable,
    traits: RequestFeatures,
    bound_nano: int,
    decisive_signals: Collection[str],
) -> bytes:
    """Write the answer of a dry run: the plan, the bound, and the traits that it follows from."""
    body = {
        "object": "route",
        **plan_object(plan, table, decisive_signals),
        "bound_usd": format_usd(bound_nano),
        "traits": {
            "input_tokens": traits.input_tokens,
            "output_tokens_max": traits.output_tokens_max,
            "tool_count": traits.tool_count,
            "has_images": traits.has_images,
            "has_audio": traits.has_audio,
            "needs_json_schema": traits.needs_json_schema,
            "reasoning_effort": traits.reasoning_effort,
            "task": traits.task,
            "hints": traits.hints,
            "is_warm": traits.warm is not None,
        },
    }
    return msgspec.json.encode(body)


def with_route(answer: bytes, route: bytes) -> bytes:
    """Put a plan's JSON into a JSON object, for a client who asked for it."""
    members = _members(answer)
    members["route"] = msgspec.Raw(route)
    return msgspec.json.encode(members)


def event_with_route(event: bytes, route: bytes) -> bytes:
    """Put a plan's JSON into the object of an event of a stream."""
    head, mark, data = event.partition(b"data: ")
    return b"%b%b%b\n\n" % (head, mark, with_route(data, route))
