"""An upstream in OpenAI's dialect, from a request to the script of its answer; no I/O here."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from jusinfer.sandbox import provider_quirks
from jusinfer.sandbox.agent.answer import Counterpart
from jusinfer.sandbox.agent.heard import Heard, heard_chat, heard_messages, heard_responses
from jusinfer.sandbox.agent.script import kind_of
from jusinfer.sandbox.chat import CREATED, Answer
from jusinfer.sandbox.counters import Count, Meter
from jusinfer.sandbox.embeddings import embed
from jusinfer.sandbox.fault_responses import fault_response
from jusinfer.sandbox.faults import GOOD, KNOWN, NO_FAULT, PREFIX, Fault, Faults
from jusinfer.sandbox.http_response import Http
from jusinfer.sandbox.messages import as_chat, judge_messages, message_script
from jusinfer.sandbox.providers import ProviderProfile, credential_of, face_of, judge_face
from jusinfer.sandbox.response_script import answer_script, before
from jusinfer.sandbox.responses import as_chat as response_as_chat
from jusinfer.sandbox.responses import judge_responses, response_script
from jusinfer.sandbox.script_steps import Script
from jusinfer.sandbox.text import compact
from jusinfer.sandbox.usage import reported_usage
from jusinfer.sandbox.validation import Refused, judge_chat, judge_embeddings
from jusinfer.sandbox.workers_ai import judge_run, run_script

GENERATIONS_MAX: Final = 1_000
OPEN_PATHS: Final = ("/healthz", "/sandbox/counts", "/sandbox/last", "/sandbox/reset")
# What a request that makes no sense to us may raise while we try to make sense of it.
INVALID_REQUEST_ERRORS: Final = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)


class SandboxRequest(NamedTuple):
    """One request as it came; header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    is_old: bool = False
    query: str = ""


class _Wanted(NamedTuple):
    """What an answer is made from: the API it is asked by, and the request as a chat request."""

    api: str
    chat: dict[str, Any]
    like: str = ""


class SandboxResponse(NamedTuple):
    """The script of an answer, and where to count what becomes of it."""

    script: Script
    tally: Count | None = None


class Upstream:
    """Answers requests; remembers counts, and how often a fault has struck."""

    def __init__(self) -> None:
        self.meter = Meter()
        self._faults = Faults()
        self._counterpart = Counterpart()
        self._served = 0
        self._generations: dict[str, dict[str, Any]] = {}

    def answer(self, asked: SandboxRequest) -> SandboxResponse:
        """Give the script that answers a request; every request has one."""
        self._served += 1
        plain = Http(NO_FAULT, f"req_{self._served:016x}", is_old=asked.is_old)
        try:
            return self._answer(asked, plain)
        except Refused as refused:
            return SandboxResponse(plain.whole(refused.status, compact(refused.body).encode()))
        except INVALID_REQUEST_ERRORS as nonsense:
            error = Refused.of(f"the request makes no sense: {type(nonsense).__name__}").body
            return SandboxResponse(plain.whole(400, compact(error).encode()))

    def _answer(self, asked: SandboxRequest, plain: Http) -> SandboxResponse:
        path = asked.path
        if path in OPEN_PATHS:
            return SandboxResponse(plain.whole(200, compact(self._page(asked)).encode()))
        face = face_of(path, asked.headers)
        if face.dialect != "openai":
            _must("POST", asked)
            serve = self._messages if face.dialect == "anthropic" else self._run
            return serve(asked, plain, face)
        if not credential_of(asked.headers):
            message = "you did not provide an API key in an Authorization header"
            raise Refused.of(message, None, "invalid_api_key", status=401)
        path = face.path
        page: dict[str, Any] | None = None
        if path == "/models" or path.startswith("/models/"):
            page = _models(path)
        elif path == "/generation":
            page = self._generation(asked.query)
        if page is not None:
            _must("GET", asked)
            return SandboxResponse(plain.whole(200, compact(page).encode()))
        answers: Mapping[
            str, Callable[[SandboxRequest, Http, ProviderProfile], SandboxResponse]
        ] = {
            "/chat/completions": self._chat,
            "/embeddings": self._embeddings,
            "/responses": self._responses,
        }
        if path not in answers:
            raise Refused.of(f"unknown request URL: {path}", None, "unknown_url", status=404)
        _must("POST", asked)
        return answers[path](asked, plain, face)

    def _chat(self, asked: SandboxRequest, plain: Http, face: ProviderProfile) -> SandboxResponse:
        request = judge_chat(_decoded(asked.body))
        judge_face(face, request, asked.headers)
        fault = self._begin(asked, request)
        answer = self._made(_Wanted("chat", request, face.like), fault, heard_chat, request)
        http = Http(answer.fault, plain.request_id, is_old=asked.is_old)
        count = self._counted(answer.model, answer.fault)
        if face.like == "openrouter":
            self._remember(answer)
        return SandboxResponse(answer_script(answer, http, _said(asked, fault)), count)

    def _messages(
        self, asked: SandboxRequest, plain: Http, _face: ProviderProfile
    ) -> SandboxResponse:
        request = judge_messages(_decoded(asked.body), asked.headers)
        fault = self._begin(asked, request)
        wanted = _Wanted("messages", as_chat(request))
        answer = self._made(wanted, fault, heard_messages, request)
        http = Http(answer.fault, plain.request_id, is_old=asked.is_old)
        count = self._counted(answer.model, answer.fault)
        return SandboxResponse(message_script(answer, http, _said(asked, fault)), count)

    def _responses(
        self, asked: SandboxRequest, plain: Http, face: ProviderProfile
    ) -> SandboxResponse:
        request = judge_responses(_decoded(asked.body))
        fault = self._begin(asked, request)
        wanted = _Wanted("responses", response_as_chat(request), face.like)
        answer = self._made(wanted, fault, heard_responses, request)
        http = Http(answer.fault, plain.request_id, is_old=asked.is_old)
        count = self._counted(answer.model, answer.fault)
        return SandboxResponse(response_script(answer, request, http, _said(asked, fault)), count)

    def _made(
        self,
        wanted: "_Wanted",
        fault: Fault,
        hear: Callable[[Mapping[str, Any]], Heard],
        request: dict[str, Any],
    ) -> Answer:
        """Make the answer up, or let the model behind an agent give it."""
        api, chat, like = wanted
        if kind_of(chat["model"]) is None:
            return Answer(chat, fault, like)
        return self._counterpart.answer(api, chat, fault, like, hear(request))

    def _run(self, asked: SandboxRequest, plain: Http, face: ProviderProfile) -> SandboxResponse:
        request = judge_run(_decoded(asked.body), asked.headers, unquote(face.model))
        fault = self._begin(asked, request)
        answer = Answer(request, fault)
        http = Http(fault, plain.request_id, is_old=asked.is_old)
        count = self._counted(answer.model, answer.fault)
        return SandboxResponse(run_script(answer, http, _said(asked, fault)), count)

    def _remember(self, answer: Answer) -> None:
        """Keep what an answer cost, to be asked for by its id."""
        if len(self._generations) >= GENERATIONS_MAX:
            del self._generations[next(iter(self._generations))]
        usage = answer.usage()
        self._generations[answer.answer_id] = {
            "id": answer.answer_id,
            "total_cost": float(provider_quirks.cost(usage)["cost"]),
            "tokens_prompt": usage["prompt_tokens"],
            "tokens_completion": usage["completion_tokens"],
            "model": answer.model,
        }

    def _generation(self, query: str) -> dict[str, Any]:
        found = self._generations.get(query.removeprefix("id="))
        if found is None:
            raise Refused.of("there is no such generation", "id", "not_found", status=404)
        return {"data": found}

    def _embeddings(
        self, asked: SandboxRequest, plain: Http, _face: ProviderProfile
    ) -> SandboxResponse:
        request = judge_embeddings(_decoded(asked.body))
        fault = self._begin(asked, request)
        prompt = fault.number("prompt", 0) if "prompt" in fault.options else None
        body = embed(request, prompt)
        usage = reported_usage(fault, body["usage"] | {"completion_tokens": 0})
        if usage is None:
            del body["usage"]
        elif fault.has("zero_usage", "wrong_usage", "cost"):
            body["usage"] = usage
        http = Http(fault, plain.request_id, is_old=asked.is_old)
        script = _embeddings_script(fault, http, compact(body).encode(), _said(asked, fault))
        return SandboxResponse(script, self._counted(request["model"], fault))

    def _begin(self, asked: SandboxRequest, request: dict[str, Any]) -> Fault:
        headers = asked.headers
        self.meter.remember(asked.path, headers, request)
        scope = headers.get("x-sandbox-scope", "")
        header, member = headers.get("x-sandbox-fault"), request.get("sandbox")
        return self._faults.choose(request["model"], header, member, scope)

    def _counted(self, model: str, fault: Fault) -> Count:
        count = self.meter.of(model)
        count.started += 1
        count.faults += not fault.names <= GOOD
        return count

    def _page(self, asked: SandboxRequest) -> object:
        if asked.path == "/sandbox/reset":
            _must("POST", asked)
            self.meter.reset()
            self._faults.reset()
            self._counterpart.reset()
            return {"status": "ok"}
        _must("GET", asked)
        if asked.path == "/sandbox/counts":
            return self.meter.counts()
        return list(self.meter.last) if asked.path == "/sandbox/last" else {"status": "ok"}


def _embeddings_script(fault: Fault, http: Http, body: bytes, said: str) -> Script:
    yield from before(fault, http)
    instead = fault_response(fault, http, said, is_stream=False)
    yield from http.whole(200, body) if instead is None else instead


def _decoded(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as fault:
        raise Refused.of("the body is not JSON", None, "invalid_json") from fault


def _said(asked: SandboxRequest, fault: Fault) -> str:
    """Give what an echoing error repeats: the whole body and, when asked, the key."""
    if not fault.has("echo_error"):
        return ""
    text = asked.body.decode("utf-8", "replace")
    return f"{text} {credential_of(asked.headers)}" if fault.flag("key") else text


def _must(method: str, asked: SandboxRequest) -> None:
    if asked.method != method:
        message = f"not allowed to {asked.method} on {asked.path}"
        raise Refused.of(message, None, "method_not_allowed", status=405)


def _models(path: str) -> dict[str, Any]:
    if path != "/models":
        return _model(path.removeprefix("/models/"))
    return {"object": "list", "data": [_model(f"{PREFIX}{name}") for name in sorted(KNOWN)]}


def _model(model: str) -> dict[str, Any]:
    row = {"id": model, "object": "model", "created": CREATED, "owned_by": "sandbox"}
    what = KNOWN.get(model.removeprefix(PREFIX))
    return row if what is None else row | {"description": what}
