"""Sockets and certificates: sharing a port, TLS with reload, errors that name the file."""

import socket
import ssl
import stat
import subprocess
import time
from pathlib import Path

import pytest
import trustme
from tests.gateway.conftest import Serve, Wire
from tests.gateway.test_server_bounds import eventually

from jusinfer.gateway.http.listeners import CertificateError, TlsReloader, make_socket, unix_socket

GET = b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n"
HOLD = b"GET /hold HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


class Files:
    """A certificate and its key on disk."""

    def __init__(self, folder: Path, authority: trustme.CA) -> None:
        self.certificate = folder / "certificate.pem"
        self.key = folder / "key.pem"
        self.authority = authority
        self.renew()

    def renew(self) -> None:
        made = self.authority.issue_cert("gateway.test")
        made.private_key_pem.write_to_path(self.key)
        made.cert_chain_pems[0].write_to_path(self.certificate)

    def reloader(self) -> TlsReloader:
        return TlsReloader(str(self.certificate), str(self.key))


@pytest.fixture
def files(tmp_path: Path, authority: trustme.CA) -> Files:
    return Files(tmp_path, authority)


def over_tls(wire: Wire, authority: trustme.CA, version: ssl.TLSVersion | None = None) -> Wire:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    context.set_alpn_protocols(["h2", "http/1.1"])
    if version is not None:
        context.maximum_version = version
    wire.line = context.wrap_socket(wire.line, server_hostname="gateway.test")
    return wire


def test_two_sockets_share_a_port() -> None:
    with make_socket("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with make_socket("127.0.0.1", port) as second:
            assert second.getsockname()[1] == port
            second.listen(1)
            with pytest.raises(OSError, match="in use"):
                make_socket("127.0.0.1", port, reuse_port=False)


def test_an_address_of_six_is_understood() -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    try:
        made = make_socket("::1", 0)
    except OSError as error:
        pytest.skip(f"this machine has no IPv6 loopback: {error}")
    with made:
        assert made.family == socket.AF_INET6


def test_a_unix_socket_replaces_one_left_over_but_no_file(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    unix_socket(str(path), 0o600).close()
    with unix_socket(str(path), 0o660):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
    kept = tmp_path / "file"
    kept.write_text("kept")
    with pytest.raises(FileExistsError, match="in the way"):
        unix_socket(str(kept), 0o600)
    assert kept.read_text() == "kept"
    with pytest.raises(OSError, match=r"."):
        unix_socket(str(tmp_path / "missing" / "s"), 0o600)


def test_requests_over_tls(serve: Serve, files: Files, authority: trustme.CA) -> None:
    server = serve(tls=files.reloader().context)
    wire = over_tls(server.dial(), authority)
    assert wire.line.selected_alpn_protocol() == "http/1.1"
    for _ in range(2):
        assert wire.send(GET).answer().body == b"GET /a "
    wire.send(b"NONSENSE\r\n\r\n")
    assert wire.answer().status == 400
    assert wire.until_close() == b""


def test_a_slow_reader_over_tls_gets_everything(
    serve: Serve, files: Files, authority: trustme.CA
) -> None:
    server = serve(tls=files.reloader().context)
    wire = over_tls(server.dial(receive_bytes=65_536), authority)
    wire.send(b"GET /flood?1024 HTTP/1.1\r\nhost: x\r\n\r\n")
    held = server.app.wait_held()
    assert held.paused.wait(5)
    assert held.written_bytes < 12 * 1024 * 1024
    assert len(wire.answer().body) == 1024 * 16_384


@pytest.mark.parametrize("ask", ["/flood?4096", f"/big?{64 * 1024 * 1024}"])
def test_a_client_that_takes_nothing_over_tls_is_cut(
    serve: Serve, files: Files, authority: trustme.CA, ask: str
) -> None:
    server = serve(tls=files.reloader().context, client_write_stall_seconds=0.5)
    wire = over_tls(server.dial(receive_bytes=4_096), authority)
    wire.send(f"GET {ask} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    if ask.startswith("/flood"):
        held = server.app.wait_held()
        assert held.paused.wait(5)
        assert held.gone.wait(5)
        assert held.left > 0
    eventually(lambda: server.connections() == 0)
    assert server.call(lambda: len(server.server._slow)) == 0


def test_what_waits_for_a_slow_client_over_tls_is_counted(
    serve: Serve, files: Files, authority: trustme.CA
) -> None:
    server = serve(tls=files.reloader().context, unread_bytes_total_max=24 * 1024 * 1024)
    ask = f"GET /big?{16 * 1024 * 1024} HTTP/1.1\r\nhost: x\r\n\r\n".encode()
    one, other = (over_tls(server.dial(receive_bytes=4_096), authority) for _ in range(2))
    one.send(ask)
    eventually(lambda: server.call(lambda: server.server.collected.unread_bytes) > 8 * 1024 * 1024)
    other.send(ask)
    eventually(lambda: server.connections() == 1)


def test_a_client_that_takes_little_by_little_over_tls_is_kept(
    serve: Serve, files: Files, authority: trustme.CA
) -> None:
    server = serve(tls=files.reloader().context, client_write_stall_seconds=1.0)
    wire = over_tls(server.dial(receive_bytes=16_384), authority)
    wire.send(b"GET /flood?4096 HTTP/1.1\r\nhost: x\r\n\r\n")
    assert server.app.wait_held().paused.wait(5)
    for _ in range(30):
        time.sleep(0.1)
        assert wire.line.recv(16_384)
    assert server.connections() == 1


def test_a_client_that_ends_its_tls_is_gone(
    serve: Serve, files: Files, authority: trustme.CA
) -> None:
    server = serve(tls=files.reloader().context)
    wire = over_tls(server.dial(), authority).send(HOLD)
    held = server.app.wait_held()
    wire.line.close()
    assert held.gone.wait(5)


def test_old_versions_of_tls_are_refused(serve: Serve, files: Files, authority: trustme.CA) -> None:
    context = files.reloader().context
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    server = serve(tls=context)
    wire = over_tls(server.dial(), authority, ssl.TLSVersion.TLSv1_2)
    assert wire.line.version() == "TLSv1.2"


def test_a_reload_is_seen_by_new_connections_only(
    serve: Serve, files: Files, authority: trustme.CA
) -> None:
    reloader = files.reloader()
    server = serve(tls=reloader.context)
    old = over_tls(server.dial(), authority)
    before = old.line.getpeercert()["serialNumber"]
    files.renew()
    reloader.reload()
    new = over_tls(server.dial(), authority)
    assert new.line.getpeercert()["serialNumber"] != before
    assert old.send(GET).answer().status == 200
    assert new.send(GET).answer().status == 200


def test_a_bad_reload_leaves_the_certificate_in_use(
    serve: Serve, files: Files, authority: trustme.CA
) -> None:
    reloader = files.reloader()
    server = serve(tls=reloader.context)
    files.certificate.write_text("no certificate")
    with pytest.raises(CertificateError, match=str(files.certificate)):
        reloader.reload()
    assert over_tls(server.dial(), authority).send(GET).answer().status == 200


def test_a_missing_file_is_named(files: Files) -> None:
    files.key.unlink()
    with pytest.raises(CertificateError, match=f"{files.key}: there is no such file"):
        files.reloader()


def test_a_foreign_key_is_refused(files: Files, authority: trustme.CA) -> None:
    authority.issue_cert("other.test").private_key_pem.write_to_path(files.key)
    with pytest.raises(CertificateError, match=r"own key"):
        files.reloader()


def test_a_locked_key_is_refused_without_asking(files: Files, tmp_path: Path) -> None:
    locked = tmp_path / "locked.pem"
    command = ["openssl", "pkey", "-in", files.key, "-aes256", "-passout", "pass:word"]
    try:
        subprocess.run([*command, "-out", locked], check=True, capture_output=True, timeout=120)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    with pytest.raises(CertificateError, match="passphrase"):
        TlsReloader(str(files.certificate), str(locked))
