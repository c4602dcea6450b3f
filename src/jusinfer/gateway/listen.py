"""Listening sockets and certificates."""

import os
import socket
import ssl
from pathlib import Path


def make_socket(host: str, port: int) -> socket.socket:
    """Bind a TCP socket that other workers may share."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made.bind((host, port))
    made.setblocking(False)  # noqa: FBT003 (its signature)
    return made


def unix_socket(path: str, mode: int) -> socket.socket:
    """Bind a Unix socket that only its owner may use, in place of one left over."""
    Path(path).unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.bind(path)
    os.chmod(path, mode)  # noqa: PTH101 (a socket, not a file)
    made.setblocking(False)  # noqa: FBT003 (its signature)
    return made


class CertificateError(Exception):
    """A certificate or its key cannot be used; the text names the file."""


class TlsReloader:
    """A server-side TLS context whose certificate can be replaced while it serves."""

    def __init__(self, certificate: str, key: str) -> None:
        self._certificate = certificate
        self._key = key
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_alpn_protocols(["http/1.1"])
        self.reload()

    def reload(self) -> None:
        """Read the files again; new connections see the new certificate, old ones go on."""
        for name in (self._certificate, self._key):
            if not Path(name).is_file():
                raise CertificateError(f"{name}: there is no such file; check the path")
        try:
            # Tried apart first, so that a bad pair leaves the one in use as it is.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self._certificate, self._key)
            self.context.load_cert_chain(self._certificate, self._key)
        except (OSError, ssl.SSLError) as error:
            raise CertificateError(
                f"{self._certificate}: cannot be used with {self._key} ({error})"
            ) from error
