"""The `jusinfer` command."""

import sys
from types import TracebackType

import typer

from jusinfer import confine
from jusinfer.cli.commands import Commands

app = typer.Typer(
    name="jusinfer",
    cls=Commands,
    help="An LLM gateway people can trust with money and with prompts.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def top() -> None:
    """An LLM gateway people can trust with money and with prompts."""


def main() -> None:
    """Run the command line."""
    confine.forbid_dumps()
    sys.excepthook = _unexpected
    app()


def _unexpected(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    from jusinfer.cli import output  # noqa: PLC0415 (it loads what most commands need, and help does not)

    output.unexpected(kind, error, trace)


if __name__ == "__main__":
    main()
