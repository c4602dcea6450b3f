"""The rehearsal of a fresh clone: what it passes on, and that it ends what it began."""

import os
from pathlib import Path

import pytest
from tools.rehearse import Product, RehearsalFailed, empty_environment

MAKEFILE = """run:
\t@echo "  jusInfer is ready at http://x/v1"; echo "  curl {url}"; exec sleep 60
"""


def product(tmp_path: Path, makefile: str) -> Product:
    (tmp_path / "Makefile").write_text(makefile, encoding="utf-8")
    return Product(tmp_path, tmp_path, [1, 2])


def test_the_environment_is_empty_but_for_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://elsewhere")
    assert set(empty_environment(tmp_path)) == {"PATH", "HOME"}


def test_the_printed_curl_line_is_pasted_and_the_product_stopped(tmp_path: Path) -> None:
    answer = tmp_path / "answer.json"
    answer.write_text('{"choices": []}', encoding="utf-8")
    running = product(tmp_path, MAKEFILE.format(url=answer.as_uri()))
    try:
        assert running.wait_ready(10) >= 0
        assert "choices" in running.paste()
    finally:
        running.stop()
    running.stop()


def test_an_answer_without_choices_fails(tmp_path: Path) -> None:
    answer = tmp_path / "answer.json"
    answer.write_text('{"error": {}}', encoding="utf-8")
    running = product(tmp_path, MAKEFILE.format(url=answer.as_uri()))
    try:
        running.wait_ready(10)
        with pytest.raises(RehearsalFailed, match="curl line gave"):
            running.paste()
    finally:
        running.stop()


def test_a_product_that_ends_at_once_fails(tmp_path: Path) -> None:
    running = product(tmp_path, "run:\n\t@exit 3\n")
    with pytest.raises(RehearsalFailed, match="ended with"):
        running.wait_ready(10)
    running.stop()


def test_nothing_that_was_started_is_left(tmp_path: Path) -> None:
    running = product(tmp_path, "run:\n\t@echo $$$$ >pid; exec sleep 60\n")
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text(encoding="utf-8"):
        with pytest.raises(RehearsalFailed, match="not ready"):
            running.wait_ready(0)
    running.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text(encoding="utf-8")), 0)
