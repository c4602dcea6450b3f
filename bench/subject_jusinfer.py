"""The whole product as a subject: started as an operator would, with a key, credit and rows."""

import json
import secrets
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import psycopg

from bench import machine
from bench.bodies import SHAPES, Kind
from bench.subjects import OWN, BenchError, Stage, Subject
from jusinfer.domain.identity import KEY_SECRET_BYTES, Mode, fingerprint, format_key, key_prefix
from jusinfer.store.embedded import EmbeddedPostgres

TENANT: Final = "bench"
COMMAND_SECONDS: Final = 60.0
SETTLE_SECONDS: Final = 60.0
SETTLE_POLL_SECONDS: Final = 0.2
COPY_KEYS: Final = (
    "COPY api_key (key_id, tenant_id, member_id, mode, fingerprint, key_prefix, name) FROM STDIN"
)
OWNER: Final = "SELECT member_id FROM member WHERE tenant_id = %s AND role = 'owner' LIMIT 1"
_HEAD: Final = """\
[gateway]
upstream_connections_max = 8000
requests_per_minute = 1000000000
tokens_per_minute = 1000000000000
"""


def configuration(upstreams: Mapping[Kind, int], ca_file: Path) -> str:
    """Write `jusinfer.toml` with an upstream for each port."""
    entries = [
        _entry("bench", f"http://127.0.0.1:{upstreams[Kind.PLAIN]}/v1", [Kind.PLAIN]),
        _entry(
            "benchtls",
            f"https://127.0.0.1:{upstreams[Kind.TLS]}/v1",
            [Kind.TLS],
            f'ca_file = "{ca_file}"\n',
        ),
        _entry("benchstream", f"http://127.0.0.1:{upstreams[Kind.STREAM]}/v1", list(SHAPES)),
    ]
    return _HEAD + "".join(entries)


def _entry(name: str, base_url: str, kinds: list[Kind], extra: str = "") -> str:
    models = "".join(
        f'[[upstream.model]]\nid = "{kind.model}"\ninput = "0.15"\noutput = "0.60"\n'
        for kind in kinds
    )
    return (
        f'[[upstream]]\nname = "{name}"\nbase_url = "{base_url}"\nis_local = true\n'
        f'api_key = "x"\n{extra}{models}'
    )


class Product:
    """The product while it is served for measuring."""

    def __init__(self, stage: Stage, upstreams: Mapping[Kind, int], ca_file: Path) -> None:
        config = stage.folder / "jusinfer.toml"
        config.write_text(configuration(upstreams, ca_file))
        self.data_dir = stage.folder / "data"
        self._common = ["--config", str(config), "--data-dir", str(self.data_dir)]
        port, operator_port = machine.free_ports(2)
        ports = ["--port", str(port), "--operator-port", str(operator_port), "--workers", "1"]
        command = [sys.executable, "-m", "jusinfer", "serve", *self._common, *ports]
        process = stage.start(command, "jusinfer")
        said = stage.folder / "jusinfer.err"
        stage.wait("jusinfer", process, lambda: '"event":"ready"' in said.read_text())
        self.tenant_id = self._ask(["tenants", "create", TENANT])[0]["tenant_id"]
        key = self._ask(["keys", "create", "--tenant", TENANT, "--mode", "live"])["key"]
        self._ask(["grant", TENANT, "1000000", "--reason", "bench"])
        self.dsn = EmbeddedPostgres(self.data_dir).dsn
        self._link = psycopg.connect(self.dsn, autocommit=True, connect_timeout=5)
        below = machine.children(process.pid)
        postmaster = int((self.data_dir / "postgres" / "postmaster.pid").read_text().split()[0])
        parts = {
            OWN: machine.named(below, "jusinfer.bootstrap.gateway"),
            "settler": machine.named(below, "jusinfer.bootstrap.settler"),
            "postgres": [postmaster],
        }
        self.subject = Subject(
            "jusinfer",
            dict.fromkeys(Kind, port),
            parts,
            key=key,
            version=str(machine.facts()["revision"]),
            settle=self.settle,
        )

    def close(self) -> None:
        """Let the connection go; the stage ends the processes."""
        self._link.close()

    def settle(self) -> None:
        """Wait until the settler has posted all that the gateway has written."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while self._lag_bytes() > 0:
            if time.monotonic() > deadline:
                raise BenchError(f"the settler lags {self._lag_bytes()} bytes behind")
            time.sleep(SETTLE_POLL_SECONDS)

    def _lag_bytes(self) -> int:
        rows = self._link.execute("SELECT journal, offset_bytes FROM journal_cursor").fetchall()
        posted = {str(name): int(offset) for name, offset in rows}
        lag_bytes = 0
        for path in (self.data_dir / "journal").glob("*.journal"):
            try:
                lag_bytes += max(path.stat().st_size - posted.get(path.name, 0), 0)
            except FileNotFoundError:
                continue
        return lag_bytes

    def _ask(self, arguments: list[str]) -> Any:
        command = [sys.executable, "-m", "jusinfer", *arguments, "--json", *self._common]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=COMMAND_SECONDS
        )
        if done.returncode != 0:
            raise BenchError(f"{' '.join(arguments)}: {done.stdout}{done.stderr}")
        return json.loads(done.stdout)


def insert_keys(database_url: str, tenant_id: str, count: int) -> list[str]:
    """Write so many live keys of a tenant's owner at once; gives their secrets."""
    made = [format_key(Mode.LIVE, secrets.token_bytes(KEY_SECRET_BYTES)) for _ in range(count)]
    with psycopg.connect(database_url, connect_timeout=5) as connection:
        owner = connection.execute(OWNER, (tenant_id,)).fetchone()
        if owner is None:
            raise BenchError(f"tenant {tenant_id} has no owner")
        with connection.cursor() as cursor, cursor.copy(COPY_KEYS) as copy:
            for key in made:
                row = (uuid.uuid4(), tenant_id, owner[0], Mode.LIVE.value)
                copy.write_row((*row, fingerprint(key.encode()), key_prefix(key), "bench"))
    return made
