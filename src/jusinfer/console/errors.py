"""The outermost part of the console: headers of every answer, and the end of every fault."""

import traceback
from collections.abc import Callable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

PAGE_HEADERS: Final = (
    (
        b"content-security-policy",
        (
            b"default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none';"
            b" form-action 'self'; frame-ancestors 'none'"
        ),
    ),
    (b"x-frame-options", b"DENY"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
)
UNKEPT: Final = (b"cache-control", b"no-store")
CHECKED: Final = (b"cache-control", b"no-cache")
HSTS: Final = (b"strict-transport-security", b"max-age=31536000; includeSubDomains")
FAILED: Final = (
    b'{"error":{"message":"the console failed","type":"server_error","param":null,'
    b'"code":"console_failed","hint":"Try again; the operator\'s log names the fault."}}'
)
Report = Callable[[str, str], None]


def place_of(error: BaseException) -> str:
    """Give where an error was raised, as file and line; nothing of what it says."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return ""
    return f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}"


class Frame:
    """Adds the headers to every answer, answers what fails, and reports its class and place."""

    def __init__(self, app: ASGIApp, report: Report) -> None:
        self._app = app
        self._report = report

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and the answer back with the headers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_begun = False
        added = _headers(scope)
        names = {name for name, _ in added}

        async def guarded(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                own = [pair for pair in message.get("headers", []) if pair[0].lower() not in names]
                message["headers"] = [*own, *added]
            await send(message)

        try:
            await self._app(scope, receive, guarded)
        except Exception as error:  # noqa: BLE001 (the end of a request: whatever failed, it ends here)
            self._report(type(error).__name__, place_of(error))
            if not has_begun:
                head = [(b"content-type", b"application/json")]
                length = (b"content-length", b"%d" % len(FAILED))
                await guarded(
                    {"type": "http.response.start", "status": 500, "headers": [*head, length]}
                )
                await guarded({"type": "http.response.body", "body": FAILED})


def _headers(scope: Scope) -> list[tuple[bytes, bytes]]:
    # Files of the product are the same for everyone; anything else may be somebody's own.
    is_static = str(scope.get("path", "")).startswith("/static/")
    headers = [*PAGE_HEADERS, CHECKED if is_static else UNKEPT]
    if (b"x-forwarded-proto", b"https") in scope["headers"]:
        headers.append(HSTS)
    return headers
