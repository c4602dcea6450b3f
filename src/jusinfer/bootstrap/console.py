"""Builds the console and serves it on its Unix socket."""

from importlib.metadata import version
from typing import Final

import uvicorn

from jusinfer import config
from jusinfer.bootstrap.lifeline import say_ready, watch_parent
from jusinfer.console import app as console_app
from jusinfer.observability import Events

EXAMPLES: Final = 12
GRACE_SECONDS: Final = 3


def main() -> None:
    """Serve the console until told to stop."""
    settings = config.load(config.Overrides())
    child = config.child_descriptors()
    watch_parent(child.parent_descriptor)
    socket_path = config.run_dir(settings) / "console.sock"
    socket_path.unlink(missing_ok=True)
    offers = config.offers(settings, sandbox_port=1)
    examples = [name for name in offers.test.models if not name.startswith("sandbox/")]
    app = console_app.build(
        version("jusinfer"),
        examples[-1:] + examples[: EXAMPLES - 1],
        on_start=lambda: say_ready(child.ready_descriptor),
    )
    events = Events("console")
    events.emit("console_starting")
    uvicorn.Server(
        uvicorn.Config(
            app,
            uds=str(socket_path),
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    ).run()
    events.emit("console_stopped")


if __name__ == "__main__":
    main()
