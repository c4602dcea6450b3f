"""The doctor looks at what could carry secrets out of memory, or let others read them."""

from pathlib import Path

import pytest

from jusinfer import config
from jusinfer.cli import doctor


def found(folder: Path, text: str) -> dict[str, tuple[str, str]]:
    file = folder / "jusinfer.toml"
    file.write_text(text)
    settings = config.load(config.Overrides(config_file=str(file)), {})
    return {one.check: (one.state, one.detail) for one in doctor._exposure(settings)}


def test_an_open_file_and_a_plain_listener_fail(tmp_path: Path) -> None:
    text = '[listen]\nhost = "192.0.2.1"\n[[upstream]]\nname = "openai"\napi_key = "k"\n'
    findings = found(tmp_path, text)
    assert findings["settings file"][0] == "fail"
    assert "chmod 600" in findings["settings file"][1]
    assert findings["listener"][0] == "fail"
    (tmp_path / "jusinfer.toml").chmod(0o600)
    assert "settings file" not in found(tmp_path, text)


def test_headers_in_an_open_file_are_warned_of_as_they_may_be_no_secret(tmp_path: Path) -> None:
    text = '[[upstream]]\nname = "openai"\nheaders = { "x-title" = "mine" }\n'
    assert found(tmp_path, text)["settings file"][0] == "warn"


def test_the_key_of_tls_is_looked_at_and_may_be_missing(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_text("")
    listen = f'[listen]\ntls_certificate = "{key}"\ntls_key = "{key}"\n'
    file = tmp_path / "jusinfer.toml"
    file.write_text(listen)
    settings = config.load(config.Overrides(config_file=str(file), data_dir=str(tmp_path)), {})

    def seen() -> list[str]:
        return [one.state for one in doctor._files(settings) if one.check == "TLS key"]

    key.chmod(0o640)
    assert seen() == ["warn"]
    key.chmod(0o600)
    assert seen() == []
    key.unlink()
    assert seen() == ["fail"]


@pytest.mark.parametrize(
    ("pattern", "swaps", "states"),
    [
        ("core", "", {"core dumps": "ok"}),
        ("|/usr/lib/systemd/systemd-coredump %P", "", {"core dumps": "warn"}),
        ("|", "", {"core dumps": "warn"}),
        ("", "Filename Type\n/dev/sda2 partition", {"core dumps": "ok", "swap": "warn"}),
        ("core", "Filename Type\n", {"core dumps": "ok"}),
    ],
)
def test_core_dumps_and_swap_are_looked_at(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pattern: str,
    swaps: str,
    states: dict[str, str],
) -> None:
    texts = {"/proc/sys/kernel/core_pattern": pattern, "/proc/swaps": swaps}
    monkeypatch.setattr(doctor, "_text", texts.__getitem__)
    assert {name: state for name, (state, _) in found(tmp_path, "").items()} == states


@pytest.mark.parametrize(
    ("user", "url", "states"),
    [(0, "", ["warn"]), (0, "postgresql:///x", []), (1000, "", [])],
)
def test_root_is_told_what_the_embedded_database_may_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: int, url: str, states: list[str]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: user)
    file = tmp_path / "jusinfer.toml"
    file.write_text(f'[database]\nurl = "{url}"\n')
    settings = config.load(config.Overrides(config_file=str(file)), {})
    assert [one.state for one in doctor._user(settings)] == states


@pytest.mark.parametrize(
    ("arguments", "prefix", "state"),
    [
        ("'--enable-shared' '--enable-optimizations' '--with-lto'", "/opt/python", "ok"),
        ("'--prefix=/opt/python'", "/opt/python", "warn"),
        ("'--prefix=/usr' '--enable-shared'", "/usr", "ok"),
        ("", "/opt/python", "ok"),
        (None, "/opt/python", "ok"),
    ],
)
def test_an_interpreter_built_without_profiles_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, arguments: str | None, prefix: str, state: str
) -> None:
    monkeypatch.setattr(doctor.sysconfig, "get_config_var", {"CONFIG_ARGS": arguments}.get)
    monkeypatch.setattr(doctor.sys, "base_prefix", prefix)
    found = doctor._interpreter()
    assert (found.check, found.state) == ("python", state)
    assert ("--enable-optimizations" in found.detail) == (state == "warn")
