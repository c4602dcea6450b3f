"""Keeps what a process knows in its own memory: no core dumps, no inherited variables.

A core dump holds prompts and keys, and a process that may be dumped may also be read by any other
process of its user. Every process of the product calls `forbid_dumps` before it reads a secret.
"""

import ctypes
import os
import resource
import sys
from collections.abc import Mapping
from typing import Final

PR_SET_DUMPABLE: Final = 4
# What any process may see: where programs, libraries, languages and certificates are.
VARIABLES: Final = frozenset(
    {
        "COVERAGE_PROCESS_START",
        "HOME",
        "LANG",
        "LANGUAGE",
        "LD_LIBRARY_PATH",
        "PATH",
        "SSL_CERT_DIR",
        "SSL_CERT_FILE",
        "TMPDIR",
        "TZ",
        "XDG_RUNTIME_DIR",
    }
)
VARIABLE_PREFIXES: Final = ("LC_", "PYTHON", "__CF")


def forbid_dumps() -> None:
    """Let this process leave no core dump, and no other process of its user read its memory.

    The limit goes on to every program that is started from here; the Linux flag does not and is
    set anew by each. It also holds where core dumps are piped to a program, which ignores the
    limit. Raises OSError where the system refuses.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform.startswith("linux"):
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        zero = ctypes.c_ulong(0)
        if prctl(PR_SET_DUMPABLE, zero, zero, zero, zero) != 0:
            raise OSError(ctypes.get_errno(), "core dumps cannot be forbidden here (prctl)")


def is_allowed(name: str) -> bool:
    """Tell whether a variable may be seen by every process."""
    return name in VARIABLES or name.startswith(VARIABLE_PREFIXES)


def allowed(environment: Mapping[str, str]) -> dict[str, str]:
    """Give the variables that every process may see."""
    return {name: value for name, value in environment.items() if is_allowed(name)}


def scrub_environment() -> None:
    """Drop every other variable of this process, also from what `/proc/<pid>/environ` shows."""
    names = [name for name in os.environ if not is_allowed(name)]
    if sys.platform.startswith("linux"):
        _overwrite({os.fsencode(name) for name in names})
    for name in names:
        del os.environ[name]


def _overwrite(names: set[bytes]) -> None:
    """Write zeros over values where the system keeps them; unsetting leaves them in memory."""
    entries = ctypes.POINTER(ctypes.c_void_p).in_dll(ctypes.CDLL(None), "environ")
    index = 0
    while entries and (address := entries[index]) is not None:
        name, separator, value = ctypes.string_at(address).partition(b"=")
        if separator and name in names:
            ctypes.memset(address + len(name) + 1, 0, len(value))
        index += 1
