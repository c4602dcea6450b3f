"""The list of commands says what the modules have, and help loads none of them."""

import subprocess
import sys

import pytest

from jusinfer.cli.commands import COMMANDS, loaded

MODULES = sorted({module for module, _ in COMMANDS.values()})


@pytest.mark.parametrize("module", MODULES)
def test_a_module_has_the_commands_that_the_list_names(module: str) -> None:
    listed = {name: text for name, (where, text) in COMMANDS.items() if where == module}
    commands = loaded(module)
    # What a module adds to another's group is listed there.
    assert listed.keys() <= commands.keys()
    for name, text in listed.items():
        assert " ".join((commands[name].help or "").split("\n\n")[0].split()) == text


def test_every_command_of_every_module_is_listed() -> None:
    assert {name for module in MODULES for name in loaded(module)} == set(COMMANDS)


def test_help_loads_no_database_and_no_web_server() -> None:
    program = (
        "import sys; sys.argv = ['jusinfer', '--help']\n"
        "from jusinfer.__main__ import main\n"
        "try: main()\n"
        "except SystemExit as ended: assert not ended.code\n"
        "print(sorted({name.split('.')[0] for name in sys.modules}), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    )
    assert "ledger" in done.stdout
    for name in ("sqlalchemy", "alembic", "psycopg", "fastapi", "uvloop", "msgspec"):
        assert f"'{name}'" not in done.stderr


def test_an_unknown_command_is_named() -> None:
    command = [sys.executable, "-m", "jusinfer", "nothing"]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert done.returncode == 2
    assert "nothing" in done.stderr
