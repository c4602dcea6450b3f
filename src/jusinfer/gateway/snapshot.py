"""Catalogs and how to reach each upstream, as one value that is replaced whole."""

from typing import Final
from urllib.parse import quote

from jusinfer.domain.catalog import Catalog, Upstream
from jusinfer.domain.identity import Mode
from jusinfer.domain.offers import Offers
from jusinfer.domain.routing import RoutePlan, explicit_plan, plan
from jusinfer.domain.traits import Traits
from jusinfer.gateway.pool import Target
from jusinfer.wire.dialects import DIALECTS

USER_AGENT: Final = "jusInfer"
CHAT: Final = "/chat/completions"
ANTHROPIC_VERSION: Final = "2023-06-01"
PATH_SAFE: Final = "/@:._-~"
HEADS_MAX: Final = 1_024


class Dispatch:
    """An upstream with the heads of its requests made ready: all but the length."""

    __slots__ = ("_heads", "chat_head", "dialect", "is_gateway", "target", "upstream")

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.dialect = DIALECTS.get(upstream.dialect)
        self.is_gateway = bool(upstream.gateway_token)
        self.target = Target(
            host=upstream.host,
            port=upstream.port,
            is_tls=upstream.is_tls,
            is_local=upstream.is_local,
            ca_file=upstream.ca_file,
            connect_seconds=upstream.connect_seconds,
        )
        self.chat_head = self._head(CHAT)
        self._heads = {CHAT: self.chat_head}

    def head(self, path: str) -> bytes:
        """Give the head of a request to a path below the upstream's base."""
        made = self._heads.get(path)
        if made is None:
            made = self._head(path)
            if len(self._heads) < HEADS_MAX:
                self._heads[path] = made
        return made

    def _head(self, path: str) -> bytes:
        upstream = self.upstream
        default_port = 443 if upstream.is_tls else 80
        literal = f"[{upstream.host}]" if ":" in upstream.host else upstream.host
        host = literal if upstream.port == default_port else f"{literal}:{upstream.port}"
        query = f"?{upstream.query}" if upstream.query else ""
        lines = [
            f"POST {upstream.base_path}{quote(path, safe=PATH_SAFE)}{query} HTTP/1.1",
            f"host: {host}",
            f"user-agent: {USER_AGENT}",
            "content-type: application/json",
            "accept: application/json, text/event-stream",
            "accept-encoding: identity",
        ]
        if upstream.api_key:
            auth = upstream.auth
            if auth == "bearer":
                lines.append(f"authorization: Bearer {upstream.api_key}")
            elif auth != "none":
                lines.append(f"{auth}: {upstream.api_key}")
        stated = dict(upstream.headers)
        if upstream.dialect == "anthropic" and "anthropic-version" not in stated:
            lines.append(f"anthropic-version: {ANTHROPIC_VERSION}")
        lines.extend(f"{name}: {value}" for name, value in upstream.headers)
        lines.append("content-length: ")
        return "\r\n".join(lines).encode("ascii")


class Snapshot:
    """The catalogs of both modes and a dispatch for each upstream."""

    __slots__ = ("_dispatches", "_named", "live", "test")

    def __init__(self, offers: Offers) -> None:
        self.live = offers.live
        self.test = offers.test
        self._dispatches = {
            (mode, name): Dispatch(upstream)
            for mode, catalog in ((Mode.LIVE, self.live), (Mode.TEST, self.test))
            for name, upstream in catalog.upstreams.items()
        }

        # Most requests name their model: its plan is always the same, so it is made once.
        self._named = {
            (mode, name): explicit_plan(model)
            for mode, catalog in ((Mode.LIVE, self.live), (Mode.TEST, self.test))
            for name, model in catalog.models.items()
            if not model.is_auto
        }

    def plan(self, mode: Mode, requested_model: str, traits: Traits) -> RoutePlan:
        """Plan the routes of a request; raises what is wrong with it."""
        named = self._named.get((mode, requested_model))
        if named is not None and traits.input_tokens <= named.routes[0].model.context_tokens:
            return named
        return plan(requested_model, traits, self.catalog(mode))

    def catalog(self, mode: Mode) -> Catalog:
        """Give the catalog of a mode: test keys never see the live one."""
        return self.live if mode == Mode.LIVE else self.test

    def dispatch(self, mode: Mode, upstream: str) -> Dispatch:
        """Give the way to an upstream of a mode."""
        return self._dispatches[mode, upstream]
