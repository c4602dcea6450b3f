"""Reads what a request is for: the task that its client declares, or else hints in its words."""

from typing import Final

import msgspec

from jusinfer.domain.errors import InvalidRequest
from jusinfer.domain.inference.request import CompletionRequest
from jusinfer.domain.routing.features import RequestFeatures
from jusinfer.domain.routing.rules import TASKS
from jusinfer.wire.routing_hints.scanner import HintScanner
from jusinfer.wire.routing_hints.windows import windows_of_content

HEADER: Final = "x-jusinfer-task"


class _Metadata(msgspec.Struct):
    task: msgspec.Raw = msgspec.Raw()


_metadata: Final = msgspec.json.Decoder(_Metadata).decode
_text: Final = msgspec.json.Decoder(str).decode


def hinted(asked: CompletionRequest, header: bytes | None, scanner: HintScanner) -> RequestFeatures:
    """Give a request's traits with its declared task, or else with the hints in its words."""
    task = declared(header, asked.fields)
    if task:
        return msgspec.structs.replace(asked.traits, task=task)
    hints = scanner.scan(*windows_of_content(asked.last_user))
    return msgspec.structs.replace(asked.traits, hints=hints) if hints else asked.traits


def declared(header: bytes | None, fields: dict[str, msgspec.Raw]) -> str:
    """Give the declared task, or nothing; raises InvalidRequest for a header that names no task.

    Metadata is the client's own: a task there that is none of ours is theirs, and left alone.
    """
    if header is not None:
        task = header.decode("latin-1").strip().lower()
        if task not in TASKS:
            raise InvalidRequest(
                f"the header {HEADER} names no task",
                param=HEADER,
                hint=f"Use one of {', '.join(TASKS)}, or leave it out.",
            )
        return task
    raw = fields.get("metadata")
    if raw is None or b'"task"' not in bytes(raw):
        return ""
    said = _metadata(raw).task
    if bytes(said)[:1] != b'"':
        return ""
    task = _text(said).strip().lower()
    return task if task in TASKS else ""
