"""The list of commands; each loads its module when it is run, so that help is there at once."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from types import MappingProxyType
from typing import Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from jusinfer.domain.printable import printable

# The class of all faults of what was typed, which Typer gives no name of its own.
UsageError: Any = typer.BadParameter.__base__

# The module of each command, and the first line of its help.
COMMANDS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "serve": ("cli.operate", "Start the whole product and keep it running."),
        "migrate": ("cli.operate", "Bring the database's schema up to date."),
        "grant": ("cli.operate", "Give credit to a tenant."),
        "usage": ("cli.operate", "Show what was used, by tenant and model."),
        "models": (
            "cli.operate",
            "List the models on offer, with prices in US dollars per million tokens.",
        ),
        "doctor": (
            "cli.doctor",
            "Check configuration, files, database, clock and upstreams; say how to mend each.",
        ),
        "keys": ("cli.operate", "Make, list and revoke API keys."),
        "tenants": ("cli.operate", "Create and list tenants."),
        "ledger": ("cli.ledger", "Prove and explain what was charged."),
        "credits": ("cli.ledger", "Show and adjust credit."),
        "limits": (
            "cli.limits",
            "Limits by the minute and at once; all that apply to a key apply together.",
        ),
        "spend-limits": (
            "cli.limits",
            "Spend limits by day, week or month; all that apply to a key apply together.",
        ),
        "route": ("cli.route", "Say which model would be chosen, and why; nothing is called."),
        "rules": ("cli.routing_rules", "Check, compare and put in force rule tables."),
        "audit": ("cli.audit", "Who did what to whose: list it, and prove it."),
    }
)
# Modules that add commands to a group of another's.
_ALSO: Final[Mapping[str, str]] = MappingProxyType({"cli.operate": "cli.limits"})


class Commands(TyperGroup):
    """The top of the command line; what was typed is repeated with its characters spelt out."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._is_helping = False

    def make_context(self, *given: Any, **named: Any) -> Any:
        """Read the words of the command line itself."""
        with _spelt_out():
            return super().make_context(*given, **named)

    def invoke(self, ctx: Any) -> Any:
        """Read the words of a command, and run it."""
        with _spelt_out():
            return super().invoke(ctx)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names in the order of their help."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Load a command; while help is written only its first line."""
        del ctx
        found = COMMANDS.get(cmd_name)
        if found is None:
            return None
        module, help_text = found
        if self._is_helping:
            return TyperCommand(cmd_name, help=help_text)
        return loaded(module).get(cmd_name)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help without loading anything."""
        self._is_helping = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self._is_helping = False


@contextmanager
def _spelt_out() -> Iterator[None]:
    try:
        yield
    except UsageError as error:
        error.message = "\n".join(printable(line) for line in error.message.split("\n"))
        raise


def loaded(module: str) -> Mapping[str, Any]:
    """Return the commands that a module adds."""
    app = typer.Typer(pretty_exceptions_enable=False)
    # Typer makes no group of a single command.
    app.callback()(lambda: None)
    for name in (module, _ALSO.get(module)):
        if name is not None:
            import_module(f"jusinfer.{name}").add_to(app)
    group = typer.main.get_group(app)
    return group.commands
