"""The data directory and the run directory are ours and private, or refused by name."""

import os
from pathlib import Path

import pytest

from jusinfer import config
from jusinfer.bootstrap import data_directory

NOBODY = 65_534


def settings(folder: Path, data_dir: Path) -> config.Settings:
    file = folder / "jusinfer.toml"
    file.write_text("")
    return config.load(config.Overrides(config_file=str(file), data_dir=str(data_dir)), {})


def test_an_own_directory_is_made_private(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o755)
    run_dir = data_directory.prepare(settings(tmp_path, data_dir))
    for place in (data_dir, run_dir, data_dir / "journal"):
        assert place.stat().st_mode & 0o777 == 0o700


def test_a_data_directory_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "data").symlink_to(tmp_path / "real")
    with pytest.raises(config.ConfigError, match="symbolic link"):
        data_directory.prepare(settings(tmp_path, tmp_path / "data"))
    assert list((tmp_path / "real").iterdir()) == []


def test_a_data_directory_where_anybody_may_write_is_refused(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    data_dir.chmod(0o777)
    with pytest.raises(config.ConfigError, match="chmod 700"):
        data_directory.prepare(settings(tmp_path, data_dir))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
@pytest.mark.parametrize("name", ["data", "data/run"])
def test_a_directory_of_another_user_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir(parents=True, mode=0o700)
    (tmp_path / "data").chmod(0o700)
    os.chown(tmp_path / name, NOBODY, NOBODY)
    with pytest.raises(config.ConfigError, match="another user"):
        data_directory.prepare(settings(tmp_path, tmp_path / "data"))


@pytest.mark.parametrize("kind", ["open", "link", "file"])
def test_a_run_directory_in_the_common_place_must_be_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    common = tmp_path / "tmp"
    common.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(common))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    chosen = settings(tmp_path, tmp_path / ("long-" * 20))
    run_dir = data_directory.prepare(chosen)
    assert run_dir.parent == common
    run_dir.rmdir()
    if kind == "open":
        run_dir.mkdir()
        run_dir.chmod(0o755)
    elif kind == "link":
        (common / "target").mkdir(mode=0o700)
        run_dir.symlink_to(common / "target")
    else:
        run_dir.write_text("")
    with pytest.raises(config.ConfigError, match=str(run_dir)):
        data_directory.prepare(chosen)


def test_the_users_own_place_is_taken_only_where_it_is_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, common = tmp_path / "own", tmp_path / "tmp"
    own.mkdir(mode=0o700)
    common.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(common))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(own))
    chosen = settings(tmp_path, tmp_path / ("long-" * 20))
    assert data_directory.prepare(chosen).parent == own
    own.chmod(0o755)
    assert data_directory.prepare(chosen).parent == common
