"""Models as Anthropic lists them: a page with its own marks of where it begins and ends."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from urllib.parse import parse_qs

from jusinfer.domain.catalog import Model
from jusinfer.domain.errors import InvalidRequest

LIMIT_MAX: Final = 1_000
_LIMIT_DIGITS_MAX: Final = 4


def anthropic_members(model: Model) -> dict[str, object]:
    """Give what Anthropic's clients read of a model; limits are in tokens."""
    return {
        "type": "model",
        "display_name": model.model_id,
        "created_at": _moment(model.created),
        "max_input_tokens": model.context_tokens,
        "max_tokens": model.output_tokens_max,
        "lifecycle": "active",
        "line": None,
        "deprecated_at": None,
        "retires_at": None,
        # Theirs is an object that says what their own API can do with the model.
        "capabilities": None,
    }


def page_of(models: Sequence[Model], query: str) -> tuple[Sequence[Model], dict[str, object]]:
    """Give the models that a query asks for and the members of their list; raises InvalidRequest.

    Without `limit` all that are left are on one page.
    """
    asked = parse_qs(query, keep_blank_values=True)
    limit = _limit(asked.get("limit", [])[-1:])
    start, end = 0, len(models)
    if "after_id" in asked:
        start = _place(models, "after_id", asked["after_id"][-1]) + 1
    if "before_id" in asked:
        end = _place(models, "before_id", asked["before_id"][-1])
    found = models[start:end]
    # Backwards a page is what stands right before the mark.
    is_backwards = "before_id" in asked and "after_id" not in asked
    page = found[-limit:] if is_backwards else found[:limit]
    return page, {
        "has_more": len(page) < len(found),
        "first_id": page[0].model_id if page else None,
        "last_id": page[-1].model_id if page else None,
    }


def _limit(said: list[str]) -> int:
    if not said:
        return LIMIT_MAX * LIMIT_MAX
    text = said[0]
    limit = (
        int(text) if text.isascii() and text.isdecimal() and len(text) <= _LIMIT_DIGITS_MAX else 0
    )
    if not 1 <= limit <= LIMIT_MAX:
        raise InvalidRequest(
            f"`limit` must be a whole number from 1 to {LIMIT_MAX}",
            param="limit",
            hint="Leave it out to get all models at once.",
        )
    return limit


def _place(models: Sequence[Model], name: str, model_id: str) -> int:
    for place, model in enumerate(models):
        if model.model_id == model_id:
            return place
    raise InvalidRequest(
        f"`{name}` names no model that is offered with this key",
        param=name,
        hint="Use the `first_id` or `last_id` of a page that was given.",
    )


def _moment(epoch_seconds: int) -> str:
    """Write seconds since 1970 as RFC 3339; the beginning of that year where it is not known."""
    return datetime.fromtimestamp(epoch_seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
