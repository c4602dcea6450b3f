"""Writes a request for one planned route: its head and its body, in the provider's API format."""

from typing import Final

import msgspec

from jusinfer.domain.catalog import Capability
from jusinfer.domain.errors import InvalidRequest
from jusinfer.domain.identity import Principal
from jusinfer.domain.inference.planned_request import PlannedRequest
from jusinfer.gateway.http.connection_pool import Target
from jusinfer.gateway.inference.endpoints import CHAT_PATH, Endpoint
from jusinfer.gateway.inference.translator import Translator
from jusinfer.gateway.inference.upstream_headers import gateway_lines, stamp_of
from jusinfer.gateway.runtime_config import UpstreamTarget
from jusinfer.wire.answer_ident import AnswerIdent
from jusinfer.wire.interfaces import ClientStream

LENGTH: Final = b"content-length: "


class RouteRequest(msgspec.Struct, frozen=True, gc=False):
    """What is sent to a provider, and how its answer is read."""

    target: Target
    translator: Translator
    head: bytes
    body: bytes
    # How a streamed answer names itself, and what writes it where the client reads another form.
    ident: AnswerIdent | None
    writer: ClientStream | None


class Asked(msgspec.Struct, frozen=True, gc=False):
    """A request as its client sent it; `ident` names a streamed answer."""

    completion_id: str
    body: bytes
    passed_lines: bytes
    ident: AnswerIdent | None


def write_request(
    endpoint: Endpoint,
    dispatch: UpstreamTarget,
    principal: Principal,
    planned: PlannedRequest,
    index: int,
    client: Asked,
) -> RouteRequest:
    """Write the request for a route; raises InvalidRequest for what it cannot carry."""
    completion_id, ident = client.completion_id, client.ident
    step, price = planned.plan.routes[index], planned.prices[index]
    upstream, model = dispatch.upstream, step.route.upstream_model
    flags = upstream.flags
    translator = endpoint.translator(
        dispatch.provider_api,
        flags=flags,
        completion_id=completion_id,
        is_reasoning=Capability.REASONING in step.model.capabilities,
    )
    try:
        body = translator.encode(
            planned.asked,
            client.body,
            model,
            planned.sent_budget(index),
            flags,
            stamp_of(upstream, principal, price),
        )
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # A value that was carried unread until this provider needed it read.
        raise InvalidRequest(
            "a value of this request cannot be read: a number beyond all bounds, or no text",
            hint="Send JSON in UTF-8, with numbers that fit 64 bits.",
        ) from None
    path = endpoint.path(
        dispatch.provider_api, model, is_stream=planned.asked.is_stream, flags=flags
    )
    head = dispatch.chat_request_head if path is CHAT_PATH else dispatch.head(path)
    if dispatch.is_gateway:
        lines = gateway_lines(upstream, principal, step.model.model_id, completion_id, price)
        head = with_lines(head, lines)
    if client.passed_lines and translator.passes_headers:
        head = with_lines(head, client.passed_lines)
    head = b"%b%d\r\n\r\n" % (head, len(body))
    writer = None if ident is None else translator.writer(client.body, ident)
    return RouteRequest(dispatch.target, translator, head, body, ident, writer)


def with_lines(head: bytes, lines: bytes) -> bytes:
    """Add header lines to the head of a request, before the length that comes last.

    A header that the settings state too is joined to theirs: both lists count.
    """
    name, _, value = lines.partition(b": ")
    place = head.find(b"\r\n%b: " % name)
    if place >= 0 and lines.count(b"\r\n") == 1:
        place = head.index(b"\r\n", place + 2)
        return b"%b,%b%b" % (head[:place], value.rstrip(), head[place:])
    return head[: -len(LENGTH)] + lines + LENGTH
