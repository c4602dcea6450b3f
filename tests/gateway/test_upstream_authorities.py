"""An authority of the operator's own is the only one that may vouch for its upstream."""

import asyncio
import socket
import ssl
import threading
from pathlib import Path

import pytest
import trustme

from jusinfer.gateway.http.connection_pool import Pool, PoolLimits, Target


def serve(authority: trustme.CA) -> tuple[int, socket.socket]:
    """Shake hands with whoever comes, as a server with a certificate of this authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        while True:
            try:
                plain, _ = listener.accept()
                with plain, context.wrap_socket(plain, server_side=True) as secure:
                    secure.recv(1)
            except ssl.SSLError:
                continue
            except OSError:
                return

    threading.Thread(target=answer, daemon=True).start()
    return int(listener.getsockname()[1]), listener


@pytest.mark.parametrize(
    ("ca_file", "signer", "is_trusted"),
    [
        (None, "system", True),
        (None, "own", False),
        ("own", "own", True),
        ("own", "system", False),
    ],
)
def test_ca_file_takes_the_place_of_the_systems(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ca_file: str | None,
    signer: str,
    is_trusted: bool,  # noqa: FBT001
) -> None:
    authorities = {"system": trustme.CA(), "own": trustme.CA()}
    for name, authority in authorities.items():
        authority.cert_pem.write_to_path(tmp_path / name)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "system"))
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    port, listener = serve(authorities[signer])
    target = Target(
        host="localhost",
        port=port,
        is_tls=True,
        is_local=True,
        ca_file=None if ca_file is None else str(tmp_path / ca_file),
    )

    async def context() -> ssl.SSLContext:
        async with asyncio.TaskGroup() as tasks:
            return Pool(asyncio.get_running_loop(), PoolLimits(), tasks)._context(target)

    made = asyncio.run(context())
    with listener, socket.create_connection(("127.0.0.1", port), 10) as plain:
        if is_trusted:
            with made.wrap_socket(plain, server_hostname="localhost") as secure:
                assert secure.version() in {"TLSv1.2", "TLSv1.3"}
        else:
            with pytest.raises(ssl.SSLCertVerificationError):
                made.wrap_socket(plain, server_hostname="localhost")
