"""The hidden commands that the supervisor starts its children with."""

from typing import Annotated

import typer

from jusinfer import config
from jusinfer.bootstrap import control, gateway, settler
from jusinfer.cli.children import say_ready, watch_parent
from jusinfer.config import Overrides
from jusinfer.sandbox import app as sandbox_app


def add_to(app: typer.Typer) -> None:
    """Add the hidden commands."""
    app.command("_gateway", hidden=True)(gateway_child)
    app.command("_settler", hidden=True)(settler_child)
    app.command("_console", hidden=True)(console_child)
    app.command("_sandbox", hidden=True)(sandbox_child)


def gateway_child(
    worker_id: Annotated[str, typer.Option()], index: Annotated[int, typer.Option()]
) -> None:
    """Run one gateway worker."""
    settings = config.load(Overrides())
    gateway.run(settings, config.gateway_child(settings, worker_id, index))


def settler_child() -> None:
    """Run the settler."""
    settings = config.load(Overrides())
    child = config.child_descriptors()
    watch_parent(child.parent_descriptor)
    settler.run(settings, lambda: say_ready(child.ready_descriptor))


def console_child() -> None:
    """Run the console."""
    settings = config.load(Overrides())
    child = config.child_descriptors()
    watch_parent(child.parent_descriptor)
    control.run_console(
        settings, config.run_dir(settings), lambda: say_ready(child.ready_descriptor)
    )


def sandbox_child() -> None:
    """Run the sandbox upstream on a free port of loopback."""
    child = config.child_descriptors()
    watch_parent(child.parent_descriptor)
    ready = [] if child.ready_descriptor is None else ["--ready-fd", str(child.ready_descriptor)]
    sandbox_app.main(["--host", "127.0.0.1", "--port", "0", *ready])
