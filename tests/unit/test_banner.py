"""A first key is said on a terminal, and nowhere that is kept."""

import io
import stat
import subprocess
from pathlib import Path

from jusinfer import config
from jusinfer.supervisor import startup_message

KEY = "ji_test_" + "k" * 43


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def said(folder: Path, stream: io.StringIO, key: str | None = KEY, listen: str = "") -> str:
    folder.mkdir(exist_ok=True)
    file = folder / "jusinfer.toml"
    file.write_text(f"[listen]\n{listen}\n")
    settings = config.load(config.Overrides(config_file=str(file), data_dir=str(folder)), {})
    startup_message.ready(settings, 8787, startup_message.shown_key(settings, key, stream), stream)
    return stream.getvalue()


def test_a_terminal_gets_the_key(tmp_path: Path) -> None:
    text = said(tmp_path, Terminal())
    assert text.count(KEY) == 3
    assert not (tmp_path / startup_message.KEY_FILE).exists()


def test_what_is_kept_gets_the_path_of_a_private_file(tmp_path: Path) -> None:
    folder = tmp_path / "it's a $place"
    folder.mkdir()
    (tmp_path / "target").write_text("")
    (folder / startup_message.KEY_FILE).symlink_to(tmp_path / "target")
    text = said(folder, io.StringIO())
    assert KEY not in text
    path = folder / startup_message.KEY_FILE
    assert stat.S_IMODE(path.lstat().st_mode) == 0o600
    assert not path.is_symlink()
    assert path.read_text() == f"{KEY}\n"
    assert (tmp_path / "target").read_text() == ""
    (line,) = [line for line in text.splitlines() if line.startswith("curl ")]
    shown = subprocess.run(
        ["bash", "-c", line.replace("curl ", "echo ", 1)], capture_output=True, text=True,
        check=True, timeout=120,
    )  # fmt: skip
    assert f"Authorization: Bearer {KEY} " in shown.stdout


def test_a_later_start_says_no_key_and_writes_none(tmp_path: Path) -> None:
    assert KEY not in said(tmp_path, io.StringIO(), key=None)
    assert not (tmp_path / startup_message.KEY_FILE).exists()


def test_the_public_url_is_shown(tmp_path: Path) -> None:
    text = said(tmp_path, Terminal(), listen='public_url = "https://llm.example.com"')
    assert "ready at https://llm.example.com/v1" in text


def test_a_path_does_not_act_on_the_terminal(tmp_path: Path) -> None:
    text = said(tmp_path / "a\x1b[31m\u202eb", io.StringIO())
    assert [line for line in text.split("\n") if not line.isprintable()] == []
