"""What a key may ask of its own, in the shapes that OpenRouter's clients read.

Amounts are JSON numbers in US dollars, as those clients expect; they are written as exact decimals.
"""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from jusinfer.domain.money import format_pico, format_usd
from jusinfer.domain.usage import KeyUsageSummary

# An answer is named by its completion, with the prefix of its API.
_ID: Final = re.compile(r"(?:gen-|msg_|resp_|cmpl-|chatcmpl-)?([0-9a-f]{32})")
_DASHED: Final = re.compile(
    r"(.*?)([0-9a-f]{8})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{12})"
)
MS: Final = 1_000


class AskedId(NamedTuple):
    """A completion's id, and how it was asked for."""

    completion_id: str
    asked: str


def completion_id_of(query: str) -> AskedId | None:
    """Give the id in a query such as `id=…`; None when there is none that could be one."""
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if name == "id":
            dashed = _DASHED.fullmatch(value)
            match = _ID.fullmatch(value if dashed is None else "".join(dashed.groups()))
            return None if match is None else AskedId(match[1], value)
    return None


def generation(row: Mapping[str, object], asked_id: str) -> bytes:
    """Write a usage row as a generation, under the id that was asked for."""
    first_us = row["first_byte_us"]
    latency_us = _whole(row["latency_us"])
    cost = _usd(_whole(row["charge_nano"]))
    data: dict[str, object] = {
        "id": asked_id,
        "total_cost": cost,
        "usage": cost,
        "created_at": row["admitted_at"],
        "model": row["served_model"],
        "provider_name": row["upstream"],
        "streamed": row["is_stream"],
        "cancelled": row["outcome"] == "cut_by_client",
        "finish_reason": {"completed": "stop", "length": "length"}.get(str(row["outcome"]), "error")
        if row["outcome"] != "cut_by_client"
        else None,
        "latency": None if first_us is None else _whole(first_us) // MS,
        "generation_time": latency_us // MS,
        "tokens_prompt": row["prompt_tokens"],
        "tokens_completion": row["completion_tokens"],
        "native_tokens_prompt": row["prompt_tokens"],
        "native_tokens_completion": row["completion_tokens"],
        "native_tokens_reasoning": row["reasoning_tokens"],
        "native_tokens_cached": row["cached_prompt_tokens"],
        "num_media_prompt": row["image_count"],
        "is_byok": False,
        "cache_discount": None,
        "request_id": row["request_id"],
        "jusinfer": {
            "requested_model": row["requested_model"],
            "reasons": str(row["reasons"]).split(","),
            "rules_version": row["rules_version"],
            "attempts": str(row["attempt_log"]).split(),
            "outcome": row["outcome"],
            "is_estimated": row["is_estimated"],
            "price_version": row["price_version"],
            "price_list": row["price_list"],
            "cost_exact": msgspec.Raw(format_pico(_whole(row["cost_pico"])).encode()),
        },
    }
    return msgspec.json.encode({"data": data})


def credits_of(granted_nano: int, balance_nano: int) -> bytes:
    """Write what a tenant was given and what it used of it."""
    used = granted_nano - balance_nano
    data = {"total_credits": _usd(granted_nano), "total_usage": _usd(used)}
    return msgspec.json.encode({"data": data})


def key_of(spending: KeyUsageSummary, *, is_test: bool) -> bytes:
    """Write what a key is and has spent."""
    left = spending.spend_limit_left_nano
    data = {
        "label": spending.name or f"{spending.key_prefix}…",
        "usage": _usd(spending.total_nano),
        "usage_daily": _usd(spending.day_nano),
        "usage_weekly": _usd(spending.week_nano),
        "usage_monthly": _usd(spending.month_nano),
        "limit": None if spending.spend_limit_nano is None else _usd(spending.spend_limit_nano),
        "limit_remaining": None if left is None else _usd(left),
        "limit_reset": {"day": "daily", "week": "weekly", "month": "monthly"}.get(
            spending.spend_limit_period or ""
        ),
        "is_free_tier": is_test,
        "is_provisioning_key": False,
    }
    return msgspec.json.encode({"data": data})


def _usd(amount_nano: int) -> msgspec.Raw:
    return msgspec.Raw(format_usd(amount_nano).encode("ascii"))


def _whole(value: object) -> int:
    return int(str(value))
