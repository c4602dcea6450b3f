"""The console learns scheme, host and client from the gateway, never from the client."""

from pathlib import Path

import pytest

from jusinfer import config
from jusinfer.bootstrap.gateway import origins
from jusinfer.config import ConfigError, ListenSettings
from jusinfer.gateway.api.console_proxy import ConsoleForward
from jusinfer.gateway.http.request_parser import RequestHead
from jusinfer.gateway.http.response_writer import Request
from jusinfer.gateway.request_origin import Origins

PROXY, CLIENT = "10.0.0.1", "198.51.100.7"


def request(peer: str, **headers: str) -> Request:
    found = [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()]
    made = Request.__new__(Request)
    made.method, made.path, made.query = "GET", "/docs", ""
    made.headers, made.body, made.peer = found, b"", peer
    return made


def told(listen: ListenSettings, asked: Request) -> dict[str, str]:
    """Give the headers that reach the console."""
    made = ConsoleForward(None, None, origins(listen, b"secret"))  # type: ignore[arg-type]
    lines = made._head(asked, "id", 0).decode().split("\r\n")[1:]
    return dict(line.split(": ", 1) for line in lines if line)


TLS = ListenSettings(tls_certificate="c", tls_key="k", trusted_proxies=(PROXY,))
PLAIN = ListenSettings(trusted_proxies=(PROXY,))


@pytest.mark.parametrize(
    ("listen", "peer", "said", "scheme"),
    [
        (PLAIN, CLIENT, "https", "http"),
        (PLAIN, PROXY, "https", "https"),
        (PLAIN, PROXY, "ftp", "http"),
        (TLS, CLIENT, "http", "https"),
    ],
)
def test_the_scheme_is_ours_or_a_trusted_proxys(
    listen: ListenSettings, peer: str, said: str, scheme: str
) -> None:
    asked = request(peer, host="localhost", x_forwarded_proto=said)
    assert told(listen, asked)["x-forwarded-proto"] == scheme


@pytest.mark.parametrize(
    "name",
    [
        "forwarded", "x-forwarded-for", "x-forwarded-port", "x-real-ip", "cf-connecting-ip",
        "cf-connecting-ipv6", "true-client-ip", "x-client-ip", "x-cluster-client-ip",
        "fastly-client-ip", "fly-client-ip", "x-original-forwarded-for", "x-forwarded", "via",
        "authorization", "x-api-key", "proxy-authorization", "x-original-url", "x-rewrite-url",
        "x-http-method-override", "x-anything-new",
    ],
)  # fmt: skip
def test_no_other_header_of_a_client_reaches_the_console(name: str) -> None:
    asked = request(PROXY, host="localhost", **{name.replace("-", "_"): "203.0.113.9"})
    got = told(PLAIN, asked)
    assert name not in got
    assert "203.0.113.9" not in got.values()


def test_what_pages_use_reaches_the_console() -> None:
    asked = request(CLIENT, host="localhost", cookie="a=1", accept="text/html", origin="http://x")
    got = told(PLAIN, asked)
    assert (got["cookie"], got["accept"], got["origin"]) == ("a=1", "text/html", "http://x")


def test_a_rate_key_is_of_the_network_and_cannot_be_chosen() -> None:
    def key(peer: str, secret: bytes = b"secret", **headers: str) -> str:
        made = origins(PLAIN, secret)
        asked = request(peer, **headers)
        return made.rate_key(asked).decode()

    assert key(CLIENT) == key(CLIENT, x_jusinfer_peer="chosen", x_forwarded_for="1.2.3.4")
    assert key(CLIENT) != key("198.51.100.8")
    assert key(CLIENT) != key(CLIENT, b"another start")
    assert key("2001:db8::1") == key("2001:db8::2:3")
    assert key("2001:db8::1") != key("2001:db8:0:1::1")
    # The client's own words stand on the left of what the proxy adds.
    assert key(PROXY, x_forwarded_for=f"1.2.3.4, {CLIENT}") == key(CLIENT)
    assert key(PROXY, x_forwarded_for=f"1.2.3.4, {CLIENT}, {PROXY}") == key(CLIENT)
    assert key("::ffff:192.0.2.1") == key("192.0.2.1") != key("::ffff:192.0.2.2")
    for odd in ("", ",", "not an address", "x" * 5_000):
        assert len(key(PROXY, x_forwarded_for=odd)) == 32
    assert CLIENT not in key(CLIENT)


@pytest.mark.parametrize(
    ("host", "is_served"),
    [
        ("localhost:8787", True), ("127.0.0.1", True), ("[::1]:8787", True), ("LOCALHOST.", True),
        ("llm.example.com", True), ("llm.example.com:443", True), ("more.example", True),
        ("evil.example", False), ("llm.example.com.evil.example", False), ("10.9.8.7", False),
        ("localhost.evil.example", False), ("", False),
    ],
)  # fmt: skip
def test_pages_are_served_under_names_of_ours(host: str, is_served: bool) -> None:  # noqa: FBT001
    listen = ListenSettings(
        public_url="https://llm.example.com:8443", allowed_hosts=("more.example",)
    )
    made: Origins = origins(listen, b"secret")
    assert made.serves(host.encode()) is is_served
    assert made.serves(None)
    got = told(listen, request(CLIENT, host=host))
    assert got["x-forwarded-host"] == "llm.example.com:8443"
    assert got["x-forwarded-proto"] == "https"


def settings(folder: Path, listen: str) -> config.Settings:
    file = folder / "jusinfer.toml"
    file.write_text(f"[listen]\n{listen}\n")
    return config.load(config.Overrides(config_file=str(file)), {})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "llm.example.com"])
def test_a_public_address_needs_tls_or_a_proxy_or_a_word(tmp_path: Path, host: str) -> None:
    line = f'host = "{host}"\n'
    with pytest.raises(ConfigError, match=r"tls_certificate.*trusted_proxies.*allow_plain_http"):
        config.require_safe_listener(settings(tmp_path, line))
    for more in ('trusted_proxies = ["10.0.0.1"]', "allow_plain_http = true"):
        config.require_safe_listener(settings(tmp_path, line + more))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_loopback_needs_nothing(tmp_path: Path, host: str) -> None:
    config.require_safe_listener(settings(tmp_path, f'host = "{host}"\n'))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('trusted_proxies = ["proxy.local"]', "trusted_proxies"),
        ('public_url = "llm.example.com"', "public_url"),
        ('public_url = "https://llm.example.com/path"', "public_url"),
        ('public_url = "https://me@llm.example.com"', "public_url"),
        ('allowed_hosts = ["http://a"]', "allowed_hosts"),
        ('allowed_hosts = [""]', "allowed_hosts"),
    ],
)
def test_a_name_that_is_none_is_refused(tmp_path: Path, line: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        settings(tmp_path, line)


def test_a_head_is_what_the_server_gives() -> None:
    # Requests above are made by hand; this keeps them like those of the server.
    assert {"method", "path", "query", "headers"} <= set(dir(RequestHead))
