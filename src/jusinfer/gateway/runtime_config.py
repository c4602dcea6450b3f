"""Catalogs, rules and how to reach each upstream, as one value that is replaced whole."""

from typing import Final
from urllib.parse import quote, unquote

from jusinfer.domain.catalog import Catalog, Upstream
from jusinfer.domain.catalog_loader import Catalogs
from jusinfer.domain.identity import Mode
from jusinfer.domain.routing.router import Router
from jusinfer.domain.routing.rules import RuleTable
from jusinfer.domain.secret_masking import OwnSecrets
from jusinfer.gateway.http.connection_pool import Target
from jusinfer.wire.routing_hints.scanner import HintScanner
from jusinfer.wire.upstream.registry import PROVIDER_APIS

USER_AGENT: Final = "jusInfer"
CHAT: Final = "/chat/completions"
ANTHROPIC_VERSION: Final = "2023-06-01"
PATH_SAFE: Final = "/@:._-~"
HEADS_MAX: Final = 1_024
# Configured headers that say how an API is spoken, and no secret.
OPEN_HEADERS: Final = frozenset(
    {
        "accept",
        "anthropic-beta",
        "anthropic-version",
        "content-type",
        "http-referer",
        "openai-beta",
        "user-agent",
        "x-title",
    }
)
OPEN_QUERIES: Final = frozenset({"api-version", "beta"})


class UpstreamTarget:
    """An upstream with the heads of its requests made ready: all but the length."""

    __slots__ = ("_heads", "chat_request_head", "is_gateway", "provider_api", "target", "upstream")

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.provider_api = PROVIDER_APIS.get(upstream.provider_api)
        self.is_gateway = bool(upstream.gateway_token)
        self.target = Target(
            host=upstream.host,
            port=upstream.port,
            is_tls=upstream.is_tls,
            is_local=upstream.is_local,
            ca_file=upstream.ca_file,
            connect_seconds=upstream.connect_seconds,
        )
        self.chat_request_head = self._head(CHAT)
        self._heads = {CHAT: self.chat_request_head}

    def head(self, path: str) -> bytes:
        """Give the head of a request to a path below the upstream's base."""
        made = self._heads.get(path)
        if made is None:
            made = self._head(path)
            if len(self._heads) < HEADS_MAX:
                self._heads[path] = made
        return made

    def question(self, path: str, query: str) -> bytes:
        """Give the head of a GET below the upstream's base, all but the blank line at its end."""
        own = f"{self.upstream.query}&{query}" if self.upstream.query else query
        return "\r\n".join((*self._lines("GET", path, own), "")).encode("ascii")

    def _head(self, path: str) -> bytes:
        lines = self._lines("POST", path, self.upstream.query)
        return "\r\n".join((*lines, "content-length: ")).encode("ascii")

    def _lines(self, method: str, path: str, query: str) -> list[str]:
        upstream = self.upstream
        default_port = 443 if upstream.is_tls else 80
        literal = f"[{upstream.host}]" if ":" in upstream.host else upstream.host
        host = literal if upstream.port == default_port else f"{literal}:{upstream.port}"
        target = f"{upstream.base_path}{quote(path, safe=PATH_SAFE)}{f'?{query}' if query else ''}"
        lines = [f"{method} {target} HTTP/1.1", f"host: {host}", f"user-agent: {USER_AGENT}"]
        if method == "POST":
            lines.append("content-type: application/json")
        lines += ["accept: application/json, text/event-stream", "accept-encoding: identity"]
        if upstream.api_key:
            auth = upstream.auth
            if auth == "bearer":
                lines.append(f"authorization: Bearer {upstream.api_key}")
            elif auth != "none":
                lines.append(f"{auth}: {upstream.api_key}")
        stated = dict(upstream.headers)
        if upstream.provider_api == "anthropic" and "anthropic-version" not in stated:
            lines.append(f"anthropic-version: {ANTHROPIC_VERSION}")
        lines.extend(f"{name}: {value}" for name, value in upstream.headers)
        return lines


def secrets_of(upstream: Upstream) -> list[str]:
    """Give what only we and an upstream may know: its key, and what else its settings send."""
    queries = [pair.partition("=") for pair in upstream.query.split("&")]
    return [
        upstream.api_key,
        upstream.gateway_token,
        *(value for name, value in upstream.headers if name.lower() not in OPEN_HEADERS),
        *(unquote(value) for name, _, value in queries if name.lower() not in OPEN_QUERIES),
    ]


class Snapshot:
    """The catalogs of both modes, a router for each, and a dispatch for each upstream."""

    __slots__ = ("_dispatches", "_routers", "live", "scanner", "secrets", "table", "test")

    def __init__(
        self,
        offers: Catalogs,
        table: RuleTable,
        dispatches: dict[tuple[Mode, str], UpstreamTarget] | None = None,
        secrets: OwnSecrets | None = None,
    ) -> None:
        self.live = offers.live
        self.test = offers.test
        self._dispatches = dispatches or {
            (mode, name): UpstreamTarget(upstream)
            for mode, catalog in ((Mode.LIVE, self.live), (Mode.TEST, self.test))
            for name, upstream in catalog.upstreams.items()
        }
        self.secrets = secrets or OwnSecrets(
            secret
            for catalog in (self.live, self.test)
            for upstream in catalog.upstreams.values()
            if not upstream.is_sandbox
            for secret in secrets_of(upstream)
        )
        self.table = table
        self.scanner = HintScanner(table.hint)
        self._routers = {
            Mode.LIVE: Router(table, self.live),
            Mode.TEST: Router(table, self.test),
        }

    def with_table(self, table: RuleTable) -> "Snapshot":
        """Give the same snapshot under another rule table."""
        offers = Catalogs(self.live, self.test)
        return Snapshot(offers, table, self._dispatches, self.secrets)

    def router(self, mode: Mode) -> Router:
        """Give the router over the catalog of a mode."""
        return self._routers[mode]

    def catalog(self, mode: Mode) -> Catalog:
        """Give the catalog of a mode: test keys never see the live one."""
        return self.live if mode == Mode.LIVE else self.test

    def dispatch(self, mode: Mode, upstream: str) -> UpstreamTarget:
        """Give the way to an upstream of a mode."""
        return self._dispatches[mode, upstream]
