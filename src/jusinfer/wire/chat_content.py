"""Messages of a chat: how long they are and what kinds of parts they hold, never what they say."""

from typing import Final, Literal

import msgspec

Role = Literal["developer", "system", "user", "assistant", "tool", "function"]

IMAGE_TOKENS_MAX: Final = 2_000
IMAGE_TOKENS: Final = 1_100
MESSAGE_TOKENS: Final = 8
BYTES_PER_TOKEN: Final = 4
AUDIO_BYTES_PER_TOKEN: Final = 100
AUDIO_TOKENS: Final = 500
FILE_BYTES_PER_TOKEN: Final = 2
WINDOW_CHARS: Final = 512

# Words by which a person asks for careful work, in seven languages; plain substrings.
HINTS: Final = (
    "step by step",
    "think carefully",
    "think hard",
    "show your work",
    "reason through",
    "कदम दर कदम",
    "चरण दर चरण",
    "ध्यान से सोच",
    "paso a paso",
    "piensa con cuidado",
    "étape par étape",
    "réfléchis bien",
    "schritt für schritt",
    "denk gründlich nach",
    "一步一步",
    "逐步推理",
    "仔细思考",
    "一歩ずつ",
    "段階的に考え",
    "よく考えて",
)


class Message(msgspec.Struct):
    """What is judged of a message; the rest of it passes through."""

    role: Role
    content: msgspec.Raw = msgspec.Raw()
    tool_calls: msgspec.Raw = msgspec.Raw()
    reasoning_content: msgspec.Raw = msgspec.Raw()
    name: str | None = None
    tool_call_id: str | None = None


class _Part(msgspec.Struct):
    type: str = ""
    text: msgspec.Raw = msgspec.Raw()
    input_audio: msgspec.Raw = msgspec.Raw()
    file: msgspec.Raw = msgspec.Raw()


class Reading(msgspec.Struct):
    """Sizes and kinds of a whole conversation. `tokens_max` is never exceeded by a tokenizer."""

    tokens: int = 0
    tokens_max: int = 0
    has_images: bool = False
    has_audio: bool = False
    has_reasoning_hint: bool = False


_parts: Final = msgspec.json.Decoder(list[_Part]).decode
_text: Final = msgspec.json.Decoder(str).decode


def read_messages(messages: list[Message], *, wants_hints: bool) -> Reading:
    """Read sizes and kinds; hints only when somebody will use them."""
    reading = Reading()
    for number, message in enumerate(messages):
        content = bytes(message.content)
        first = content[:1]
        if first == b'"':
            _count(reading, len(content))
        elif first == b"[":
            _read_parts(reading, content, number)
        elif content not in {b"", b"null"}:
            raise msgspec.ValidationError(
                f"Expected `str | array | null` - at `$.messages[{number}].content`"
            )
        _count(reading, len(bytes(message.tool_calls)) + len(bytes(message.reasoning_content)))
        reading.tokens += MESSAGE_TOKENS // 2
        reading.tokens_max += MESSAGE_TOKENS
    if wants_hints:
        reading.has_reasoning_hint = _has_hint(messages)
    return reading


def _count(reading: Reading, size: int) -> None:
    reading.tokens += size // BYTES_PER_TOKEN
    reading.tokens_max += size


def _read_parts(reading: Reading, content: bytes, number: int) -> None:
    try:
        parts = _parts(content)
    except msgspec.ValidationError:
        raise msgspec.ValidationError(
            f"Expected `array of parts` - at `$.messages[{number}].content`"
        ) from None
    for part in parts:
        if part.type == "image_url":
            reading.has_images = True
            reading.tokens += IMAGE_TOKENS
            reading.tokens_max += IMAGE_TOKENS_MAX
        elif part.type == "input_audio":
            reading.has_audio = True
            size = len(bytes(part.input_audio))
            reading.tokens += size // AUDIO_BYTES_PER_TOKEN
            reading.tokens_max += size // AUDIO_BYTES_PER_TOKEN + AUDIO_TOKENS
        elif part.type == "file":
            size = len(bytes(part.file))
            reading.tokens += size // BYTES_PER_TOKEN
            reading.tokens_max += size // FILE_BYTES_PER_TOKEN + AUDIO_TOKENS
        else:
            _count(reading, len(bytes(part.text)))


def _has_hint(messages: list[Message]) -> bool:
    """Look at both ends of the last user message only: never a whole text, never a pattern."""
    for message in reversed(messages):
        if message.role == "user":
            text = _ends(bytes(message.content)).lower()
            return any(hint in text for hint in HINTS)
    return False


def _ends(content: bytes) -> str:
    if content.startswith(b"["):
        texts = [bytes(part.text) for part in _parts(content) if part.type == "text"]
        content = texts[-1] if texts else b'""'
    if not content.startswith(b'"'):
        return ""
    try:
        text = _text(content)
    except msgspec.MsgspecError:
        return ""
    return f"{text[:WINDOW_CHARS]}\n{text[-WINDOW_CHARS:]}"
