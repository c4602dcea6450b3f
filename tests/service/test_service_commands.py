"""Commands that write to the audit log, run as an operator runs them."""

import errno
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner

from jusinfer.__main__ import app
from jusinfer.store import logins
from jusinfer.store.database import migrate
from jusinfer.store.embedded import EmbeddedPostgres

# Twenty of them at once share what a busy machine leaves.
pytestmark = pytest.mark.timeout(400)
COMMAND_SECONDS = 200


def command(data_dir: Path, *words: str) -> list[str]:
    """Give how a command is run on a data directory of its own."""
    file = data_dir.parent / "jusinfer.toml"
    file.touch()
    own = ["--config", str(file), "--data-dir", str(data_dir)]
    return [sys.executable, "-m", "jusinfer", *words, *own]


def ran(data_dir: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command as anna."""
    return subprocess.run(
        command(data_dir, *words),
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
        env={**os.environ, "JUSINFER_OPERATOR_NAME": "anna"},
    )


def said(data_dir: Path, *words: str) -> object:
    """Run a command; gives the JSON that it printed."""
    done = ran(data_dir, *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """Run the database of a data directory, as a supervisor does."""
    data_dir = tmp_path / "data"
    server = EmbeddedPostgres(data_dir)
    try:
        migrate(server.start())
        logins.renew(server.admin_dsn, data_dir)
        yield server
    finally:
        server.stop()


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


def test_twenty_commands_at_once_make_one_chain(tmp_path: Path, served: EmbeddedPostgres) -> None:
    data_dir = tmp_path / "data"
    assert served.is_running
    running = [
        subprocess.Popen(
            command(data_dir, "tenants", "create", f"t{number}"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(20)
    ]
    for one in running:
        _, err = one.communicate(timeout=COMMAND_SECONDS)
        assert one.returncode == 0, err
    found = said(data_dir, "audit", "verify")
    assert isinstance(found, dict)
    assert found["holds"]
    entries = said(data_dir, "audit", "list")
    assert isinstance(entries, list)
    assert [one["seq"] for one in entries] == list(range(1, len(entries) + 1))
    assert sum(one["action"] == "tenant.create" for one in entries) == 20


RESTORE = """
ALTER TABLE audit_entry DISABLE TRIGGER USER;
ALTER TABLE audit_head DISABLE TRIGGER USER;
DELETE FROM audit_entry WHERE seq > 2;
UPDATE audit_head SET seq = 2, digest = (SELECT digest FROM audit_entry WHERE seq = 2);
ALTER TABLE audit_entry ENABLE ALWAYS TRIGGER audit_entry_append_only,
  ENABLE ALWAYS TRIGGER audit_entry_no_truncate;
ALTER TABLE audit_head ENABLE ALWAYS TRIGGER audit_head_by_one,
  ENABLE ALWAYS TRIGGER audit_head_stays, ENABLE ALWAYS TRIGGER audit_head_no_truncate;
"""


def test_an_older_backup_is_noticed_by_the_head_that_held_before(
    tmp_path: Path, served: EmbeddedPostgres
) -> None:
    data_dir = tmp_path / "data"
    for name in ("a", "b"):
        said(data_dir, "tenants", "create", name)
    first = ran(data_dir, "audit", "verify")
    assert "compared with no head" in first.stdout
    kept = data_dir / "audit-head"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert kept.read_text().strip() in first.stdout
    assert f"of {kept}" in ran(data_dir, "audit", "verify").stdout
    with psycopg.connect(served.admin_dsn) as admin:
        admin.execute(RESTORE)
    said(data_dir, "tenants", "create", "c")
    broken = ran(data_dir, "audit", "verify")
    assert broken.returncode == 1
    assert "BROKEN at entry 3: it is not the entry that the head you keep" in broken.stdout
    assert f"delete {kept}" in broken.stdout
    # A restore that was meant: what the operator is told is enough.
    kept.unlink()
    assert ran(data_dir, "audit", "verify").returncode == 0
    kept.write_text("nothing of the kind")
    refused = ran(data_dir, "audit", "verify")
    assert refused.returncode == 1
    assert "holds no head; delete it" in refused.stderr
    other = f"3:{'0' * 64}"
    assert ran(data_dir, "audit", "verify", "--head", other).returncode == 1


def test_a_head_that_cannot_be_kept_is_no_fault_of_the_chain(
    tmp_path: Path, served: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, secret: bytes) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path), secret.decode())

    assert served.is_running
    monkeypatch.setattr("jusinfer.cli.audit.write_secret", refuse)
    words = command(tmp_path / "data", "audit", "verify")[3:]
    found = CliRunner().invoke(app, words)
    assert found.exit_code == 0, found.output
    assert "The chain holds" in found.output
    assert "(Read-only file system): keep it yourself" in found.output
    assert json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)["holds"]
