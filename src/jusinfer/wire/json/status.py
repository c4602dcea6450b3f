"""How upstreams do, as JSON for programs and as one small page for people."""

import base64
import hashlib
import html
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

import msgspec

WORDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "up": "answering",
        "partly": "answering, except some models",
        "trying": "being tried again",
        "down": "not answering",
    }
)
_STYLE: Final = (
    ":root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:40rem;"
    "margin:3rem auto;padding:0 1rem}h1{font-size:1.5rem}table{width:100%;border-collapse:collapse}"
    "td{padding:.6rem .2rem;border-bottom:1px solid #8884}td:last-child{text-align:right}"
    '.up::before{content:"\\2713\\00a0";color:#198754}.down::before{content:"\\2717\\00a0";color:#c0392b}'
    '.partly::before,.trying::before{content:"~\\00a0";color:#b8860b}p{opacity:.75}'
)
# The page has no script, no form and no file; its one style is named by its digest.
_DIGEST: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
STATUS_HEADERS: Final = (
    "content-security-policy: default-src 'none'; base-uri 'none'; form-action 'none';"
    f" frame-ancestors 'none'; style-src 'sha256-{_DIGEST}'\r\n"
    "x-frame-options: DENY\r\nx-content-type-options: nosniff\r\n"
    "referrer-policy: no-referrer\r\ncache-control: no-store\r\n"
).encode("ascii")


def worst_state(found: Iterable[str]) -> str:
    """Give one state for an upstream from those of its models."""
    states = set(found)
    if not states or states == {"up"}:
        return "up"
    if "up" in states:
        return "partly"
    return "trying" if "trying" in states else "down"


def status_json(rows: Mapping[str, str]) -> tuple[bytes, bytes]:
    """Give content type and body for programs."""
    body = {"status": worst_state(rows.values()), "upstreams": dict(rows)}
    return b"application/json", msgspec.json.encode(body)


def status_page(rows: Mapping[str, str]) -> tuple[bytes, bytes]:
    """Give content type and body for people."""
    lines = "".join(
        f'<tr><td>{html.escape(name)}</td><td class="{state}">{WORDS[state]}</td></tr>'
        for name, state in sorted(rows.items())
    )
    said = {
        "up": "All upstreams are answering.",
        "partly": "Some upstreams have trouble; requests go around it where they can.",
    }.get(worst_state(rows.values()), "Upstreams are not answering.")
    table = f"<table>{lines}</table>" if rows else "<p>No upstream is configured yet.</p>"
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Status</title>'
        '<meta name="viewport" content="width=device-width">'
        f"<style>{_STYLE}</style></head><body><h1>{said}</h1>{table}"
        "<p>As seen by the worker that answered you, from the requests of the last minutes.</p>"
        "</body></html>"
    )
    return b"text/html; charset=utf-8", page.encode()
