"""Messages of a chat: how long they are and what kinds of parts they hold, never what they say."""

from collections.abc import Mapping
from itertools import accumulate
from operator import itemgetter
from typing import Final, Literal

import msgspec

Role = Literal["developer", "system", "user", "assistant", "tool", "function"]

IMAGE_TOKENS_MAX: Final = 2_000
IMAGE_TOKENS: Final = 1_100
AUDIO_BYTES_PER_TOKEN: Final = 100
AUDIO_TOKENS: Final = 500
FILE_BYTES_PER_TOKEN: Final = 2
# Roles whose content may be null: what they say may stand in calls of tools alone.
SPEECHLESS: Final = frozenset({"assistant", "function"})


class Message(msgspec.Struct, gc=False):
    """What is judged of a message; the rest of it passes through."""

    role: Role
    content: msgspec.Raw = msgspec.Raw()
    tool_calls: msgspec.Raw = msgspec.Raw()
    reasoning_content: msgspec.Raw = msgspec.Raw()
    name: str | None = None
    tool_call_id: str | None = None


class _Part(msgspec.Struct):
    type: str
    text: msgspec.Raw = msgspec.Raw()
    image_url: msgspec.Raw = msgspec.Raw()
    input_audio: msgspec.Raw = msgspec.Raw()
    file: msgspec.Raw = msgspec.Raw()


class ContentStats(msgspec.Struct):
    """Sizes and kinds of a whole conversation.

    `text_bytes` is JSON that becomes tokens as text; `media_bytes` is encoded media, which does
    not: `media_tokens` is their likely share of the input and `media_tokens_max` their bound.
    """

    text_bytes: int = 0
    media_bytes: int = 0
    media_tokens: int = 0
    media_tokens_max: int = 0
    image_count: int = 0
    has_audio: bool = False
    has_developer: bool = False


BEGINNING_BYTES_MAX: Final = 4_096
# From so many on, loops in C are worth their beginning.
MANY_MESSAGES: Final = 16
NULL_BEGIN: Final = ord("n")
_parts: Final = msgspec.json.Decoder(list[_Part]).decode
_heads: Final = msgspec.json.Decoder(list[Message]).decode


def read_messages(messages: list[Message]) -> ContentStats:
    """Read sizes and kinds; raises ValidationError with the place."""
    reading = ContentStats()
    if len(messages) >= MANY_MESSAGES and _read_texts(reading, messages):
        return reading
    text_bytes = 0
    for number, message in enumerate(messages):
        content = memoryview(message.content)
        first = content[0] if content else 0
        if first == ord('"'):
            text_bytes += len(content)
        elif first == ord("["):
            _read_parts(reading, bytes(content), number)
        elif first not in {0, ord("n")} or message.role not in SPEECHLESS:
            raise _misfit("str | array", f"messages[{number}].content")
        text_bytes += len(message.tool_calls) + len(message.reasoning_content)
        if message.role == "developer":
            reading.has_developer = True
    reading.text_bytes += text_bytes
    return reading


def _read_texts(reading: ContentStats, messages: list[Message]) -> bool:
    """Read messages that hold texts or null alone, by loops in C; tells whether they are such."""
    contents = [message.content for message in messages]
    sizes = list(map(len, contents))
    if not all(sizes):
        return False
    places = [0, *accumulate(sizes[:-1])]
    begins = bytes(itemgetter(*places)(b"".join(contents)))
    speechless = begins.count(b"n")
    if begins.count(b'"') + speechless != len(begins):
        return False
    roles = [message.role for message in messages]
    if speechless and not SPEECHLESS.issuperset(
        [role for role, begin in zip(roles, begins, strict=True) if begin == NULL_BEGIN]
    ):
        return False
    reading.has_developer = "developer" in roles
    reading.text_bytes = (
        sum(sizes)
        - speechless * len(b"null")
        + sum([len(message.tool_calls) + len(message.reasoning_content) for message in messages])
    )
    return True


def _misfit(wanted: str, place: str) -> msgspec.ValidationError:
    return msgspec.ValidationError(f"Expected `{wanted}` - at `$.{place}`")


def _read_parts(reading: ContentStats, content: bytes, number: int) -> None:
    try:
        parts = _parts(content)
    except msgspec.ValidationError as error:
        place = f"`$.messages[{number}].content"
        raise msgspec.ValidationError(str(error).replace("`$", place)) from None
    for index, part in enumerate(parts):
        if part.type == "image_url":
            reading.image_count += 1
            _count_media(reading, len(part.image_url), IMAGE_TOKENS, IMAGE_TOKENS_MAX)
        elif part.type == "input_audio":
            reading.has_audio = True
            size = len(part.input_audio)
            tokens = size // AUDIO_BYTES_PER_TOKEN
            _count_media(reading, size, tokens, tokens + AUDIO_TOKENS)
        elif part.type == "file":
            size = len(part.file)
            tokens = size // FILE_BYTES_PER_TOKEN
            _count_media(reading, size, tokens // 2, tokens + AUDIO_TOKENS)
        else:
            if part.type == "text" and bytes(part.text)[:1] != b'"':
                raise _misfit("str", f"messages[{number}].content[{index}].text")
            reading.text_bytes += len(part.text)


def _count_media(reading: ContentStats, size: int, tokens: int, tokens_max: int) -> None:
    reading.media_bytes += size
    reading.media_tokens += tokens
    reading.media_tokens_max += tokens_max


def last_user_content(messages: list[Message]) -> msgspec.Raw | None:
    """Give what the last message of the user holds, as it came."""
    for message in reversed(messages):
        if message.role == "user":
            return message.content
    return None


def conversation_prefix(fields: Mapping[str, msgspec.Raw]) -> bytes:
    """Give the messages up to the first of a user's: what a conversation keeps as it grows."""
    raw = fields.get("messages")
    if raw is None:
        return b""
    beginning: list[bytes] = []
    for message in _heads(raw):
        beginning.append(bytes(message.content)[:BEGINNING_BYTES_MAX])
        if message.role == "user":
            break
    return b"\0".join(beginning)
