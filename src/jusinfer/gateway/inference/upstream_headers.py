"""What is added to the head of each attempt that goes through Cloudflare AI Gateway.

Retries and caching are ours alone, and payloads are not kept there unless the tenant has asked for
it; all that names anybody is opaque. The event id is the completion's, by which a log can be found
and deleted later.
"""

from typing import Final

import msgspec

from jusinfer.domain.catalog import Price, Upstream
from jusinfer.domain.identity import Principal
from jusinfer.domain.sender import NO_STAMP, Stamp, opaque
from jusinfer.wire.json.models import per_token

_encode: Final = msgspec.json.Encoder().encode


def gateway_lines(
    upstream: Upstream, principal: Principal, model_id: str, completion_id: str, price: Price
) -> bytes:
    """Write the header lines for AI Gateway, each with its end."""
    name = upstream.name
    metadata = {
        "tenant": opaque(name, principal.tenant_id),
        "member": opaque(name, principal.member_id),
        "key": opaque(name, principal.key_id),
        "model": model_id,
        "request": completion_id,
    }
    cost = {
        "per_token_in": msgspec.Raw(per_token(price.input_micro_per_mtok).encode()),
        "per_token_out": msgspec.Raw(per_token(price.output_micro_per_mtok).encode()),
    }
    keeps = b"true" if principal.policy.may_log_payloads else b"false"
    return (
        b"cf-aig-authorization: Bearer %b\r\n"
        b"cf-aig-metadata: %b\r\n"
        b"cf-aig-collect-log: true\r\n"
        b"cf-aig-collect-log-payload: %b\r\n"
        b"cf-aig-skip-cache: true\r\n"
        b"cf-aig-max-attempts: 1\r\n"
        b"cf-aig-no-wholesale: true\r\n"
        b"cf-aig-event-id: %b\r\n"
        b"cf-aig-custom-cost: %b\r\n"
        % (
            upstream.gateway_token.encode("ascii"),
            _encode(metadata),
            keeps,
            completion_id.encode("ascii"),
            _encode(cost),
        )
    )


def asking_lines(upstream: Upstream, completion_id: str) -> bytes:
    """Write the header lines of a question about a completion, which names nobody."""
    return (
        b"cf-aig-authorization: Bearer %b\r\n"
        b"cf-aig-collect-log-payload: false\r\n"
        b"cf-aig-skip-cache: true\r\n"
        b"cf-aig-max-attempts: 1\r\n"
        b"cf-aig-no-wholesale: true\r\n"
        b"cf-aig-event-id: %b\r\n"
        % (upstream.gateway_token.encode("ascii"), completion_id.encode("ascii"))
    )


def stamp_of(upstream: Upstream, principal: Principal, price: Price) -> Stamp:
    """Give what an attempt at an upstream carries about its sender."""
    if upstream.provider_api == "openai_chat" and not upstream.flags:
        return NO_STAMP
    return Stamp(
        sender=opaque(upstream.name, principal.tenant_id, principal.member_id),
        is_zdr=principal.policy.is_zdr,
        price=price,
    )
