"""The gateway knows the console's paths and methods: all of them, and no other."""

from fastapi.routing import APIRoute
from starlette.routing import Mount

from jusinfer.console.app import build
from jusinfer.gateway.api.console_paths import FOLDERS, PAGES


def test_the_gateway_knows_every_route_of_the_console() -> None:
    pages: dict[str, set[str]] = {}
    folders = []
    for route in build("0", []).routes:
        if isinstance(route, Mount):
            folders.append(route.path + "/")
        else:
            assert isinstance(route, APIRoute)
            pages.setdefault(route.path, set()).update(route.methods)
    assert pages == {path: set(methods) for path, methods in PAGES.items()}
    assert tuple(folders) == FOLDERS
    assert all("HEAD" in methods for methods in pages.values() if "GET" in methods)
