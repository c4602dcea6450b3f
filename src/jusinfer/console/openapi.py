"""The gateway's API as an OpenAPI 3.1 document, written by hand beside the code it describes."""

from typing import Final

Object = dict[str, object]

KEY: Final = "An API key: `Authorization: Bearer ji_…`, or the same in `x-api-key`."
STATUSES: Final = (
    ("400", "The request cannot be understood; `param` names the field at fault."),
    ("401", "The key is missing, unknown or revoked."),
    ("402", "The credit does not cover the bound; says what would be affordable."),
    ("404", "No such model or path."),
    ("408", "The request took too long to arrive."),
    ("413", "The body is over its bound."),
    ("422", "The upstream cannot carry this out."),
    ("429", "A rate limit is used up; wait for `Retry-After`."),
    ("431", "The head is over its bound."),
    ("502", "No upstream gave an answer that could be used; nothing was charged."),
    ("503", "We cannot serve this now; wait for `Retry-After`."),
    ("504", "The upstream did not answer in time."),
)


def document(origin: str, version: str) -> Object:
    """Give the whole document for a server at `origin`."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "jusInfer",
            "version": version,
            "description": "One OpenAI-compatible API in front of many upstreams. "
            "The same paths are also served under /api/v1.",
        },
        "servers": [{"url": f"{origin}/v1"}],
        "security": [{"key": []}],
        "paths": {
            "/chat/completions": {"post": _chat()},
            "/responses": {
                "post": _other("Create a response", "OpenAI's Responses", "model input")
            },
            "/messages": {
                "post": _other(
                    "Create a message", "Anthropic's Messages", "model max_tokens messages"
                )
            },
            "/messages/count_tokens": {
                "post": _other("Estimate a message's tokens", "Anthropic's", "model messages")
            },
            "/completions": {
                "post": _other("Create a text completion", "OpenAI's legacy", "model prompt")
            },
            "/embeddings": {
                "post": _other("Create embeddings", "OpenAI's Embeddings", "model input")
            },
            "/route": {
                "post": _other("Say which routes a chat would take", "a plan", "model messages")
            },
            "/models": {"get": _models()},
            "/models/{model}": {"get": _model()},
            "/generation": {"get": _generation()},
            "/credits": {"get": _own("Show the credit of this key's account")},
            "/status": {"get": _own("Show how the upstreams do")},
            "/key": {"get": _own("Show what this key is and has spent")},
        },
        "components": {
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": KEY},
            },
            "schemas": {"ChatRequest": _chat_request(), "Error": _error()},
        },
    }


def _chat() -> Object:
    return {
        "summary": "Create a chat completion",
        "description": "Plain, or as server-sent events with `stream: true`. Unknown fields pass "
        "to the upstream. A stream that breaks ends with one error event and "
        '`finish_reason: "error"`, never with `[DONE]`.',
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _ref("ChatRequest")}},
        },
        "responses": {
            "200": {
                "description": "The answer, in OpenAI's shape.",
                "headers": _headers(),
                "content": {"application/json": {}, "text/event-stream": {}},
            },
            **_errors(),
        },
    }


def _other(summary: str, shape: str, required: str) -> Object:
    """Describe a client API that somebody else has specified."""
    schema = {
        "type": "object",
        "required": required.split(),
        "properties": {name: {} for name in required.split()},
    }
    return {
        "summary": summary,
        "description": f"In the shape of {shape}; any model serves it. What a model cannot express "
        "is refused with the member's name.",
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {
            "200": {
                "description": "The answer, whole or as server-sent events.",
                "headers": _headers(),
                "content": {"application/json": {}, "text/event-stream": {}},
            },
            **_errors(),
        },
    }


def _models() -> Object:
    return {
        "summary": "List the models that this key may use",
        "description": "With prices, context and capabilities.",
        "responses": {"200": {"description": "The list, in OpenAI's shape."}, **_errors(("401",))},
    }


def _model() -> Object:
    return {
        "summary": "Show one model",
        "parameters": [
            {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}
        ],
        "responses": {"200": {"description": "The model."}, **_errors(("401", "404"))},
    }


def _generation() -> Object:
    return {
        "summary": "Show one completion of this key's member",
        "description": "Tokens, cost, route and outcome, in OpenRouter's shape. Posted a moment "
        "after the completion's end.",
        "parameters": [
            {
                "name": "id",
                "in": "query",
                "required": True,
                "description": "The value of x-jusinfer-completion-id.",
                "schema": {"type": "string"},
            }
        ],
        "responses": {
            "200": {"description": "The completion."},
            **_errors(("400", "401", "404", "503")),
        },
    }


def _own(summary: str) -> Object:
    return {
        "summary": summary,
        "description": "In OpenRouter's shape; amounts are exact US dollars.",
        "responses": {"200": {"description": "The amounts."}, **_errors(("401", "503"))},
    }


def _chat_request() -> Object:
    return {
        "type": "object",
        "required": ["model", "messages"],
        "properties": {
            "model": {
                "type": "string",
                "description": "`jusinfer/auto` to let the router choose, or a model's id.",
            },
            "messages": {"type": "array", "items": {"type": "object"}, "minItems": 1},
            "stream": {"type": "boolean"},
            "stream_options": {
                "type": "object",
                "description": "`include_usage: true` adds a last chunk with usage and cost.",
            },
            "max_completion_tokens": {"type": "integer", "minimum": 1},
            "max_tokens": {"type": "integer", "minimum": 1},
            "temperature": {"type": "number", "minimum": 0, "maximum": 2},
            "usage": {
                "type": "object",
                "description": "`include: true` adds the cost to the answer's usage.",
            },
            "route": {
                "type": "object",
                "description": "`include: true` adds the plan of the route and its reasons.",
            },
            "metadata": {
                "type": "object",
                "description": "Yours; `task` may declare what the request is for, such as "
                "`code` or `facts`.",
            },
            "tools": {"type": "array", "items": {"type": "object"}},
            "response_format": {"type": "object"},
        },
        "additionalProperties": True,
    }


def _error() -> Object:
    text: Object = {"type": ["string", "null"]}
    names = ("message", "type", "param", "code", "hint", "request_id")
    return {
        "type": "object",
        "properties": {
            "error": {"type": "object", "properties": dict.fromkeys(names, text)},
        },
    }


def _errors(only: tuple[str, ...] | None = None) -> Object:
    return {
        status: {
            "description": text,
            "content": {"application/json": {"schema": _ref("Error")}},
        }
        for status, text in STATUSES
        if only is None or status in only
    }


def _headers() -> Object:
    names = {
        "x-request-id": "Names this request, for support.",
        "x-jusinfer-completion-id": "Names the completion on its receipt.",
        "x-jusinfer-model": "The model that served it.",
        "x-jusinfer-upstream": "Where it was served.",
        "x-jusinfer-route": "Why: reasons with their points, and the rule table's version.",
        "x-jusinfer-cost": "US dollars, as a decimal text (plain answers; in the last usage "
        "chunk of streams that ask for usage).",
        "x-jusinfer-overhead-us": "Microseconds this gateway added.",
        "x-ratelimit-remaining-requests": "What is left of the tightest limit in this "
        "minute, as last heard from the database; only where a limit of requests applies.",
    }
    return {
        name: {"description": text, "schema": {"type": "string"}} for name, text in names.items()
    }


def _ref(name: str) -> Object:
    return {"$ref": f"#/components/schemas/{name}"}
