"""The two ends of a text in which hints are looked for, however long it is."""

from typing import Final

import msgspec

WINDOW_BYTES: Final = 512
# A text up to this size is decoded whole to look at its ends; of a longer one only the ends are.
WHOLE_BYTES_MAX: Final = 4_096
# A character of up to four bytes may take up to twelve of JSON, as an escaped pair of surrogates.
ESCAPE_BYTES_MAX: Final = 12
PIECE_BYTES: Final = 6 * WINDOW_BYTES

_text: Final = msgspec.json.Decoder(str).decode


class _Part(msgspec.Struct):
    type: str
    text: msgspec.Raw = msgspec.Raw()


_parts: Final = msgspec.json.Decoder(list[_Part]).decode


def windows_of(text: str) -> tuple[str, str]:
    """Give the beginning and the end of a text; the end is empty when the beginning is all."""
    if len(text) <= 2 * WINDOW_BYTES and (text.isascii() or _size(text) <= 2 * WINDOW_BYTES):
        return text, ""
    return _first(text), _last(text)


def _size(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


def _first(text: str) -> str:
    head = text[:WINDOW_BYTES]
    if head.isascii():
        return head
    return head.encode("utf-8", "replace")[:WINDOW_BYTES].decode("utf-8", "ignore")


def _last(text: str) -> str:
    tail = text[-WINDOW_BYTES:]
    if tail.isascii():
        return tail
    return tail.encode("utf-8", "replace")[-WINDOW_BYTES:].decode("utf-8", "ignore")


def windows_of_content(content: msgspec.Raw | None) -> tuple[str, str]:
    """Give both ends of a message's content: JSON text, or a list of parts whose last text counts.

    It must have been judged before.
    """
    if content is None:
        return "", ""
    view = memoryview(content)
    if view and view[0] == ord("["):
        texts = [part.text for part in _parts(content) if part.type == "text"]
        view = memoryview(texts[-1] if texts else b"")
    if not view or view[0] != ord('"'):
        return "", ""
    if len(view) <= WHOLE_BYTES_MAX:
        return windows_of(_text(view))
    begin, end = bytes(view[1 : 1 + WINDOW_BYTES]), bytes(view[-1 - WINDOW_BYTES : -1])
    head = begin.decode("utf-8", "ignore") if b"\\" not in begin else _first(_head(view[1:]))
    tail = end.decode("utf-8", "ignore") if b"\\" not in end else _last(_tail(view[:-1]))
    return head, tail


def _head(view: memoryview) -> str:
    """Decode the beginning of a JSON string; an escape that the cut splits is lost."""
    piece = bytes(view[:PIECE_BYTES]).decode("utf-8", "ignore").encode()
    for end in range(len(piece), len(piece) - ESCAPE_BYTES_MAX, -1):
        found = _decoded(piece[:end])
        if found is not None:
            return found
    return ""


def _tail(view: memoryview) -> str:
    """Decode the end of a JSON string; of an escape that the cut splits letters may be left."""
    piece = bytes(view[-PIECE_BYTES:]).decode("utf-8", "ignore").encode()
    for start in range(ESCAPE_BYTES_MAX):
        found = _decoded(piece[start:])
        if found is not None:
            return found
    return ""


def _decoded(piece: bytes) -> str | None:
    try:
        return _text(b'"%b"' % piece)
    except msgspec.DecodeError:
        return None
