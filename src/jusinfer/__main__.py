"""The `jusinfer` command: the list of sub-commands and nothing else."""

import sys

import typer

from jusinfer import confine
from jusinfer.cli import audit, doctor, ledger, limits, operate, output, route, rules

app = typer.Typer(
    name="jusinfer",
    help="An LLM gateway people can trust with money and with prompts.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
operate.add_to(app)
ledger.add_to(app)
limits.add_to(app)
route.add_to(app)
rules.add_to(app)
audit.add_to(app)
doctor.add_to(app)


def main() -> None:
    """Run the command line."""
    confine.forbid_dumps()
    sys.excepthook = output.unexpected
    app()


if __name__ == "__main__":
    main()
