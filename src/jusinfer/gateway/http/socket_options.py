"""What the kernel knows of a connected socket and the loop does not tell."""

import asyncio
import fcntl
import socket
import struct
import sys
import termios
from typing import Final

# What is encrypted at once: the loop tells nothing of what waits below the encryption, and what is
# given to it in one piece goes there whole.
TLS_PIECE_BYTES: Final = 128 * 1024
RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


def is_broken(transport: asyncio.Transport) -> bool:
    """Tell whether the connection was reset, also while the loop does not read from it."""
    line = transport.get_extra_info("socket")
    return line is not None and line.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0


def reset_on_close(transport: asyncio.Transport) -> None:
    """Let closing look like a failure to the other side, where it would look like an end."""
    line = transport.get_extra_info("socket")
    if line is not None:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)


def write(transport: asyncio.Transport, data: bytes) -> None:
    """Write so that what waits to be taken is known and bounded, over TLS too."""
    if len(data) <= TLS_PIECE_BYTES or transport.get_extra_info("sslcontext") is None:
        transport.write(data)
        return
    view = memoryview(data)
    for start in range(0, len(data), TLS_PIECE_BYTES):
        transport.write(view[start : start + TLS_PIECE_BYTES])


def untaken_bytes(transport: asyncio.Transport) -> int:
    """Give what the kernel holds and the other side has not taken; 0 where it cannot be told.

    It may hold megabytes, so that a slow client reads for long before our own buffer moves.
    """
    line = transport.get_extra_info("socket")
    if sys.platform != "linux" or line is None:
        return 0
    try:
        answer = fcntl.ioctl(line.fileno(), termios.TIOCOUTQ, bytes(4))
    except OSError:
        return 0
    return int.from_bytes(answer, sys.byteorder)
