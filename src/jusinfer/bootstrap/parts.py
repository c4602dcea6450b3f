"""What the supervisor tells each child: one message on a pipe, with its part and nothing else.

A child opens no configuration file and takes nothing but descriptors from its environment, so a
secret is known to the supervisor and to the processes that use it. There is one type of message
for each kind of process.
"""

import os
import select
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from jusinfer import config, confine
from jusinfer.domain.catalog import Upstream

PART_BYTES_MAX: Final = 16 * 1024 * 1024
PART_SECONDS: Final = 30.0
READ_BYTES: Final = 64 * 1024
PART_FD: Final = "JUSINFER_PART_FD"
READY_FD: Final = "JUSINFER_READY_FD"
PARENT_FD: Final = "JUSINFER_PARENT_FD"
DESCRIPTORS: Final = frozenset({PART_FD, READY_FD, PARENT_FD})
EXAMPLES: Final = 12


class PartError(Exception):
    """A child was not started as the supervisor does it; the text says what is wrong."""


class GatewayPart(msgspec.Struct, frozen=True, tag="gateway", forbid_unknown_fields=True):
    """One gateway worker: settings with upstream keys; its database is `dsn`.

    `peer_secret` makes the same rate key of an address in every worker of one start.
    """

    worker_id: str
    index: int
    dsn: str
    run_dir: str
    sandbox_port: int | None
    peer_secret: bytes
    settings: config.Settings

    def __repr__(self) -> str:
        """Show who it is, not the database's password."""
        return f"GatewayPart({self.worker_id!r}, {self.index})"


class SettlerPart(msgspec.Struct, frozen=True, tag="settler", forbid_unknown_fields=True):
    """The settler: a database and the directory of journals."""

    dsn: str
    journal_dir: str

    def __repr__(self) -> str:
        """Show no password."""
        return f"SettlerPart({self.journal_dir!r})"


class ConsolePart(msgspec.Struct, frozen=True, tag="console", forbid_unknown_fields=True):
    """The console: a database, its socket, and the public ids of models that pages show."""

    dsn: str
    socket_path: str
    models: tuple[str, ...]

    def __repr__(self) -> str:
        """Show no password."""
        return f"ConsolePart({self.socket_path!r})"


class ReconcilerPart(msgspec.Struct, frozen=True, tag="reconciler", forbid_unknown_fields=True):
    """The reconciler: a database, and the upstreams it asks with their keys."""

    dsn: str
    upstreams: tuple[Upstream, ...]

    def __repr__(self) -> str:
        """Show no password and no key."""
        return f"ReconcilerPart({[upstream.name for upstream in self.upstreams]})"


Part = GatewayPart | SettlerPart | ConsolePart | ReconcilerPart
PartT = TypeVar("PartT", GatewayPart, SettlerPart, ConsolePart, ReconcilerPart)


class Descriptors(msgspec.Struct, frozen=True):
    """Pipes between a child and its supervisor; None where there is none."""

    ready: int | None
    parent: int | None


def console_part(settings: config.Settings, dsn: str, run_dir: Path) -> ConsolePart:
    """Choose what the console is told: names of models, no key."""
    offers = config.offers(settings, sandbox_port=1)
    examples = [name for name in offers.test.models if not name.startswith("sandbox/")]
    shown = examples[-1:] + examples[: EXAMPLES - 1]
    return ConsolePart(dsn, str(run_dir / "console.sock"), tuple(shown))


def encode(part: Part) -> bytes:
    """Write a message as it goes through the pipe."""
    return msgspec.json.encode(part)


def receive(
    kind: type[PartT], environment: Mapping[str, str] | None = None
) -> tuple[PartT, Descriptors]:
    """Read this process's part; raises PartError when it was not started by the supervisor."""
    confine.forbid_dumps()
    env = os.environ if environment is None else environment
    foreign = sorted(
        name for name in env if not confine.is_allowed(name) and name not in DESCRIPTORS
    )
    if foreign:
        raise PartError(f"a child must not see {', '.join(foreign)}; start it by `jusinfer serve`")
    descriptor = _descriptor(env, PART_FD)
    if descriptor is None:
        raise PartError(f"{PART_FD} is not set; start this by `jusinfer serve`")
    try:
        text = _read(descriptor)
    finally:
        os.close(descriptor)
    try:
        part = msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        # The text of a message that cannot be read may hold secrets: it is not repeated.
        raise PartError(
            f"what came through {PART_FD} is not a {kind.__name__}; start this by `jusinfer serve`"
        ) from error
    return part, Descriptors(_descriptor(env, READY_FD), _descriptor(env, PARENT_FD))


def _read(descriptor: int) -> bytes:
    """Read to the end, within bounds of time and size."""
    deadline = time.monotonic() + PART_SECONDS
    text = bytearray()
    while True:
        seconds = deadline - time.monotonic()
        if seconds <= 0 or not select.select([descriptor], [], [], seconds)[0]:
            raise PartError(f"the supervisor said nothing for {PART_SECONDS:.0f} s")
        data = os.read(descriptor, READ_BYTES)
        if not data:
            return bytes(text)
        text += data
        if len(text) > PART_BYTES_MAX:
            raise PartError(f"the supervisor's message has more than {PART_BYTES_MAX} bytes")


def _descriptor(env: Mapping[str, str], name: str) -> int | None:
    text = env.get(name, "")
    return int(text) if text.isascii() and text.isdigit() else None
