"""Texts made fit for a terminal: what could move its cursor or turn its direction is spelt out."""


def printable(text: str) -> str:
    """Write each character that is not plainly visible, line ends too, as an escape."""
    if text.isprintable():
        return text
    return "".join([char if char.isprintable() else _escaped(char) for char in text])


def printable_json(text: str) -> str:
    """Do the same for JSON, which then means what it meant."""
    if text.isprintable():
        return text
    return "".join([char if char.isprintable() else _json_escaped(char) for char in text])


def _escaped(char: str) -> str:
    code = ord(char)
    if code <= 0xFF:  # noqa: PLR2004 (two digits)
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004 (four digits)


def _json_escaped(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
