"""Assembles the console: health, the landing page, and the documentation of the API."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from jusinfer.console.errors import FAILED, Frame, Report
from jusinfer.console.openapi import document

HERE: Final = Path(__file__).parent


def build(
    version: str,
    models: list[str],
    on_start: Callable[[], None] = lambda: None,
    report: Report = lambda _kind, _place: None,
) -> FastAPI:
    """Build the application; `models` are the public ids shown as examples.

    `report` hears the class of each fault and where it was.
    """

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

    @app.api_route("/health", methods=["GET", "HEAD"])
    def health() -> JSONResponse:
        return JSONResponse({"status": "ok"})

    @app.api_route("/openapi.json", methods=["GET", "HEAD"])
    def openapi(request: Request) -> JSONResponse:
        return JSONResponse(document(_origin(request), version))

    @app.api_route("/docs", methods=["GET", "HEAD"])
    def docs(request: Request) -> HTMLResponse:
        origin = _origin(request)
        template = pages.get_template("docs.html")
        return HTMLResponse(template.render(api=document(origin, version), origin=origin))

    @app.api_route("/", methods=["GET", "HEAD"])
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

    _answer_faults(app)
    _put_in_frame(app, report)
    return app


def _put_in_frame(app: FastAPI, report: Report) -> None:
    inner = app.build_middleware_stack

    def framed() -> ASGIApp:
        # Outside of everything, also of what answers a fault.
        return Frame(inner(), report)

    app.build_middleware_stack = framed  # type: ignore[method-assign]


def _answer_faults(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    def misformed(_request: Request, _error: RequestValidationError) -> Response:
        # Nothing of what was sent goes back: an error page is kept and shown elsewhere.
        error = {
            "message": "the request does not have the form that this path takes",
            "type": "invalid_request_error",
            "param": None,
            "code": "invalid_form",
            "hint": "Compare its fields with the documentation at /docs.",
        }
        return JSONResponse({"error": error}, 422)

    @app.exception_handler(Exception)
    def failed(_request: Request, _error: Exception) -> Response:
        return Response(FAILED, 500, media_type="application/json")


def _coded(text: str) -> Markup:
    """Show what stands between backticks as code; everything else is escaped."""
    parts = [escape(part) for part in text.split("`")]
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else part
        for number, part in enumerate(parts)
    )


def _origin(request: Request) -> str:
    """Give the origin that the client used, as the gateway passes it on."""
    host = request.headers.get("x-forwarded-host") or request.headers.get("host") or "localhost"
    scheme = request.headers.get("x-forwarded-proto")
    return f"{'https' if scheme == 'https' else 'http'}://{host}"
