"""`jusinfer doctor`: looks at everything the product needs and says how to mend it."""

import os
import platform
import resource
import shutil
import socket
import ssl
import stat
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import psycopg
import typer

from jusinfer import config
from jusinfer.bootstrap import data_directory, managed_database
from jusinfer.cli import output
from jusinfer.cli.operate import ConfigFile, DataDir, Json
from jusinfer.config import Overrides, Settings
from jusinfer.domain.catalog import Upstream
from jusinfer.domain.routing.rules_parser import RuleFileError
from jusinfer.rules import RulesStore
from jusinfer.store.database import StoreError, is_current

CONNECT_SECONDS: Final = 5.0
DISK_BYTES_MIN: Final = 1024**3
FILES_MIN: Final = 4_096
CLOCK_SECONDS_MAX: Final = 2


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at: ok, warn or fail, and how to mend it."""

    check: str
    state: str
    detail: str


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)


def doctor(
    config_file: ConfigFile = None, data_dir: DataDir = None, *, as_json: Json = False
) -> None:
    """Check configuration, files, database, clock and upstreams; say how to mend each."""
    with output.faults(as_json=as_json):
        settings = config.load(Overrides(config_file=config_file, data_dir=data_dir))
        findings = list(examine(settings))
    rows = [msgspec.structs.asdict(finding) for finding in findings]
    output.show(rows, as_json=as_json, empty="")
    if any(finding.state == "fail" for finding in findings):
        raise typer.Exit(output.FAILURE)


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at one thing after another."""
    yield _interpreter()
    yield _configuration(settings)
    yield _rules(settings)
    yield from _files(settings)
    yield from _exposure(settings)
    yield from _limits(settings)
    yield from _user(settings)
    yield from _database(settings)
    yield from _upstreams(settings)


def _interpreter() -> Finding:
    """Look at how Python was built: without profiles a request costs a sixth more."""
    version = platform.python_version()
    # Distributions profile theirs by rules of their own, which leave no trace here.
    arguments = str(sysconfig.get_config_var("CONFIG_ARGS") or "")
    is_packaged = sys.base_prefix == "/usr"
    if arguments and "--enable-optimizations" not in arguments and not is_packaged:
        said = "is not built with --enable-optimizations; with one that is, Debian's or uv's,"
        return Finding("python", "warn", f"{version} {said} requests cost a sixth less CPU")
    return Finding("python", "ok", version)


def _configuration(settings: Settings) -> Finding:
    try:
        config.require_variables(settings)
        offers = config.offers(settings, sandbox_port=1)
    except config.ConfigError as error:
        return Finding("configuration", "fail", str(error))
    where = settings.config_file or "built-in defaults"
    count = len(offers.live.models)
    return Finding("configuration", "ok", f"{where}; {count} live models on offer")


def _rules(settings: Settings) -> Finding:
    try:
        version = RulesStore(settings.rules_dir).active().table.version
    except RuleFileError as error:
        return Finding("rule table", "fail", f"{error}; or `jusinfer rules rollback builtin`")
    return Finding("rule table", "ok", f"version {version} is in force")


def _files(settings: Settings) -> Iterator[Finding]:
    data_dir = Path(settings.data_dir)
    if not data_dir.exists():
        yield Finding("data directory", "ok", f"{data_dir} will be made by `jusinfer serve`")
    else:
        mode = stat.S_IMODE(data_dir.stat().st_mode)
        if mode & 0o077:
            mend = f"chmod 700 {data_dir}"
            yield Finding("data directory", "fail", f"others may look in ({mode:o}); {mend}")
        elif not os.access(data_dir, os.W_OK):
            yield Finding("data directory", "fail", f"{data_dir} cannot be written")
        else:
            yield Finding("data directory", "ok", str(data_dir))
    key = settings.listen.tls_key
    try:
        if key is not None and config.is_open(key):
            yield Finding("TLS key", "warn", f"others may read it; chmod 600 {key}")
    except OSError as error:
        yield Finding("TLS key", "fail", f"{key} cannot be read ({error.strerror})")


def _exposure(settings: Settings) -> Iterator[Finding]:
    """Look at what could carry keys and prompts out of memory, or over a network in plain text."""
    if config.file_is_open(settings):
        state, verb = ("fail", "holds") if settings.has_key_in_file else ("warn", "may hold")
        mend = f"others may read it and it {verb} a secret; chmod 600 {settings.config_file}"
        yield Finding("settings file", state, mend)
    try:
        config.require_safe_listener(settings)
    except config.ConfigError as error:
        yield Finding("listener", "fail", str(error))
    pattern = _text("/proc/sys/kernel/core_pattern")
    if pattern.startswith("|"):
        detail = (
            f"go to a program ({pattern[1:].split()[0] if pattern[1:].split() else 'none'}); this"
            " product's processes leave none, PostgreSQL's may: set kernel.core_pattern=core"
        )
        yield Finding("core dumps", "warn", detail)
    else:
        yield Finding("core dumps", "ok", "are forbidden to every process")
    devices = _text("/proc/swaps").splitlines()[1:]
    if devices:
        names = ", ".join(line.split()[0] for line in devices)
        detail = f"memory may be written to {names}; encrypt it, or `swapoff -a`"
        yield Finding("swap", "warn", detail)


def _text(path: str) -> str:
    """Read a file of the system's; empty where there is none."""
    try:
        return Path(path).read_text("utf-8").strip()
    except OSError:
        return ""


def _limits(settings: Settings) -> Iterator[Finding]:
    place = Path(settings.data_dir)
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    state = "ok" if free >= DISK_BYTES_MIN else "warn"
    yield Finding("disk", state, f"{free >> 20} MiB free; at least 1024 MiB is wise")
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    state = "ok" if files >= FILES_MIN else "warn"
    yield Finding("open files", state, f"{files} allowed; `ulimit -n {FILES_MIN}` or more is wise")


def _user(settings: Settings) -> Iterator[Finding]:
    if os.geteuid() == 0 and not settings.database_url:
        yield Finding(
            "user",
            "warn",
            "as root the embedded PostgreSQL may read root's files, though no login of ours may ask"
            " it to; start as another user, or set DATABASE_URL",
        )


def _database(settings: Settings) -> Iterator[Finding]:
    if not settings.database_url and not (Path(settings.data_dir) / "postgres").exists():
        yield Finding("database", "ok", "the embedded one will be made by `jusinfer serve`")
        return
    try:
        if not settings.database_url:
            data_directory.prepare(settings)
        database = managed_database.TemporaryDatabase(settings, needs_migration=False)
    except (StoreError, config.ConfigError) as error:
        yield Finding("database", "fail", str(error))
        return
    try:
        yield from _schema(database.dsn)
    except (StoreError, psycopg.Error) as error:
        yield Finding("database", "fail", f"does not answer ({type(error).__name__})")
    finally:
        database.close()


def _schema(dsn: str) -> Iterator[Finding]:
    if not is_current(dsn):
        yield Finding("database", "fail", "its schema is old; run `jusinfer migrate`")
        return
    yield Finding("database", "ok", "answers, and its schema is current")
    with psycopg.connect(dsn, connect_timeout=int(CONNECT_SECONDS)) as connection:
        yield _months(connection.execute(managed_database.MONTHS_AHEAD).fetchone())
        yield from _rights_to_months(connection)
        row = connection.execute("SELECT extract(epoch FROM clock_timestamp())::bigint").fetchone()
    drift = 0 if row is None else abs(int(row[0]) - managed_database.now_seconds())
    state = "ok" if drift <= CLOCK_SECONDS_MAX else "warn"
    yield Finding("clock", state, f"{drift} s from the database's; set both by NTP")


def _months(row: tuple[object, ...] | None) -> Finding:
    ahead = -1 if row is None else int(str(row[0]))
    if ahead >= 1:
        return Finding("usage months", "ok", f"{ahead} made ahead")
    return Finding(
        "usage months",
        "warn",
        "the next month has no table yet; the settler makes it within seconds while"
        " `jusinfer serve` runs, so look at its log if it does",
    )


def _rights_to_months(connection: psycopg.Connection[Any]) -> Iterator[Finding]:
    """Look for rights that somebody gave to tables of months, past the row security of usage."""
    for role, right, months in connection.execute(managed_database.RIGHTS_TO_MONTHS).fetchall():
        yield Finding(
            "rights to usage",
            "warn",
            f"{role} has {right} on {months} tables usage_record_…, where it meets rows of every"
            f" tenant; REVOKE ALL ON those FROM {role}, and let it use usage_record",
        )


def _upstreams(settings: Settings) -> Iterator[Finding]:
    try:
        upstreams = config.offers(settings, sandbox_port=1).live.upstreams
    except config.ConfigError:
        return
    if not upstreams:
        yield Finding("upstreams", "warn", "none has a key; set one, such as DEEPSEEK_API_KEY")
    for upstream in upstreams.values():
        yield _reach(upstream)


def _reach(upstream: Upstream) -> Finding:
    """Connect, and shake hands if it speaks TLS; nothing is sent."""
    check = f"upstream {upstream.name}"
    where = f"{upstream.host}:{upstream.port}"
    try:
        with socket.create_connection((upstream.host, upstream.port), CONNECT_SECONDS) as plain:
            if upstream.is_tls:
                context = ssl.create_default_context(cafile=upstream.ca_file)
                with context.wrap_socket(plain, server_hostname=upstream.host):
                    pass
    except ssl.SSLError as error:
        return Finding(check, "fail", f"{where}: TLS failed ({error.reason}); check ca_file")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        return Finding(check, "fail", f"{where}: {reason}; check the network and base_url")
    return Finding(check, "ok", f"{where} answers")
