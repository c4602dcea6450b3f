"""What the console answers and says of itself when something in it fails."""

import anyio
import httpx
import pytest
from pydantic import BaseModel

from jusinfer.console import app as console_app
from jusinfer.console.errors import PAGE_HEADERS

SECRET = "jane@example.org SECRET-TOKEN"
HEADERS = {name.decode(): value.decode() for name, value in PAGE_HEADERS}


class Form(BaseModel):
    count: int


def ask(
    path: str, headers: dict[str, str] | None = None, body: object = None
) -> tuple[httpx.Response, list[tuple[str, str]]]:
    """Ask the real console, with three routes that fail; gives what it reports too."""
    reports: list[tuple[str, str]] = []
    app = console_app.build("1", ["m"], report=lambda kind, place: reports.append((kind, place)))

    @app.get("/boom")
    def boom() -> None:
        raise ValueError(SECRET)

    @app.post("/form")
    def form(form: Form) -> dict[str, int]:
        return {"count": form.count}

    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://console") as client:
            if body is None:
                return await client.get(path, headers=headers)
            return await client.post(path, json=body, headers=headers)

    return anyio.run(run), reports


@pytest.mark.parametrize("path", ["/", "/docs", "/nothing", "/boom", "/health", "/openapi.json"])
def test_every_answer_has_the_headers_once(path: str) -> None:
    answer, _ = ask(path)
    for name, value in HEADERS.items():
        assert answer.headers.get_list(name) == [value]
    assert answer.headers.get_list("cache-control") == ["no-store"]
    assert "form-action" in answer.headers["content-security-policy"]
    assert "frame-ancestors" in answer.headers["content-security-policy"]
    assert "strict-transport-security" not in answer.headers


def test_static_files_may_be_kept_and_tls_is_insisted_on() -> None:
    answer, _ = ask("/static/jusinfer.css", {"x-forwarded-proto": "https"})
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["strict-transport-security"].startswith("max-age=31536000")


def test_a_fault_is_answered_and_reported_by_class_and_place_only(
    capfd: pytest.CaptureFixture[str],
) -> None:
    answer, reports = ask("/boom")
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "console_failed"
    ((kind, place),) = reports
    assert kind == "ValueError"
    assert place.startswith("test_console_errors.py:")
    said = capfd.readouterr()
    assert SECRET not in answer.text + str(reports) + said.out + said.err


@pytest.mark.parametrize("body", [{"count": SECRET}, {SECRET: 1}, [SECRET], SECRET])
def test_a_form_that_is_wrong_is_not_repeated(body: object) -> None:
    answer, _ = ask("/form", body=body)
    assert answer.status_code == 422
    assert "SECRET" not in answer.text
    assert answer.json()["error"]["hint"]
