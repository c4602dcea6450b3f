"""Starts that cannot work are refused by name; certificates are taken and taken anew."""

import socket
import ssl
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import trustme
from tests.e2e.running import Running, free_port, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


UNPRICED = """
[[upstream]]
name = "a"
base_url = "http://127.0.0.1:1/v1"
is_local = true
[[upstream.model]]
id = "m"
input = "1"
"""


def refused(folder: Path, *arguments: str, config: str | None = None, mode: int = 0o600) -> str:
    """Try to serve; gives the one line that says why not."""
    file = folder / "jusinfer.toml"
    file.write_text(config or "")
    file.chmod(mode)
    data_dir = [] if "--data-dir" in arguments else ["--data-dir", str(folder / "data")]
    done = subprocess.run(
        [sys.executable, "-m", "jusinfer", "serve", "--config", str(file), *data_dir, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


def test_a_file_with_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    text = '[[upstream]]\nname = "openai"\napi_key = "a-key"\n'
    said = refused(tmp_path, config=text, mode=0o644)
    assert f"`chmod 600 {tmp_path / 'jusinfer.toml'}`" in said
    assert "a-key" not in said
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("option", ["--port", "--operator-port"])
def test_a_busy_port_is_named(tmp_path: Path, option: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        other = ["--operator-port" if option == "--port" else "--port", str(free_port())]
        line = refused(tmp_path, option, str(port), *other)
    assert f"port {port}" in line
    assert "choose another" in line


def test_a_data_directory_that_is_a_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "occupied"
    file.write_text("")
    line = refused(tmp_path, "--data-dir", str(file))
    assert str(file) in line
    assert "--data-dir" in line


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("port = = 3", ("line 1",)),
        ("[listen]\nprot = 1\n", (":2", "prot")),
        ('[listen]\nport = "x"\n', (":2", "port")),
        (
            '[listen]\ntls_certificate = "/nowhere.pem"\ntls_key = "/nowhere.pem"\n',
            ("/nowhere.pem",),
        ),
        ('[listen]\ntls_certificate = "/nowhere.pem"\n', ("tls_key",)),
        (
            UNPRICED,
            ("'m'", "price"),
        ),
        (
            '[[upstream]]\nname="a"\nbase_url="http://example.com/v1"\napi_key="x"\n',
            ("is_local",),
        ),
        ('[[upstream]]\nname="sandbox"\n', ("sandbox",)),
    ],
)
def test_a_bad_line_is_named_with_how_to_mend_it(
    tmp_path: Path, config: str, words: tuple[str, ...]
) -> None:
    line = refused(tmp_path, config=config)
    for word in words:
        assert word in line, line


def test_a_plain_listener_at_a_public_address_is_refused(tmp_path: Path) -> None:
    line = refused(tmp_path, "--host", "0.0.0.0", "--port", str(free_port()))
    for word in ("0.0.0.0", "tls_certificate", "trusted_proxies", "allow_plain_http"):
        assert word in line


def test_a_second_start_keeps_the_key_and_a_third_beside_it_is_refused(tmp_path: Path) -> None:
    product = Running(tmp_path)
    product.start()
    key = product.key
    assert key
    ports = ["--port", str(free_port()), "--operator-port", str(free_port())]
    line = refused(tmp_path, "--data-dir", str(product.data_dir), *ports)
    assert "another `jusinfer serve`" in line
    assert product.stop() == 0
    product.start()
    assert "ji_test_" not in product.out.read_text().replace("ji_test_…", "")
    assert product.ask("jusinfer/auto", key=key).status_code == 200
    assert product.data_dir.stat().st_mode & 0o777 == 0o700
    assert product.stop() == 0


def test_the_console_comes_back_and_completions_do_not_notice(tmp_path: Path) -> None:
    with Running(tmp_path) as product:
        for pid in product.pids("bootstrap.console"):
            product.pids("bootstrap.console")
            subprocess.run(["kill", "-9", str(pid)], check=True)
        away = httpx.get(f"http://127.0.0.1:{product.port}/", timeout=10)
        assert away.status_code in {200, 503}
        if away.status_code == 503:
            assert away.json()["error"]["code"] == "unavailable"
            assert away.headers["retry-after"]
        assert product.ask("jusinfer/auto").status_code == 200
        url = f"http://127.0.0.1:{product.port}/health"
        wait_until(lambda: httpx.get(url, timeout=10).status_code == 200)


def test_a_certificate_is_used_and_taken_anew(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"

    def issue() -> None:
        leaf = authority.issue_cert("localhost")
        leaf.private_key_pem.write_to_path(key)
        leaf.cert_chain_pems[0].write_to_path(certificate)

    issue()
    config = f'[listen]\ntls_certificate = "{certificate}"\ntls_key = "{key}"\n'
    with Running(tmp_path, config=config) as product:
        context = ssl.create_default_context()
        authority.configure_trust(context)
        base = f"https://localhost:{product.port}"

        def serial() -> str:
            with (
                socket.create_connection(("127.0.0.1", product.port), 5) as plain,
                context.wrap_socket(plain, server_hostname="localhost") as secure,
            ):
                return str(secure.getpeercert()["serialNumber"])  # type: ignore[index]

        with httpx.Client(verify=context) as client:
            answer = client.post(
                f"{base}/v1/chat/completions",
                json={"model": "jusinfer/auto", "messages": [{"role": "user", "content": "x"}]},
                headers={"authorization": f"Bearer {product.key}"},
            )
            page = client.get(f"{base}/docs").text
            elsewhere = client.get(f"{base}/docs", headers={"host": "evil.example"})
        assert answer.status_code == 200
        assert f"{base}/v1" in page
        assert "http://" not in page.replace("http://www.w3.org", "")
        assert elsewhere.status_code == 400
        assert "evil.example" not in elsewhere.text
        assert "listen.public_url" in elsewhere.json()["error"]["hint"]
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{base}/health", timeout=30)
        before = serial()
        issue()
        subprocess.run(["kill", "-HUP", str(product.pid)], check=True)
        wait_until(lambda: serial() != before, 10)


def test_an_upstreams_certificate_is_verified(tmp_path: Path) -> None:
    good, bad = trustme.CA(), trustme.CA()
    ca_file = tmp_path / "ca.pem"
    good.cert_pem.write_to_path(ca_file)
    servers = [_tls_upstream(tmp_path, ca, f"{n}") for n, ca in enumerate((good, bad))]
    entries = "".join(
        f'[[upstream]]\nname = "u{n}"\nbase_url = "https://localhost:{port}/v1"\nis_local = true\n'
        f'ca_file = "{ca_file}"\n[[upstream.model]]\nid = "m{n}"\ninput = "1"\noutput = "1"\n'
        for n, (port, _) in enumerate(servers)
    )
    try:
        with Running(tmp_path, config=entries) as product:
            key = product.cli("keys", "create", "--mode", "live")["key"]
            product.cli("grant", "default", "5", "--reason", "test")
            assert product.ask("m0", key=key).status_code == 200
            refusal = product.ask("m1", key=key)
            assert refusal.status_code == 502
            assert "tls" in refusal.json()["error"]["message"]
    finally:
        for _, process in servers:
            process.terminate()
            process.wait(10)


ANSWERING = """
import http.server, ssl, sys
class Page(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        body = b'{"choices":[{"index":0,"message":{"content":"hi"},"finish_reason":"stop"}],'
        body += b'"usage":{"prompt_tokens":1,"completion_tokens":1}}'
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Page)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2])
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


def _tls_upstream(
    folder: Path, authority: trustme.CA, name: str
) -> tuple[int, subprocess.Popen[bytes]]:
    pair = folder / f"pair-{name}.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(pair)
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", ANSWERING, str(port), str(pair)], stderr=subprocess.DEVNULL
    )

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_until(listens, 10)
    return port, process
