"""Listening sockets and certificates."""

import os
import socket
import ssl
import stat
from pathlib import Path


def make_socket(host: str, port: int, *, reuse_port: bool = True) -> socket.socket:
    """Bind a TCP socket that other workers may share; raises OSError when the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.bind((host, port))
        made.setblocking(False)  # noqa: FBT003 (its signature)
    except OSError:
        made.close()
        raise
    return made


def unix_socket(path: str, mode: int) -> socket.socket:
    """Bind a Unix socket with these permissions, in place of one left over, but of no file."""
    place = Path(path)
    if place.exists() and not stat.S_ISSOCK(place.stat().st_mode):
        raise FileExistsError(f"{path}: is in the way of a socket; move it elsewhere")
    place.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.bind(path)
        os.chmod(path, mode)  # noqa: PTH101 (a socket, not a file)
        made.setblocking(False)  # noqa: FBT003 (its signature)
    except OSError:
        made.close()
        raise
    return made


class CertificateError(ValueError):
    """A certificate or its key cannot be used; the text names the file and how to mend it."""


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
                raise CertificateError(
                    f"{name}: there is no such file; name a PEM file that this process can read"
                )
        try:
            # Tried apart first, so that a bad pair leaves the one in use as it is.
            self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
            self._load(self.context)
        except (OSError, ssl.SSLError) as error:
            raise CertificateError(
                f"{self._certificate}: cannot be used with {self._key} ({error}); "
                "give a PEM certificate chain and its own key without a passphrase"
            ) from error

    def _load(self, context: ssl.SSLContext) -> None:
        # An empty passphrase, or a locked key would ask for one on the terminal and wait.
        context.load_cert_chain(self._certificate, self._key, password="")
