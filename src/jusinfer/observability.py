"""What a process tells its operator: events with a closed list of fields, and counters.

An event is a name and scalar fields from `FIELDS`; no field can carry free text of a client. An
unknown field raises in strict mode (tests) and is dropped and counted otherwise.
"""

import sys
import time
from collections.abc import Iterable, Mapping
from typing import Final, TextIO

import msgspec

from jusinfer.domain.printable import printable, printable_json

FIELDS: Final = frozenset(
    {
        "address",
        "amount_nano",
        "attempts",
        "bytes",
        "cause",
        "code",
        "completion_id",
        "connections",
        "count",
        "database",
        "delay_seconds",
        "error",
        "exit_code",
        "file",
        "hint",
        "journal",
        "kind",
        "latency_ms",
        "lease_id",
        "mode",
        "model",
        "name",
        "offset_bytes",
        "outcome",
        "overrun_nano",
        "path",
        "pid",
        "port",
        "posted",
        "process",
        "queue",
        "records",
        "request_id",
        "route_id",
        "rows",
        "seconds",
        "signal",
        "state",
        "status",
        "tenant_id",
        "upstream",
        "url",
        "version",
        "worker_id",
        "workers",
    }
)
TEXT_CHARS_MAX: Final = 300

Scalar = str | int | float | bool | None


class UnknownField(ValueError):
    """An event with a field that is not on the closed list (strict mode only)."""


class Events:
    """Writes events as JSON lines, or as readable lines when the stream is a terminal."""

    def __init__(
        self, process: str, stream: TextIO | None = None, *, is_strict: bool = False
    ) -> None:
        self._process = process
        self._stream = sys.stderr if stream is None else stream
        self._is_strict = is_strict
        self._is_terminal = self._stream.isatty()
        self.dropped_field_count = 0

    def emit(self, event: str, **fields: Scalar) -> None:
        """Write one event; values are cut to a fixed length, unknown fields never get out."""
        row: dict[str, Scalar] = {"at": _instant(), "process": self._process, "event": event}
        for name, value in fields.items():
            if name not in FIELDS:
                self._unknown(name)
                continue
            row[name] = value[:TEXT_CHARS_MAX] if isinstance(value, str) else value
        self._stream.write(self._line(row) + "\n")
        self._stream.flush()

    def loop_failed(self, _loop: object, context: Mapping[str, object]) -> None:
        """Say that a callback of an event loop failed, by its class only."""
        error = context.get("exception")
        self.emit("loop_failed", error="" if error is None else type(error).__name__)

    def _unknown(self, name: str) -> None:
        if self._is_strict:
            raise UnknownField(f"{name!r} is not on the closed list of event fields")
        self.dropped_field_count += 1

    def _line(self, row: dict[str, Scalar]) -> str:
        if not self._is_terminal:
            return printable_json(msgspec.json.encode(row).decode())
        at, process, event, *rest = row.items()
        words = printable(" ".join(f"{name}={value}" for name, value in rest))
        return f"{str(at[1])[11:19]} {process[1]:<10} {event[1]} {words}".rstrip()


def _instant() -> str:
    seconds = time.time()
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds % 1 * 1000):03d}Z"


class Metric(msgspec.Struct, frozen=True):
    """One family of a Prometheus exposition with its samples (labels, value)."""

    name: str
    kind: str
    help: str
    samples: tuple[tuple[tuple[tuple[str, str], ...], float], ...]


def exposition(metrics: Iterable[Metric]) -> str:
    """Write metrics in Prometheus's text format; families of one name are written together."""
    families: dict[str, list[Metric]] = {}
    for metric in metrics:
        families.setdefault(metric.name, []).append(metric)
    lines: list[str] = []
    for name, group in families.items():
        lines.append(f"# HELP {name} {group[0].help}")
        lines.append(f"# TYPE {name} {group[0].kind}")
        for metric in group:
            for labels, value in metric.samples:
                text = ",".join(f'{key}="{_label(item)}"' for key, item in labels)
                lines.append(f"{name}{{{text}}} {value:g}" if text else f"{name} {value:g}")
    return "\n".join(lines) + "\n"


def _label(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
