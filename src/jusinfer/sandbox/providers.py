"""What named upstreams insist on besides OpenAI's rules, by the path that they are reached at.

A path may begin with AI Gateway's prefix, whose own headers are judged and taken away; then with
the face of an upstream. What a production request must carry is refused here when it is missing.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from jusinfer.sandbox.validation import Refused

METADATA_MAX: Final = 5
_GATEWAY: Final = re.compile(r"/aig/v1/[^/]+/[^/]+/(?P<provider>[a-z-]+)(?P<rest>/.*)")
_RUN: Final = re.compile(r"/client/v4/accounts/[^/]+/ai/run/(?P<model>.+)")
_USER_ID: Final = re.compile(r"[a-zA-Z0-9_-]{1,128}")
# The path of each provider's own API behind the gateway.
BEHIND: Final[Mapping[str, str]] = {
    "anthropic": "",
    "azure-openai": "/azure/openai/v1",
    "deepseek": "/deepseek",
    "google-ai-studio": "/v1beta/openai",
    "openai": "/v1",
    "openrouter": "/openrouter/api/v1",
}


class ProviderProfile(NamedTuple):
    """How a request is to be read; the model stands here when the path names it."""

    dialect: str
    path: str
    like: str = ""
    model: str = ""


def face_of(path: str, headers: Mapping[str, str]) -> ProviderProfile:
    """Find the face that a path shows; raises Refused."""
    found = _GATEWAY.fullmatch(path)
    if found is not None:
        _judge_gateway(headers)
        if found["provider"] == "workers-ai":
            path = f"/client/v4/accounts/a/ai/run{found['rest']}"
        elif found["provider"] in BEHIND:
            path = BEHIND[found["provider"]] + found["rest"]
        else:
            raise Refused.of("invalid provider", None, "2008")
    run = _RUN.fullmatch(path)
    if run is not None:
        return ProviderProfile("workers_ai", "/run", model=run["model"])
    if path.endswith("/v1/messages"):
        return ProviderProfile("anthropic", "/messages")
    for prefix, like in (
        ("/openrouter/api/v1", "openrouter"),
        ("/deepseek", "deepseek"),
        ("/azure/openai/v1", "azure"),
        ("/v1beta/openai", "gemini"),
        ("/api/v1", ""),
        ("/v1", ""),
    ):
        if path.startswith(f"{prefix}/"):
            return ProviderProfile("openai", path[len(prefix) :], like)
    return ProviderProfile("openai", path)


def _judge_gateway(headers: Mapping[str, str]) -> None:
    if not headers.get("cf-aig-authorization", "").startswith("Bearer "):
        raise Refused.of("unauthorised", None, "2009", status=401)
    for name, wanted in (
        ("cf-aig-collect-log-payload", "false"),
        ("cf-aig-skip-cache", "true"),
        ("cf-aig-max-attempts", "1"),
    ):
        if headers.get(name) != wanted:
            raise Refused.of(f"the sandbox wants {name}: {wanted}", name)
    metadata = json.loads(headers.get("cf-aig-metadata", "{}"))
    if len(metadata) > METADATA_MAX or not headers.get("cf-aig-event-id"):
        raise Refused.of("at most five entries of metadata, and an event id", "cf-aig-metadata")


def _openrouter(request: Mapping[str, Any], _headers: Mapping[str, str]) -> None:
    provider = request.get("provider") or {}
    if provider.get("data_collection") != "deny":
        raise Refused.of("the sandbox wants data_collection: deny", "provider")
    if "max_price" not in provider:
        raise Refused.of("the sandbox wants max_price", "provider.max_price")
    if request.get("debug") or request.get("plugins"):
        raise Refused.of("the sandbox takes no debug and no plugins", "debug")
    if _headers.get("x-openrouter-cache") != "false":
        raise Refused.of("the sandbox wants X-OpenRouter-Cache: false", None)


def _deepseek(request: Mapping[str, Any], _headers: Mapping[str, str]) -> None:
    if not _USER_ID.fullmatch(str(request.get("user_id", ""))):
        raise Refused.of("the sandbox wants user_id", "user_id")
    form = request.get("response_format") or {}
    if form.get("type") == "json_schema":
        raise Refused.of("This response_format type is unavailable now", "response_format")
    if request.get("reasoning_effort") not in {None, "low", "high", "max"}:
        raise Refused.of("unknown reasoning_effort", "reasoning_effort", status=422)
    if (request.get("thinking") or {}).get("type") == "disabled":
        return
    for message in request["messages"]:
        if message.get("tool_calls") and not message.get("reasoning_content"):
            raise Refused.of(
                "The reasoning_content in the thinking mode must be passed back to the API",
                None,
                "invalid_request_error",
            )


def _azure(_request: Mapping[str, Any], headers: Mapping[str, str]) -> None:
    if not headers.get("api-key"):
        raise Refused.of("Access denied due to invalid subscription key", None, "401", status=401)


def _gemini(request: Mapping[str, Any], _headers: Mapping[str, str]) -> None:
    for message in request["messages"]:
        for call in message.get("tool_calls") or []:
            google = (call.get("extra_content") or {}).get("google") or {}
            if google.get("thought_signature") != "sandbox-thought":
                raise Refused.of("Function call is missing a thought_signature", None)


_JUDGES: Final[Mapping[str, Callable[[Mapping[str, Any], Mapping[str, str]], None]]] = {
    "azure": _azure,
    "deepseek": _deepseek,
    "gemini": _gemini,
    "openrouter": _openrouter,
}


def judge_face(
    face: ProviderProfile, request: Mapping[str, Any], headers: Mapping[str, str]
) -> None:
    """Refuse what this upstream would not take, or what it should never be asked."""
    judge = _JUDGES.get(face.like)
    if judge is not None:
        judge(request, headers)


def credential_of(headers: Mapping[str, str]) -> str:
    """Give the key of a request, by whichever header it came."""
    return headers.get("authorization") or headers.get("api-key") or headers.get("x-api-key") or ""
