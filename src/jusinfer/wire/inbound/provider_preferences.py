"""Reads `models` and `provider`: what a client prefers, in OpenRouter's words."""

from decimal import Decimal, InvalidOperation
from typing import Annotated, Final

import msgspec

from jusinfer.domain.errors import InvalidRequest
from jusinfer.domain.routing.preferences import (
    FALLBACKS_MAX,
    NAMES_MAX,
    NO_PREFERENCES,
    Preferences,
)
from jusinfer.wire.validation_errors import validation_error

MICRO_PER_USD: Final = 1_000_000
PRICE_DIGITS_MAX: Final = 24
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
Names = Annotated[list[Name], msgspec.Meta(max_length=NAMES_MAX)]


class _MaxPrice(msgspec.Struct):
    prompt: msgspec.Raw = msgspec.Raw()
    completion: msgspec.Raw = msgspec.Raw()


class _Provider(msgspec.Struct):
    order: Names | None = None
    only: Names | None = None
    ignore: Names | None = None
    allow_fallbacks: bool | None = None
    data_collection: str | None = None
    zdr: bool | None = None
    max_price: _MaxPrice | None = None
    sort: msgspec.Raw = msgspec.Raw()


class _Asked(msgspec.Struct):
    models: Annotated[list[Name], msgspec.Meta(max_length=FALLBACKS_MAX)] | None = None
    provider: _Provider | None = None


_asked: Final = msgspec.json.Decoder(_Asked).decode
_text: Final = msgspec.json.Decoder(str).decode
SORTS: Final = frozenset({"price", "throughput", "latency"})


def read_preferences(fields: dict[str, msgspec.Raw]) -> Preferences:
    """Read the preferences of a request, most of which have none; raises InvalidRequest."""
    named = {name: fields[name] for name in ("models", "provider") if name in fields}
    if not named:
        return NO_PREFERENCES
    try:
        asked = _asked(msgspec.json.encode(named))
    except msgspec.ValidationError as error:
        raise validation_error(str(error)) from None
    provider = asked.provider or _Provider()
    price = provider.max_price or _MaxPrice()
    return Preferences(
        models=tuple(asked.models or ()),
        order=tuple(provider.order or ()),
        only=tuple(provider.only or ()),
        ignore=tuple(provider.ignore or ()),
        has_fallbacks=provider.allow_fallbacks is not False,
        is_zdr=provider.zdr is True,
        input_micro_max=_micro(price.prompt, "prompt"),
        output_micro_max=_micro(price.completion, "completion"),
        sort=_sort(provider.sort),
    )


def _sort(raw: msgspec.Raw) -> str:
    said = bytes(raw)
    if said in {b"", b"null"}:
        return ""
    if said.startswith(b'"') and _text(said) in SORTS:
        return _text(said)
    raise InvalidRequest(
        "`provider.sort` is not one of the values it may have",
        param="provider.sort",
        hint="Use price, throughput or latency.",
    )


def _micro(raw: msgspec.Raw, name: str) -> int | None:
    """Read US dollars per million tokens, a number or a text, as micro-USD; rounded down."""
    said = bytes(raw).strip(b'"')
    if said in {b"", b"null"}:
        return None
    try:
        amount = Decimal(said.decode("ascii"))
        if len(said) <= PRICE_DIGITS_MAX and amount.is_finite() and 0 <= amount <= MICRO_PER_USD:
            return int(amount * MICRO_PER_USD)
    except (InvalidOperation, UnicodeDecodeError):
        pass
    raise InvalidRequest(
        f"`provider.max_price.{name}` must be US dollars per million tokens",
        param=f"provider.max_price.{name}",
        hint="Write it as a number such as 0.5.",
    )
