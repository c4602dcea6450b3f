"""The table of the gateway's own paths; any other goes to the console."""

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final
from urllib.parse import unquote

import msgspec

from jusinfer.domain.catalog import Catalog, Model
from jusinfer.domain.errors import (
    ArrivalTimeout,
    BodyTooLarge,
    HeadTooLarge,
    JusinferError,
    MalformedFraming,
    MethodNotAllowed,
    ModelNotFound,
    PathNotFound,
    Unavailable,
)
from jusinfer.domain.identity import Principal
from jusinfer.domain.inference.request import CompletionRequest
from jusinfer.domain.inference.response_headers import US_PER_SECOND
from jusinfer.gateway.api.account import PATHS as OWN_RECORDS
from jusinfer.gateway.api.account import AccountApi
from jusinfer.gateway.api.console_paths import BODY_BYTES_MAX as CONSOLE_BYTES_MAX
from jusinfer.gateway.api.console_paths import judge
from jusinfer.gateway.api.console_proxy import ConsoleForward
from jusinfer.gateway.http.server import HttpError, Request, Responder, Visitor
from jusinfer.gateway.inference.admission import examine, read
from jusinfer.gateway.inference.authentication import credential, entered, identify, known
from jusinfer.gateway.inference.endpoints import ANTHROPIC, ENDPOINTS
from jusinfer.gateway.inference.handler import InferenceHandler
from jusinfer.gateway.inference.route_preview import dry_run
from jusinfer.gateway.inference.translator import render_error
from jusinfer.gateway.off_loop import LARGE_BYTES_MIN
from jusinfer.gateway.state import WorkerState
from jusinfer.wire.inbound.body_bounds import check_count
from jusinfer.wire.inbound.openai_chat import decode_request
from jusinfer.wire.interfaces import ClientApi
from jusinfer.wire.json.anthropic_models import anthropic_members, page_of
from jusinfer.wire.json.models import model_row
from jusinfer.wire.json.status import STATUS_HEADERS, status_json, status_page, worst_state

ROUTE: Final = "/v1/route"
CHAT: Final = "/v1/chat/completions"
STATUS: Final = "/v1/status"
COUNT_TOKENS: Final = "/v1/messages/count_tokens"
MODELS: Final = "/v1/models"
ALIAS: Final = "/api/v1/"
OWN: Final = "/v1/"
CORS_HEADERS: Final = (
    "authorization, content-type, x-api-key, x-request-id, anthropic-version, anthropic-beta, "
    "anthropic-dangerous-direct-browser-access, http-referer, openai-organization, openai-project, "
    "user-agent, x-stainless-arch, x-stainless-async, x-stainless-helper-method, x-stainless-lang, "
    "x-stainless-os, x-stainless-package-version, x-stainless-retry-count, x-stainless-runtime, "
    "x-stainless-runtime-version, x-stainless-timeout, x-title, x-jusinfer-task"
)
# What a browser may name in a preflight: at most so many headers, in so many bytes.
CORS_NAMES_MAX: Final = 100
CORS_NAMES_BYTES_MAX: Final = 4_096
_CORS_NAMES: Final = re.compile(
    rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}(?:[ \t]*,[ \t]*[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100})*"
)
CORS_SECONDS: Final = 600
CORS_EXPOSED: Final = (
    "x-request-id, x-jusinfer-completion-id, x-jusinfer-model, x-jusinfer-upstream, "
    "x-jusinfer-route, x-jusinfer-cost, x-jusinfer-overhead-us, retry-after"
)
RETRY_SECONDS: Final = 1

_ERRORS: Final[Mapping[int, type[JusinferError]]] = {
    408: ArrivalTimeout,
    413: BodyTooLarge,
    431: HeadTooLarge,
    503: Unavailable,
}


class Gateway:
    """Answers the gateway's own paths, and hands the rest to the console."""

    def __init__(self, context: WorkerState, forward: ConsoleForward, records: AccountApi) -> None:
        self._context = context
        self._records = records
        self._forward = forward

    def handle(self, request: Request, responder: Responder) -> None:
        """Serve one request; never blocks and never raises a refusal."""
        path = own_path(request.path)
        if path is None:
            self._carry(request, responder)
            return
        request_id = self._context.new_id()
        cors = self._cors(request)
        if cors:
            responder.add_headers(cors)
        try:
            self._own(path, request, responder, request_id)
        except JusinferError as error:
            show(error, responder, request_id, client_api_of(path, request))

    def greet(self, request: Request, visitor: Visitor) -> None:
        """Judge path, method and key before a body is read that did not come with its head."""
        path = own_path(request.path)
        try:
            if path is None:
                judge(request.method, request.path)
                visitor.admit(request, CONSOLE_BYTES_MAX)
                return
            _judge(path, request.method)
            if path == STATUS or request.method == "OPTIONS":
                visitor.admit(request, 0)
                return
            key = credential(request)
        except JusinferError as error:
            self._turn_away(error, request, visitor)
            return
        principal = known(self._context, key)
        if principal is not None:
            visitor.admit(request, sys.maxsize, principal.key_id)
        else:
            self._context.spawn(self._meet(request, visitor, key))

    async def _meet(self, request: Request, visitor: Visitor, key: bytes) -> None:
        """Look a key up while little of its request's body is read."""
        try:
            principal = await identify(self._context, request, key)
        except JusinferError as error:
            self._turn_away(error, request, visitor)
        else:
            visitor.admit(request, sys.maxsize, principal.key_id)

    def _turn_away(self, error: JusinferError, request: Request, visitor: Visitor) -> None:
        request_id = self._context.new_id()
        status, block, body = self._refusal(error, request.path, request_id, request)
        cors = b"" if own_path(request.path) is None else self._cors(request)
        visitor.turn_away(request, status, block + cors, body)

    def _refusal(
        self, error: JusinferError, path: str, request_id: str, request: Request | None = None
    ) -> tuple[int, bytes, bytes]:
        """Count a refusal and write it as the clients of a path read errors."""
        counters = self._context.counters
        counters.refusals[error.code] = counters.refusals.get(error.code, 0) + 1
        status, block, body = render_error(
            client_api_of(own_path(path) or "", request), error, request_id
        )
        return status, block + ids(request_id), body

    def _carry(self, request: Request, responder: Responder) -> None:
        """Hand to the console what it serves, and nothing else."""
        request_id = self._context.new_id()
        try:
            judge(request.method, request.path)
            if len(request.body) > CONSOLE_BYTES_MAX:
                raise BodyTooLarge(f"the body is larger than {CONSOLE_BYTES_MAX} bytes")
        except JusinferError as error:
            responder.send(*self._refusal(error, request.path, request_id))
            return
        self._context.counters.forwarded += 1
        self._forward.handle(request, responder, request_id)

    def _own(self, path: str, request: Request, responder: Responder, request_id: str) -> None:
        method = request.method
        if method == "OPTIONS":
            self._preflight(request, responder, request_id)
            return
        if _judge(path, method):
            self._post(path, request, responder, request_id)
        elif path == MODELS or path.startswith(MODELS + "/"):
            self._context.spawn(self._models(path, request, responder, request_id))
        elif path == STATUS:
            self._status(request, responder, request_id)
        else:
            self._context.spawn(self._records.serve(path, request, responder, request_id))

    def _post(self, path: str, request: Request, responder: Responder, request_id: str) -> None:
        endpoint = ENDPOINTS.get(path)
        if path == ROUTE:
            self._context.spawn(self._dry_run(request, responder, request_id))
        elif endpoint is None:
            self._context.spawn(self._count_tokens(request, responder, request_id))
        else:
            InferenceHandler(self._context, request, responder, request_id, endpoint).begin(request)

    async def _dry_run(self, request: Request, responder: Responder, request_id: str) -> None:
        """Say which routes a chat request would take, and why; costs nothing, asks nobody."""
        context = self._context
        try:
            principal = await entered(context, request)
            asked = await self._read(lambda: read(ENDPOINTS[CHAT], request.body), request)
            epoch_seconds = context.clock_us() // US_PER_SECOND
            admission = examine(
                context,
                principal,
                asked,
                epoch_seconds,
                ENDPOINTS[CHAT],
                request.header(b"x-jusinfer-task"),
            )
        except JusinferError as error:
            show(error, responder, request_id)
            return
        body = dry_run(context, principal, admission, epoch_seconds, ENDPOINTS[CHAT])
        if not responder.is_gone:
            responder.send(200, b"content-type: application/json\r\n" + ids(request_id), body)

    async def _read(
        self, work: Callable[[], CompletionRequest], request: Request
    ) -> CompletionRequest:
        """Read a body, a large one beside the loop; raises InvalidRequest."""
        if len(request.body) < LARGE_BYTES_MIN:
            return work()
        return await self._context.heavy.run(work)

    async def _count_tokens(self, request: Request, responder: Responder, request_id: str) -> None:
        """Estimate the tokens of a Messages request; costs nothing and is sent nowhere."""
        context = self._context
        try:
            await entered(context, request)
            asked = await self._read(lambda: _counted(request.body), request)
        except JusinferError as error:
            show(error, responder, request_id, ANTHROPIC)
            return
        if not responder.is_gone:
            body = msgspec.json.encode({"input_tokens": asked.traits.input_tokens})
            responder.send(200, b"content-type: application/json\r\n" + ids(request_id), body)

    def refuse(self, refusal: HttpError, path: str) -> tuple[int, bytes, bytes]:
        """Build the answer to what the server itself refused."""
        kind = _ERRORS.get(refusal.status, MalformedFraming)
        retry = RETRY_SECONDS if kind is Unavailable else None
        error = kind(refusal.message, hint=refusal.hint, retry_after_seconds=retry)
        _, block, body = self._refusal(error, path, self._context.new_id())
        return refusal.status, block, body

    # ------------------------------------------------------------------ models

    async def _models(
        self, path: str, request: Request, responder: Responder, request_id: str
    ) -> None:
        try:
            principal = await entered(self._context, request)
            answer = self._models_answer(path, request, principal)
        except JusinferError as error:
            show(error, responder, request_id, client_api_of(path, request))
            return
        block = b"content-type: application/json\r\nvary: anthropic-version\r\n"
        if not responder.is_gone:
            responder.send(200, block + ids(request_id), msgspec.json.encode(answer))

    def _models_answer(
        self, path: str, request: Request, principal: Principal
    ) -> dict[str, object]:
        """Give the list of models, or one, as the client's API has it; raises JusinferError."""
        context = self._context
        catalog = context.snapshot.catalog(principal.mode)
        now = context.loop.time()
        is_anthropic = speaks_anthropic(request)

        def row(model: Model) -> dict[str, object]:
            made = model_row(
                model,
                catalog.upstreams,
                lambda upstream, name: context.health.state(upstream, name, now),
            )
            return made | anthropic_members(model) if is_anthropic else made

        if path != MODELS:
            return row(_model_named(catalog, unquote(path[len(MODELS) + 1 :])))
        models: Sequence[Model] = list(catalog.models.values())
        if is_anthropic:
            models, marks = page_of(models, request.query)
            return {"data": [row(model) for model in models], **marks}
        return {
            "object": "list",
            "data": [row(model) for model in models],
            "total_count": len(models),
        }

    def _status(self, request: Request, responder: Responder, request_id: str) -> None:
        """Say how the live upstreams do, as this worker sees them; for anybody, and of nobody."""
        context = self._context
        states = context.health.states(context.loop.time())
        rows: dict[str, str] = {}
        for name in context.snapshot.live.upstreams:
            own = {state for (upstream, _), state in states.items() if upstream == name}
            rows[name] = worst_state(own)
        wants_page = b"text/html" in (request.header(b"accept") or b"")
        kind, body = status_page(rows) if wants_page else status_json(rows)
        block = b"content-type: %b\r\n%b%b" % (kind, STATUS_HEADERS, ids(request_id))
        responder.send(200, block, body)

    # ------------------------------------------------------------------ CORS

    def _cors(self, request: Request) -> bytes:
        """Allow an origin only when it is configured; credentials of a browser are never used."""
        allowed = self._context.bounds.cors_origins
        if not allowed:
            return b""
        origin = request.header(b"origin")
        if origin is None or (origin.decode("latin-1") not in allowed and "*" not in allowed):
            return b""
        varies = b"origin"
        if request.method == "OPTIONS":
            varies += b", access-control-request-headers"
        return (
            b"access-control-allow-origin: %b\r\nvary: %b\r\n"
            b"access-control-expose-headers: %b\r\n" % (origin, varies, CORS_EXPOSED.encode())
        )

    def _preflight(self, request: Request, responder: Responder, request_id: str) -> None:
        wished = _wished_headers(request) if self._cors(request) else None
        names = CORS_HEADERS if wished is None else wished
        block = (
            "allow: GET, HEAD, POST, OPTIONS\r\n"
            "access-control-allow-methods: GET, HEAD, POST, OPTIONS\r\n"
            f"access-control-allow-headers: {names}\r\n"
            f"access-control-max-age: {CORS_SECONDS}\r\n"
        )
        responder.send(204, block.encode() + ids(request_id), b"")


def _counted(body: bytes) -> CompletionRequest:
    """Read a Messages request whose tokens are to be counted; raises InvalidRequest."""
    check_count(body)
    return decode_request(ANTHROPIC.to_counted(body).body)


def own_path(path: str) -> str | None:
    """Give a path of the API as it is called here; None for a path that is not the API's."""
    if path.startswith(ALIAS):
        return path[len("/api") :]
    return path if path.startswith(OWN) else None


def _judge(path: str, method: str) -> bool:
    """Tell whether a path of the API takes POST; raises PathNotFound or MethodNotAllowed."""
    is_post = path in ENDPOINTS or path in {COUNT_TOKENS, ROUTE}
    is_models = path == MODELS or path.startswith(MODELS + "/")
    if not is_post and not is_models and path != STATUS and path not in OWN_RECORDS:
        raise PathNotFound("there is nothing at this path of the API")
    if method == "OPTIONS":
        return is_post
    if is_post and method != "POST":
        raise MethodNotAllowed("use POST at this path")
    if not is_post and method not in {"GET", "HEAD"}:
        raise MethodNotAllowed("use GET at this path")
    return is_post


def _wished_headers(request: Request) -> str | None:
    """Give the names that a preflight asks for; None unless they are a list of bounded size."""
    wished = request.header(b"access-control-request-headers")
    if (
        wished is None
        or len(wished) > CORS_NAMES_BYTES_MAX
        or wished.count(b",") >= CORS_NAMES_MAX
        or _CORS_NAMES.fullmatch(wished) is None
    ):
        return None
    return wished.decode("ascii")


def ids(request_id: str) -> bytes:
    """Write the header that names a request."""
    return b"x-request-id: %b\r\n" % request_id.encode("ascii")


def speaks_anthropic(request: Request) -> bool:
    """Tell whether a client speaks Anthropic's API where its path does not say so."""
    return request.header(b"anthropic-version") is not None


def client_api_of(path: str, request: Request | None = None) -> ClientApi | None:
    """Give the client API that is spoken at a path; of models a header says which."""
    if path == COUNT_TOKENS:
        return ANTHROPIC
    is_models = path == MODELS or path.startswith(MODELS + "/")
    if is_models and request is not None and speaks_anthropic(request):
        return ANTHROPIC
    endpoint = ENDPOINTS.get(path)
    return None if endpoint is None else endpoint.client_api


def show(
    error: JusinferError, responder: Responder, request_id: str, client_api: ClientApi | None = None
) -> None:
    """Answer with an error in the client's wire format, unless the client has gone."""
    if not responder.is_gone:
        status, block, body = render_error(client_api, error, request_id)
        responder.send(status, block + ids(request_id), body)


def _model_named(catalog: Catalog, model_id: str) -> Model:
    model = catalog.models.get(model_id)
    if model is None:
        raise ModelNotFound("the model is not offered with this key", param="model")
    return model
