"""Models as OpenAI and as OpenRouter list them, in one row, with what their upstreams state."""

from collections.abc import Callable, Mapping
from typing import Final

from jusinfer.domain.catalog import Capability, Model, Price, Upstream

PICO_DIGITS: Final = 12


def model_row(
    model: Model, upstreams: Mapping[str, Upstream], state_of: Callable[[str, str], str]
) -> dict[str, object]:
    """Write a model; `state_of` tells of an upstream and its model whether they work now."""
    row: dict[str, object] = {
        "id": model.model_id,
        "canonical_slug": model.model_id,
        "name": model.model_id,
        "object": "model",
        "created": model.created,
        "owned_by": model.owned_by,
        "context_length": model.context_tokens,
        "max_output_tokens": model.output_tokens_max,
        "capabilities": sorted(model.capabilities),
        "architecture": _architecture(model),
        "supported_parameters": _parameters(model),
        "top_provider": {
            "context_length": model.context_tokens,
            "max_completion_tokens": model.output_tokens_max,
            "is_moderated": False,
        },
    }
    if model.routes:
        row["pricing"] = _pricing(model.routes[0].price)
        row["upstreams"] = [route.upstream for route in model.routes]
        row["endpoints"] = [
            _endpoint(upstreams[route.upstream], state_of(route.upstream, route.upstream_model))
            for route in model.routes
        ]
    return row


def _architecture(model: Model) -> dict[str, object]:
    inputs = ["text"]
    if Capability.VISION in model.capabilities:
        inputs.append("image")
    if Capability.AUDIO in model.capabilities:
        inputs.append("audio")
    is_embedding = Capability.EMBEDDINGS in model.capabilities
    output = "embeddings" if is_embedding else "text"
    return {
        "modality": f"{'+'.join(inputs)}->{output}",
        "input_modalities": inputs,
        "output_modalities": [output],
        "tokenizer": "Other",
        "instruct_type": None,
    }


def _parameters(model: Model) -> list[str]:
    if Capability.EMBEDDINGS in model.capabilities:
        return ["dimensions", "encoding_format"]
    names = ["max_tokens", "stop", "stream", "temperature", "top_p"]
    if Capability.TOOLS in model.capabilities:
        names += ["tools", "tool_choice", "parallel_tool_calls"]
    if Capability.JSON_SCHEMA in model.capabilities:
        names += ["response_format", "structured_outputs"]
    if Capability.REASONING in model.capabilities:
        names += ["reasoning", "reasoning_effort"]
    return sorted(names)


def _pricing(price: Price) -> dict[str, str]:
    """Write prices twice: ours in their exact unit, and US dollars per token as text."""
    pricing = {
        "unit": "micro-USD per million tokens",
        "input": str(price.input_micro_per_mtok),
        "output": str(price.output_micro_per_mtok),
        "prompt": per_token(price.input_micro_per_mtok),
        "completion": per_token(price.output_micro_per_mtok),
        "request": "0",
        "image": "0",
    }
    if price.cache_read_micro_per_mtok is not None:
        pricing["input_cache_read"] = per_token(price.cache_read_micro_per_mtok)
    if price.cache_write_micro_per_mtok is not None:
        pricing["input_cache_write"] = per_token(price.cache_write_micro_per_mtok)
    return pricing


def per_token(micro_per_mtok: int) -> str:
    """Write micro-USD per million tokens as US dollars per token, exactly."""
    whole, part = divmod(micro_per_mtok, 10**PICO_DIGITS)
    digits = f"{part:0{PICO_DIGITS}d}".rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)


def _endpoint(upstream: Upstream, state: str) -> dict[str, object]:
    facts = upstream.facts
    return {
        "provider_name": upstream.name,
        "state": state,
        "region": facts.region or None,
        "jurisdiction": facts.jurisdiction or None,
        "retention_days": facts.retention_days,
        "trains_on_prompts": facts.trains_on_prompts,
        "zdr": facts.is_zdr,
    }
