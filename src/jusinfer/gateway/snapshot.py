"""Catalogs and how to reach each upstream, as one value that is replaced whole."""

from typing import Final

from jusinfer.domain.catalog import Catalog, Upstream
from jusinfer.domain.identity import Mode
from jusinfer.domain.offers import Offers
from jusinfer.domain.routing import RoutePlan, explicit_plan, plan
from jusinfer.domain.traits import Traits
from jusinfer.gateway.pool import Target

USER_AGENT: Final = "jusInfer"


class Dispatch:
    """An upstream with the head of its requests made ready: all but the length."""

    __slots__ = ("chat_head", "target", "upstream")

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.target = Target(
            host=upstream.host,
            port=upstream.port,
            is_tls=upstream.is_tls,
            is_local=upstream.is_local,
            ca_file=upstream.ca_file,
        )
        self.chat_head = self._head("/chat/completions")

    def _head(self, path: str) -> bytes:
        upstream = self.upstream
        default_port = 443 if upstream.is_tls else 80
        literal = f"[{upstream.host}]" if ":" in upstream.host else upstream.host
        host = literal if upstream.port == default_port else f"{literal}:{upstream.port}"
        lines = [
            f"POST {upstream.base_path}{path} HTTP/1.1",
            f"host: {host}",
            f"user-agent: {USER_AGENT}",
            "content-type: application/json",
            "accept: application/json, text/event-stream",
            "accept-encoding: identity",
        ]
        if upstream.api_key:
            lines.append(f"authorization: Bearer {upstream.api_key}")
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
