"""Reads the environment and `jusinfer.toml` once, into frozen settings; nothing else does.

Precedence: command line, environment, file, default. Every fault names the file, the key and how
to mend it. Secrets are only ever in the values handed to the process that needs them.
"""

import ipaddress
import os
import re
import stat
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlsplit

import msgspec

from jusinfer.domain.catalog import Upstream
from jusinfer.domain.catalog_loader import (
    SANDBOX,
    Catalogs,
    PriceListEntry,
    UpstreamEntry,
    offers_of,
)
from jusinfer.domain.file_modes import is_exposed
from jusinfer.domain.price_parser import OfferError
from jusinfer.domain.provider_report import REPORTS_FLAG

FILE_NAME: Final = "jusinfer.toml"
_VARIABLE: Final = re.compile(r"\{([A-Z][A-Z0-9_]{0,63})\}")
_HOST: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\]")
_PUBLIC_URL: Final = re.compile(rf"https?://(?:{_HOST.pattern})(?::[0-9]{{1,5}})?")
FILE_BYTES_MAX: Final = 4 * 1024 * 1024
PORT_MAX: Final = 65_535


class ConfigError(Exception):
    """A setting that cannot be used; the text names it and says how to mend it."""


class ListenSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where clients and operators reach the product."""

    host: str = "127.0.0.1"
    port: int = 8787
    operator_host: str = "127.0.0.1"
    operator_port: int = 8788
    tls_certificate: str | None = None
    tls_key: str | None = None
    trusted_proxies: tuple[str, ...] = ()
    country_header: str = "cf-ipcountry"
    cors_origins: tuple[str, ...] = ()
    public_url: str = ""
    allowed_hosts: tuple[str, ...] = ()
    allow_plain_http: bool = False


class GatewaySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds of the gateway's workers; `workers = 0` means one for each core."""

    workers: int = 0
    body_bytes_max: int = 20 * 1024 * 1024
    request_bytes_total_max: int = 256 * 1024 * 1024
    unread_bytes_total_max: int = 256 * 1024 * 1024
    connections_max: int = 10_000
    upstream_connections_max: int = 512
    idle_seconds: float = 75.0
    drain_seconds: float = 30.0
    keep_alive_seconds: float = 15.0
    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    journal_bytes_max: int = 1024 * 1024 * 1024


class DatabaseSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An operator's own PostgreSQL; empty means the embedded one."""

    url: str = ""


class FileSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that `jusinfer.toml` may say."""

    data_dir: str = ".jusinfer"
    operator_name: str = ""
    listen: ListenSettings = ListenSettings()
    gateway: GatewaySettings = GatewaySettings()
    database: DatabaseSettings = DatabaseSettings()
    upstream: tuple[UpstreamEntry, ...] = ()
    price_list: tuple[PriceListEntry, ...] = ()


class CatalogFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The built-in catalog's file."""

    version: str
    upstream: tuple[UpstreamEntry, ...]


class Settings(msgspec.Struct, frozen=True):
    """What a process runs on. `database_url` is empty for the embedded PostgreSQL."""

    config_file: str | None
    data_dir: str
    database_url: str
    listen: ListenSettings
    gateway: GatewaySettings
    entries: tuple[UpstreamEntry, ...]
    price_lists: tuple[PriceListEntry, ...]
    api_keys: dict[str, str]
    has_secret_file: bool = False
    has_key_in_file: bool = False
    operator_name: str = ""

    def __repr__(self) -> str:
        """Show no secret: neither the database's password nor an upstream's key."""
        return f"Settings(data_dir={self.data_dir!r}, upstreams={sorted(self.api_keys)})"

    @property
    def journal_dir(self) -> Path:
        """Where the gateway workers write their journals."""
        return Path(self.data_dir) / "journal"

    @property
    def rules_dir(self) -> Path:
        """Where the router's rule tables are kept."""
        return Path(self.data_dir) / "rules"

    @property
    def run_dir(self) -> Path:
        """Where sockets and pid files live."""
        return Path(self.data_dir) / "run"


class Overrides(msgspec.Struct, frozen=True):
    """What the command line says; None means that it says nothing."""

    config_file: str | None = None
    data_dir: str | None = None
    host: str | None = None
    port: int | None = None
    operator_port: int | None = None
    workers: int | None = None


def load(overrides: Overrides, environment: Mapping[str, str] | None = None) -> Settings:
    """Read everything once and check it; raises ConfigError."""
    env = os.environ if environment is None else environment
    path = _config_path(overrides, env)
    settings = FileSettings() if path is None else _read_file(path)
    base = Path.cwd() if path is None else path.parent
    data_dir = overrides.data_dir or env.get("JUSINFER_DATA_DIR") or settings.data_dir
    changes: dict[str, str | int] = {}
    for name, value, variable in (
        ("host", overrides.host, "JUSINFER_HOST"),
        ("port", overrides.port, "JUSINFER_PORT"),
        ("operator_port", overrides.operator_port, "JUSINFER_OPERATOR_PORT"),
    ):
        chosen = value if value is not None else env.get(variable)
        if chosen is not None:
            changes[name] = chosen if name == "host" else _number(str(chosen), variable)
    listen = msgspec.structs.replace(settings.listen, **changes)
    gateway = settings.gateway
    workers = overrides.workers if overrides.workers is not None else env.get("JUSINFER_WORKERS")
    if workers is not None:
        count = _number(str(workers), "JUSINFER_WORKERS")
        gateway = msgspec.structs.replace(gateway, workers=count)
    _check(listen, gateway)
    merged = _merged(builtin_entries(), settings.upstream)
    entries = [_with_token(_with_account(entry, env), env) for entry in merged]
    return Settings(
        config_file=None if path is None else str(path),
        data_dir=str(_absolute(base / data_dir)),
        database_url=env.get("DATABASE_URL") or settings.database.url,
        listen=listen,
        gateway=gateway,
        entries=tuple(entries),
        price_lists=settings.price_list,
        api_keys=_api_keys(entries, env),
        has_secret_file=path is not None and _may_hold_secret(settings),
        has_key_in_file=path is not None and _holds_key(settings),
        operator_name=env.get("JUSINFER_OPERATOR_NAME") or settings.operator_name,
    )


def offers(settings: Settings, sandbox_port: int | None) -> Catalogs:
    """Build the catalogs from settings; the sandbox is offered when its port is known."""
    try:
        live = [
            (entry, settings.api_keys[entry.name])
            for entry in settings.entries
            if entry.name in settings.api_keys
        ]
        return offers_of(
            live,
            list(settings.entries),
            _sandbox(settings, sandbox_port),
            settings.price_lists,
        )
    except OfferError as error:
        raise ConfigError(f"{settings.config_file or FILE_NAME}: {error}") from error


def reporting_upstreams(settings: Settings) -> list[Upstream]:
    """Give the upstreams that can be asked later what a completion cost."""
    live = offers(settings, sandbox_port=None).live.upstreams
    return [upstream for upstream in live.values() if REPORTS_FLAG in upstream.flags]


def require_variables(settings: Settings) -> None:
    """Refuse an upstream that has a key but lacks another variable; raises ConfigError.

    Only for serving: a command that calls no upstream works without them.
    """
    for entry in settings.entries:
        if entry.name not in settings.api_keys:
            continue
        missing = _VARIABLE.findall(entry.base_url)
        if missing:
            raise ConfigError(
                f"upstream {entry.name!r}: set {missing[0]}, which its base_url needs"
            )
        if entry.gateway_token_env and not entry.gateway_token:
            name = entry.gateway_token_env
            raise ConfigError(f"upstream {entry.name!r}: set {name} to the token of its gateway")


def _absolute(path: Path) -> Path:
    """Give a path from the root; a link at its end stays one, so that it can be refused."""
    if path.name in {"", ".."}:
        return path.resolve()
    return path.parent.resolve() / path.name


def worker_count(settings: Settings) -> int:
    """Give the number of gateway workers: the setting, or one for each core."""
    return settings.gateway.workers or os.cpu_count() or 1


def builtin_entries() -> list[UpstreamEntry]:
    """Read the catalog that comes with the product."""
    text = resources.files("jusinfer").joinpath("data/catalog.toml").read_text("utf-8")
    return list(msgspec.convert(tomllib.loads(text), CatalogFile).upstream)


def _config_path(overrides: Overrides, env: Mapping[str, str]) -> Path | None:
    named = overrides.config_file or env.get("JUSINFER_CONFIG")
    if named:
        path = Path(named).resolve()
        if not path.is_file():
            raise ConfigError(f"{named}: there is no such file; create it or leave out --config")
        return path
    found = Path.cwd() / FILE_NAME
    return found.resolve() if found.is_file() else None


def _read_file(path: Path) -> FileSettings:
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise ConfigError(f"{path}: larger than {FILE_BYTES_MAX} bytes")
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({type(error).__name__}: {error})") from error
    try:
        return msgspec.convert(tomllib.loads(text), FileSettings)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}; mend that line") from error
    except msgspec.ValidationError as error:
        key, line = _place(str(error), text)
        where = f"{path}:{line}" if line else str(path)
        raise ConfigError(f"{where}: {_sentence(str(error))} ({key}); mend that line") from error


def _place(message: str, text: str) -> tuple[str, int | None]:
    """Find the key that msgspec complains about and, if it stands only once, its line."""
    unknown = re.search(r"unknown field `([^`]+)`", message)
    path = re.search(r"at `\$\.?([^`]*)`", message)
    key = unknown[1] if unknown else path[1] if path else ""
    last = re.sub(r"\[[^\]]*\]", "", key).rsplit(".", 1)[-1]
    lines = [
        number
        for number, line in enumerate(text.splitlines(), 1)
        if last and re.match(rf"\s*(\[+\s*)?[\w.]*\b{re.escape(last)}\b", line)
    ]
    return key or "top level", lines[0] if len(lines) == 1 else None


def _sentence(message: str) -> str:
    return re.sub(r"\s*-\s*at `[^`]*`", "", message).replace("Object", "table")


def _number(text: str, name: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text):
        raise ConfigError(f"{name}: must be a whole number, not {text!r}")
    return int(text)


def _check(listen: ListenSettings, gateway: GatewaySettings) -> None:
    for name, port in (("port", listen.port), ("operator_port", listen.operator_port)):
        if not 0 <= port <= PORT_MAX:
            raise ConfigError(f"listen.{name}: must be between 0 and {PORT_MAX}, not {port}")
    if (listen.tls_certificate is None) != (listen.tls_key is None):
        raise ConfigError("listen: give both tls_certificate and tls_key, or neither")
    for name, file in (("tls_certificate", listen.tls_certificate), ("tls_key", listen.tls_key)):
        if file is not None and not Path(file).is_file():
            raise ConfigError(f"listen.{name}: there is no file {file!r}; check the path")
    if listen.operator_host not in {"127.0.0.1", "::1", "localhost"}:
        raise ConfigError("listen.operator_host: must be a loopback address such as 127.0.0.1")
    _check_names(listen)
    if not 0 <= gateway.workers <= 256:  # noqa: PLR2004 (a bound, stated in the message)
        raise ConfigError("gateway.workers: must be between 0 (one for each core) and 256")
    if gateway.body_bytes_max < 1:
        raise ConfigError("gateway.body_bytes_max: must be above 0")
    _check_totals(gateway)


def _check_totals(gateway: GatewaySettings) -> None:
    for name in ("request_bytes_total_max", "unread_bytes_total_max"):
        if getattr(gateway, name) < gateway.body_bytes_max:
            raise ConfigError(f"gateway.{name}: must not be below gateway.body_bytes_max")
    for name in ("requests_per_minute", "tokens_per_minute"):
        if getattr(gateway, name) < 0:
            raise ConfigError(f"gateway.{name}: must be 0 (no limit) or above")


def _check_names(listen: ListenSettings) -> None:
    for proxy in listen.trusted_proxies:
        if not _is_address(proxy):
            raise ConfigError(
                f"listen.trusted_proxies: {proxy!r} is no address; use one such as 10.0.0.1"
            )
    for name in listen.allowed_hosts:
        if not _HOST.fullmatch(name):
            raise ConfigError(
                f"listen.allowed_hosts: {name!r} is no host; use a name such as llm.example.com"
            )
    if listen.public_url and not _PUBLIC_URL.fullmatch(listen.public_url):
        raise ConfigError("listen.public_url: must look like https://llm.example.com, with no path")


def _holds_key(settings: FileSettings) -> bool:
    """Tell whether a key, a token or a password stands in the file itself."""
    parts = urlsplit(settings.database.url)
    has_password = bool(parts.password) or "password" in dict(parse_qsl(parts.query))
    return has_password or any(entry.api_key or entry.gateway_token for entry in settings.upstream)


def _may_hold_secret(settings: FileSettings) -> bool:
    return (
        _holds_key(settings)
        or "@" in settings.database.url
        or any(entry.headers for entry in settings.upstream)
    )


def file_is_open(settings: Settings) -> bool:
    """Tell whether the settings' file may hold a secret and others may read or change it."""
    if settings.config_file is None or not settings.has_secret_file:
        return False
    return is_open(settings.config_file)


def is_open(path: str) -> bool:
    """Tell whether others may read or change a file that should be private; raises OSError."""
    found = Path(path).stat()
    return is_exposed(stat.S_IMODE(found.st_mode), found.st_uid, os.geteuid())


def require_private_file(settings: Settings) -> None:
    """Refuse a file with a key in it that others may read; raises ConfigError."""
    if settings.has_key_in_file and file_is_open(settings):
        file = settings.config_file
        raise ConfigError(
            f"{file}: holds a key or a password, and others may read or change it; `chmod 600"
            f" {file}`, and new keys in it if others have read them; or keep them in variables"
            " (api_key_env, DATABASE_URL)"
        )


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def require_safe_listener(settings: Settings) -> None:
    """Refuse to take keys and prompts over a network in plain text; raises ConfigError."""
    listen = settings.listen
    is_loopback = listen.host == "localhost" or (
        _is_address(listen.host) and ipaddress.ip_address(listen.host).is_loopback
    )
    is_covered = listen.tls_certificate or listen.trusted_proxies or listen.allow_plain_http
    if not is_loopback and not is_covered:
        raise ConfigError(
            f"listen.host: {listen.host} can be reached from elsewhere, and keys and prompts would"
            " go there in plain text; set listen.tls_certificate and listen.tls_key, or name the"
            " proxy that speaks TLS in listen.trusted_proxies, or, in a network of your own only,"
            " set listen.allow_plain_http = true"
        )


def _merged(
    builtin: list[UpstreamEntry], configured: tuple[UpstreamEntry, ...]
) -> list[UpstreamEntry]:
    """Let an entry of the file add to, or override parts of, the built-in one of that name."""
    merged = {entry.name: entry for entry in builtin}
    seen: set[str] = set()
    for entry in configured:
        if entry.name == SANDBOX:
            raise ConfigError(f"upstream {SANDBOX!r}: this name is kept for the built-in sandbox")
        if entry.name in seen:
            raise ConfigError(f"upstream {entry.name!r}: stands twice; give each its own name")
        seen.add(entry.name)
        known = merged.get(entry.name)
        merged[entry.name] = entry if known is None else _overlaid(known, entry)
    return list(merged.values())


def _with_account(entry: UpstreamEntry, env: Mapping[str, str]) -> UpstreamEntry:
    """Put variables such as `{CLOUDFLARE_ACCOUNT_ID}` into a base URL, as far as they are there."""
    base_url = entry.base_url
    for name in _VARIABLE.findall(base_url):
        value = env.get(name, "")
        if re.fullmatch(r"[A-Za-z0-9_-]{1,128}", value):
            base_url = base_url.replace(f"{{{name}}}", value)
    return msgspec.structs.replace(entry, base_url=base_url)


def _with_token(entry: UpstreamEntry, env: Mapping[str, str]) -> UpstreamEntry:
    """Give an entry with its token for a gateway on the way, if it is there."""
    token = env.get(entry.gateway_token_env, "") if entry.gateway_token_env else ""
    if not token or entry.gateway_token:
        return entry
    if any(ord(char) < 33 or ord(char) > 126 for char in token):  # noqa: PLR2004 (printable)
        raise ConfigError(f"upstream {entry.name!r}: its token holds a blank or a control byte")
    return msgspec.structs.replace(entry, gateway_token=token)


def _overlaid(known: UpstreamEntry, entry: UpstreamEntry) -> UpstreamEntry:
    default = UpstreamEntry(name=entry.name)
    changes = {
        name: getattr(entry, name)
        for name in entry.__struct_fields__
        if name != "model" and getattr(entry, name) != getattr(default, name)
    }
    own = {row.id for row in entry.model}
    rows = (*(row for row in known.model if row.id not in own), *entry.model)
    return msgspec.structs.replace(known, **changes, model=rows)


def _api_keys(entries: list[UpstreamEntry], env: Mapping[str, str]) -> dict[str, str]:
    """Find each upstream's key; a local upstream needs none."""
    keys: dict[str, str] = {}
    for entry in entries:
        if entry.name == SANDBOX:
            continue
        key = entry.api_key or (env.get(entry.api_key_env, "") if entry.api_key_env else "")
        if any(ord(char) < 33 or ord(char) > 126 for char in key):  # noqa: PLR2004 (printable)
            raise ConfigError(f"upstream {entry.name!r}: its key holds a blank or a control byte")
        if key or entry.is_local:
            keys[entry.name] = key
        elif not entry.api_key_env:
            raise ConfigError(
                f"upstream {entry.name!r}: has no key; set api_key_env, or is_local = true"
            )
    return keys


def _sandbox(settings: Settings, port: int | None) -> Upstream | None:
    if port is None:
        return None
    entry = next(entry for entry in settings.entries if entry.name == SANDBOX)
    return Upstream(
        name=SANDBOX,
        host="127.0.0.1",
        port=port,
        is_tls=False,
        base_path="/v1",
        api_key="sandbox",
        is_local=True,
        is_sandbox=True,
        flags=entry.flags,
    )
