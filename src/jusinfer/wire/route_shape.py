"""A plan as people and programs read it: what would be tried, at which cost, and why."""

import msgspec

from jusinfer.domain.money import charge_nano, format_usd
from jusinfer.domain.routing import SENTENCES, TABLE_VERSION, RoutePlan, estimate_pico
from jusinfer.domain.traits import Traits


def plan_json(plan: RoutePlan, traits: Traits, bound_nano: int, left_out: dict[str, str]) -> bytes:
    """Write a plan; costs are US dollars as text. No word of the request is in it."""
    body = {
        "object": "route",
        "model": plan.routes[0].model.model_id,
        "sentence": plan.sentence,
        "reasons": [{"id": name, "says": SENTENCES[name]} for name in plan.reasons],
        "table_version": TABLE_VERSION,
        "bound_usd": format_usd(bound_nano),
        "routes": [
            {
                "model": step.model.model_id,
                "upstream": step.route.upstream,
                "estimate_usd": format_usd(charge_nano(estimate_pico(step, traits))),
            }
            for step in plan.routes
        ],
        "excluded": [
            {"model": name, "reason": gate, "says": SENTENCES[gate]}
            for name, gate in sorted(left_out.items())
        ],
        "traits": {
            "input_tokens": traits.input_tokens,
            "output_tokens_max": traits.output_tokens_max,
            "tool_count": traits.tool_count,
            "has_images": traits.has_images,
            "needs_json_schema": traits.needs_json_schema,
            "has_reasoning_hint": traits.has_reasoning_hint,
            "reasoning_effort": traits.reasoning_effort,
        },
    }
    return msgspec.json.encode(body)
