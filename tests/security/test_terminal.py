"""No command prints a character that acts on a terminal, whatever is stored or typed."""

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from tests.e2e.running import Running, wait_until
from typer.testing import CliRunner, Result

from jusinfer.__main__ import app
from jusinfer.cli import output

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
HOSTILE = "\x1b]0;x\x07\x1b[31m\r\n\t\x08\x7f\x9b31m\x90q\x9c\u202etxt\u2066\u200b\u2028\ufeff"
TEXTS = """
SELECT c.relname, a.attname, format_type(a.atttypid, NULL) FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND a.attnum > 0 AND NOT a.attisdropped AND format_type(a.atttypid, NULL) IN ('text', 'jsonb')
  AND c.relname NOT IN ('alembic_version', 'schema_text')
"""


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with Running(tmp_path_factory.mktemp("t")) as running:
        yield running


@pytest.fixture(scope="module")
def completion(product: Running) -> str:
    """Make rows of every kind, and put hostile text wherever the database takes it."""
    key = product.cli("keys", "create", "--mode", "live", "--name", HOSTILE)
    product.cli("tenants", "create", HOSTILE)
    product.cli("grant", "default", "5", "--reason", HOSTILE)
    product.cli("credits", "adjust", "default", "-1", "--reason", HOSTILE)
    product.cli("limits", "set", "key", key["key_id"], "requests", "5")
    product.cli("spend-limits", "add", "tenant", "default", "5")
    answer = product.ask("sandbox/plain")
    assert answer.status_code == 200
    completion_id = answer.headers["x-jusinfer-completion-id"]

    def is_posted() -> bool:
        with psycopg.connect(product.dsn) as connection:
            row = connection.execute("SELECT count(*) FROM usage_record").fetchone()
            return row != (0,)

    wait_until(is_posted, 30)
    stored = {"api_key.name", "ledger_transfer.reason", "usage_record.requested_model"}
    assert stored <= made_hostile(product)
    return completion_id


def made_hostile(product: Running) -> set[str]:
    """Put hostile text into each column that takes it; gives their names."""
    taken = set()
    with psycopg.connect(product.admin_dsn, autocommit=True) as admin:
        admin.execute("SET session_replication_role = replica")
        for table, column, kind in admin.execute(TEXTS).fetchall():
            value = json.dumps({HOSTILE: HOSTILE}) if kind == "jsonb" else HOSTILE
            try:
                with admin.transaction():
                    statement = f"UPDATE {table} SET {column} = %s::{kind}"  # noqa: S608 (names of the catalog)
                    done = admin.execute(statement.encode(), (value,))
            except psycopg.Error:
                continue  # refused there, as it should be
            if done.rowcount:
                taken.add(f"{table}.{column}")
    return taken


def ran(*words: str) -> Result:
    return CliRunner().invoke(app, list(words), prog_name="jusinfer")


def assert_still(result: Result) -> None:
    for line in result.output.split("\n"):
        assert line.isprintable(), line


LISTS = [
    ("tenants", "list"),
    ("keys", "list"),
    ("usage",),
    ("credits", "grants"),
    ("limits", "list"),
    ("spend-limits", "list"),
    ("ledger", "verify"),
    ("ledger", "rerate"),
    ("ledger", "drift"),
    ("ledger", "reports"),
    ("audit", "list"),
    ("audit", "verify"),
    ("doctor",),
]


@pytest.mark.parametrize("as_json", [False, True], ids=["table", "json"])
@pytest.mark.parametrize("words", LISTS, ids=" ".join)
def test_what_is_stored_is_printed_as_it_is_spelt(
    product: Running, completion: str, words: tuple[str, ...], *, as_json: bool
) -> None:
    assert completion
    result = ran(*words, *product.common, *(["--json"] if as_json else []))
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert_still(result)
    if words[0] in {"tenants", "keys", "usage"}:
        assert "txt" in result.output


@pytest.mark.parametrize("as_json", [False, True], ids=["table", "json"])
@pytest.mark.parametrize("words", [("ledger", "explain"), ("route", "explain")], ids=" ".join)
def test_a_completion_is_explained_as_it_is_spelt(
    product: Running, completion: str, words: tuple[str, ...], *, as_json: bool
) -> None:
    result = ran(*words, completion, *product.common, *(["--json"] if as_json else []))
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "txt" in result.output
    assert_still(result)


FILES = {
    "request.json": json.dumps({"model": HOSTILE, "messages": [{"role": "user", "content": "x"}]}),
    "broken.json": HOSTILE,
    "rules.toml": f"version = {json.dumps(HOSTILE)}\n",
    "broken.toml": f"version = '{HOSTILE}\n",
}
TYPED = [
    ("route", "explain", "request.json"),
    ("route", "explain", "broken.json"),
    ("route", "explain", f"{HOSTILE}.json"),
    ("rules", "check", "rules.toml"),
    ("rules", "check", "broken.toml"),
    ("rules", "check", HOSTILE),
    ("rules", "diff", HOSTILE),
    ("models", "--config", HOSTILE),
    ("models", "--mode", HOSTILE),
    ("models", f"--{HOSTILE}"),
    (HOSTILE,),
    ("keys", HOSTILE),
    ("usage", "--days", HOSTILE),
    ("audit", "list", "--since", HOSTILE),
    ("audit", "verify", "--head", HOSTILE),
    ("route", "--task", HOSTILE),
    ("route", "--hint", HOSTILE),
    ("route", "--model", HOSTILE),
    ("doctor", "--data-dir", HOSTILE.replace("\x08", "/")),
]


@pytest.mark.parametrize("words", TYPED, ids=[str(at) for at in range(len(TYPED))])
def test_what_is_typed_or_in_a_file_is_told_as_it_is_spelt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    result = ran(*words)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert_still(result)


SETTINGS = [
    "operator_name = {}\n",
    "[listen]\nhost = {}\n",
    "[{}]\n",
    "{} = 1\n",
    '[[upstream]]\nname = {}\nbase_url = "https://a.example/v1"\napi_key = "k"\n',
    '[[upstream]]\nname = "a"\nbase_url = {}\napi_key = "k"\n',
    (
        '[[upstream]]\nname = "a"\nbase_url = "https://127.0.0.1:1/v1"\napi_key = "k"\n'
        '[[upstream.model]]\nid = {}\nupstream_model = "m"\ninput = "1"\noutput = "1"\n'
    ),
]


@pytest.mark.parametrize("text", SETTINGS, ids=[str(at) for at in range(len(SETTINGS))])
def test_what_is_configured_is_told_as_it_is_spelt(tmp_path: Path, text: str) -> None:
    file = tmp_path / "jusinfer.toml"
    file.write_text(text.replace("{}", json.dumps(HOSTILE)))
    file.chmod(0o600)
    for words in (("models", "--mode", "live"), ("doctor", "--data-dir", str(tmp_path / "d"))):
        result = ran(*words, "--config", str(file))
        assert result.exception is None or isinstance(result.exception, SystemExit)
        assert_still(result)


def test_only_one_module_writes_to_the_terminal() -> None:
    folder = Path(output.__file__).parent
    for path in folder.glob("*.py"):
        if path.name != "output.py":
            text = path.read_text()
            assert "echo(" not in text, path.name
            assert "print(" not in text, path.name
