"""Assembles the console: health, the landing page, and the documentation of the API."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jusinfer.console.openapi import document

HERE: Final = Path(__file__).parent
PAGE_HEADERS: Final = (
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'",
    ),
    (b"x-frame-options", b"DENY"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
    (b"cache-control", b"no-cache"),
)


class SecurityHeaders:
    """Adds the security headers to every answer (plain ASGI: no copy of the body)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and the answer back with the headers."""

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *PAGE_HEADERS]
            await send(message)

        await self._app(scope, receive, guarded)


def build(version: str, models: list[str], on_start: Callable[[], None] = lambda: None) -> FastAPI:
    """Build the application; `models` are the public ids shown as examples."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        on_start()
        yield

    app = FastAPI(
        title="jusInfer console", openapi_url=None, docs_url=None, redoc_url=None, lifespan=lifespan
    )
    pages = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
    )
    pages.filters["coded"] = _coded
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")

    @app.get("/health")
    def health() -> JSONResponse:
        return JSONResponse({"status": "ok"})

    @app.get("/openapi.json")
    def openapi(request: Request) -> JSONResponse:
        return JSONResponse(document(_origin(request), version))

    @app.get("/docs")
    def docs(request: Request) -> HTMLResponse:
        origin = _origin(request)
        template = pages.get_template("docs.html")
        return HTMLResponse(template.render(api=document(origin, version), origin=origin))

    @app.get("/")
    def landing(request: Request) -> HTMLResponse:
        template = pages.get_template("landing.html")
        return HTMLResponse(
            template.render(origin=_origin(request), models=models, version=version)
        )

    @app.exception_handler(HTTPException)
    def refused(request: Request, error: HTTPException) -> Response:
        if "text/html" in request.headers.get("accept", ""):
            template = pages.get_template("missing.html")
            return HTMLResponse(template.render(status=error.status_code), error.status_code)
        body = {
            "error": {
                "message": "there is nothing here" if error.status_code == 404 else error.detail,  # noqa: PLR2004 (a status)
                "type": "invalid_request_error",
                "param": None,
                "code": "path_not_found" if error.status_code == 404 else "refused",  # noqa: PLR2004 (a status)
                "hint": "The API is under /v1; see /docs.",
            }
        }
        return JSONResponse(body, error.status_code)

    app.add_middleware(SecurityHeaders)
    return app


def _coded(text: str) -> Markup:
    """Show what stands between backticks as code; everything else is escaped."""
    parts = [escape(part) for part in text.split("`")]
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else part
        for number, part in enumerate(parts)
    )


def _origin(request: Request) -> str:
    """Give the origin that the caller used, as the gateway passes it on."""
    host = request.headers.get("x-forwarded-host") or request.headers.get("host") or "localhost"
    scheme = request.headers.get("x-forwarded-proto")
    return f"{'https' if scheme == 'https' else 'http'}://{host}"
