"""Rule tables on disk: the one in force, those that were, and the one that comes with us.

A version names one table for good, since records name it. Putting a table in force replaces one
file at once; gateways look at that file every second and take it whole, or keep what they have.
"""

import os
from importlib import resources
from pathlib import Path
from typing import Final

import msgspec

from jusinfer.domain.routing.rules import VERSION, RuleTable
from jusinfer.domain.routing.rules_parser import TEXT_BYTES_MAX, RuleFileError, read_table

BUILTIN: Final = "builtin"
BUILTIN_NAME: Final = "data/rules.toml"
ACTIVE_NAME: Final = "active.toml"
HISTORY_NAME: Final = "history"
HISTORY_BYTES_MAX: Final = 1024 * 1024

Stamp = tuple[int, int, int]


class LoadedRules(msgspec.Struct, frozen=True):
    """A table with the text it was read from."""

    table: RuleTable
    text: str


def builtin() -> LoadedRules:
    """Read the table that comes with the product."""
    text = resources.files("jusinfer").joinpath(BUILTIN_NAME).read_text("utf-8")
    return LoadedRules(read_table(text, BUILTIN_NAME), text)


def read_file(path: Path) -> LoadedRules:
    """Read and judge a file; raises RuleFileError saying what is wrong, and in which line."""
    try:
        if path.stat().st_size > TEXT_BYTES_MAX:
            raise RuleFileError(f"{path}: larger than {TEXT_BYTES_MAX} bytes")
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RuleFileError(f"{path}: cannot be read ({type(error).__name__})") from error
    return LoadedRules(read_table(text, str(path)), text)


class RulesStore:
    """The folder of tables of one installation."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._active = folder / ACTIVE_NAME
        self._seen: Stamp | None = None

    def active(self) -> LoadedRules:
        """Read the table in force; raises RuleFileError when it was edited into something else."""
        self._seen = self.stamp()
        return read_file(self._active) if self._active.is_file() else builtin()

    def has_changed(self) -> bool:
        """Tell whether another table was put in force since it was read here last."""
        return self.stamp() != self._seen

    def stamp(self) -> Stamp | None:
        """Give what changes when another table is put in force; None for the built-in one."""
        try:
            found = self._active.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def kept(self, version: str) -> LoadedRules:
        """Read a table that was in force at some time, by its version."""
        if not VERSION.fullmatch(version):
            raise RuleFileError(f"{version!r} is no version; see `jusinfer rules list`")
        own = builtin()
        if version in {BUILTIN, own.table.version} and not self._kept_path(version).is_file():
            return own
        path = self._kept_path(version)
        if not path.is_file():
            raise RuleFileError(
                f"no table of version {version} was ever in force here; see `jusinfer rules list`"
            )
        return read_file(path)

    def activate(self, found: LoadedRules) -> None:
        """Put a table in force; raises RuleFileError when its version names another one."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self.history():
            self._keep(self.active())
            self._note(self.active().table.version)
        self.refuse_other(found)
        self._keep(found)
        _write(self._active, found.text)
        self._note(found.table.version)

    def refuse_other(self, found: LoadedRules) -> None:
        """Raise RuleFileError when the version of a table names another table already."""
        version = found.table.version
        known = self._kept_path(version)
        own = builtin()
        named = known.read_text("utf-8") if known.is_file() else None
        if named is None and version == own.table.version:
            named = own.text
        if named is not None and named != found.text:
            raise RuleFileError(
                f"version {version} names another table already; give this one a version of its own"
            )

    def before(self) -> str:
        """Give the version that was in force before this one; raises RuleFileError."""
        history = self.history()
        now = self.active().table.version
        for version in reversed(history):
            if version != now:
                return version
        raise RuleFileError("no other table was in force before; there is nothing to go back to")

    def history(self) -> list[str]:
        """Give the versions in the order in which they were put in force."""
        try:
            text = (self._folder / HISTORY_NAME).read_text("utf-8")
        except OSError:
            return []
        return text[-HISTORY_BYTES_MAX:].split()

    def _keep(self, found: LoadedRules) -> None:
        path = self._kept_path(found.table.version)
        if not path.is_file():
            path.parent.mkdir(exist_ok=True, mode=0o700)
            _write(path, found.text)

    def _kept_path(self, version: str) -> Path:
        return self._folder / "kept" / f"{version}.toml"

    def _note(self, version: str) -> None:
        with (self._folder / HISTORY_NAME).open("a", encoding="utf-8") as history:
            history.write(version + "\n")
            history.flush()
            os.fsync(history.fileno())


def _write(path: Path, text: str) -> None:
    """Replace a file whole, so that nobody ever reads a part of it."""
    fresh = path.with_suffix(f".{os.getpid()}.new")
    with fresh.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
