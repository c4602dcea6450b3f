"""Commands that write to the audit log, run as an operator runs them."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

COMMAND_SECONDS = 100


def said(data_dir: Path, *command: str) -> object:
    """Run a command on a data directory of its own; gives the JSON that it printed."""
    file = data_dir.parent / "jusinfer.toml"
    file.write_text("", "utf-8")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "jusinfer",
            *command,
            "--json",
            "--config",
            str(file),
            "--data-dir",
            str(data_dir),
        ],
        capture_output=True,
        timeout=COMMAND_SECONDS,
        check=False,
        env={**os.environ, "JUSINFER_OPERATOR_NAME": "anna"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_rule_table_put_in_force_before_the_first_start_is_noted_in_a_private_directory(
    tmp_path: Path,
) -> None:
    data_dir = tmp_path / "data"
    said(data_dir, "rules", "activate", "builtin")
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
    assert (data_dir / "rules" / "active.toml").is_file()
    found = said(data_dir, "audit", "list")
    assert isinstance(found, list)
    assert [(one["who"], one["action"]) for one in found][:2] == [
        ("process:migrate", "schema.migrate"),
        ("operator:anna", "rules.activate"),
    ]
