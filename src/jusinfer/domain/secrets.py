"""Texts that are secrets or name a person by their shape: keys, tokens, addresses, cards."""

import re
from typing import Final

REDACTED: Final = "[redacted]"

_SECRETS: Final = tuple(
    re.compile(pattern)
    for pattern in (
        r"-----BEGIN [A-Z ]{1,40}-----[\s\S]{0,4096}?(?:-----END [A-Z ]{1,40}-----|$)",
        r"\bji_(?:live|test)_[A-Za-z0-9_-]+",
        r"\b(?:sk|rk|pk|gsk|xai|whsec|hf|gh[oprsu]|AIza|AKIA|re)[-_]?[A-Za-z0-9_*.-]{12,}",
        r"\beyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){0,4}",
        r"(?i)\bbearer\s+[A-Za-z0-9._~+/=-]{6,}",
        r"(?i)\b(?:api[-_ ]?key|token|secret|password)\b[\"']?\s*[:=]\s*[\"']?[^\s\"',;]{4,}",
        r"(?i)\b[a-z][a-z0-9+.-]{1,20}://[^\s/@]{1,200}@",
        r"(?i)[?&](?:key|token|api_key|access_token|sig|signature)=[^\s&\"']+",
        r"[\w.%+-]{1,64}@[\w.-]{1,200}\.[^\W\d_]{2,24}",
        r"\b(?:\d{1,3}\.){3}\d{1,3}\b",
        r"(?i)(?<![\w:])(?:[0-9a-f]{1,4}:){3,7}[0-9a-f]{1,4}(?![\w:])",
        r"(?i)(?<![\w:])(?:[0-9a-f]{1,4}:){0,6}(?:[0-9a-f]{1,4})?::(?:[0-9a-f]{1,4}:){0,6}[0-9a-f]+",
        r"(?i)\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b(?<=\d)",
    )
)
_CARD: Final = re.compile(r"(?<![\w.])\d(?:[ -]?\d){12,18}(?!\w)")


def mask_secrets(text: str) -> str:
    """Put a mark in place of keys, tokens, network and mail addresses, account and card numbers."""
    for pattern in _SECRETS:
        text = pattern.sub(REDACTED, text)
    return _CARD.sub(_card, text)


def _card(match: re.Match[str]) -> str:
    digits = [int(char) for char in match[0] if char.isdecimal()]
    doubled = (
        digit if place % 2 == 0 else digit * 2 - 9 * (digit > 4)  # noqa: PLR2004 (Luhn's rule)
        for place, digit in enumerate(reversed(digits))
    )
    return REDACTED if sum(doubled) % 10 == 0 else match[0]
