"""A gateway that is killed in mid-request leaves nothing of it on any disk."""

import contextlib
import json
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.running import Running, kill, wait_until
from tests.security.test_console_memory import Marks

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
# Where a program may leave files besides those that it is given.
COMMON = ("/dev/shm", "/var/tmp", "/run", tempfile.gettempdir())  # noqa: S108 (looked into)
LARGE = 1_500_000


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give a place with a short path, so that sockets are in it as well."""
    with tempfile.TemporaryDirectory(prefix="ji-") as made:
        yield Path(made)


@pytest.fixture
def product(folder: Path) -> Iterator[Running]:
    places = {name: folder / name.lower() for name in ("TMPDIR", "HOME", "cwd")}
    for place in places.values():
        place.mkdir(mode=0o700)
    cwd = places.pop("cwd")
    variables = {name: str(place) for name, place in places.items()}
    with Running(folder, variables=variables, cwd=cwd) as running:
        yield running


def begun(product: Running, path: str, body: bytes, sent_bytes: int) -> socket.socket:
    """Begin a request, of whose body so much is sent."""
    connection = socket.create_connection(("127.0.0.1", product.port), 10)
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{product.port}\r\n"
        f"authorization: Bearer {product.key}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    connection.sendall(head.encode() + body[:sent_bytes])
    return connection


def in_the_middle(product: Running, marks: Marks) -> list[socket.socket]:
    """Begin requests that are in every state: arriving, large, waiting, and being answered."""
    found = []
    for path, wraps in (("/v1/chat/completions", "messages"), ("/v1/responses", "input")):
        for model in (
            "sandbox/slow?ms=200&n=100",
            "sandbox/stall?before=head",
            "sandbox/echo_error?code=500",
        ):
            for filler in (0, LARGE):
                for is_stream in (False, True):
                    text = f"{marks.mark(path)} {'word ' * (filler // 5)} {marks.mark(path)}"
                    body = json.dumps(
                        {
                            "model": model,
                            wraps: [{"role": "user", "content": text}],
                            "stream": is_stream,
                            "user": marks.mark("user"),
                        }
                    ).encode()
                    found += [
                        begun(product, path, body, len(body)),
                        begun(product, path, body, len(body) * 2 // 3),
                    ]
    return found


def files_below(places: tuple[Path, ...]) -> Iterator[tuple[Path, bytes]]:
    for place in places:
        for path in place.rglob("*"):
            with contextlib.suppress(OSError):
                if path.is_file() and not path.is_symlink():
                    yield path, path.read_bytes()


def new_files(since: float) -> Iterator[tuple[Path, bytes]]:
    """Give what was written lately directly in the system's common places."""
    for place in COMMON:
        for path in Path(place).glob("*"):
            with contextlib.suppress(OSError):
                if path.is_file() and path.stat().st_mtime >= since:
                    yield path, path.read_bytes()


@pytest.mark.parametrize("whole", [False, True], ids=["a worker", "everything"])
def test_nothing_of_a_request_is_left_by_who_is_killed(
    product: Running, folder: Path, *, whole: bool
) -> None:
    marks, began = Marks(), time.time()
    open_ones = in_the_middle(product, marks)
    time.sleep(1.0)  # some are arriving, some waited for, some answered
    if whole:
        for pid in (product.pid, *product.gateways):
            kill(pid)
        product.start()
    else:
        for pid in product.gateways:
            kill(pid)
        wait_until(product.ready)
    for connection in open_ones:
        connection.close()
    looked_at = 0
    for path, data in (*files_below((folder,)), *new_files(began)):
        assert marks.found_in(data) == [], path
        looked_at += 1
    assert looked_at > 100
    assert list((product.data_dir / "journal").iterdir())


def test_the_search_finds_what_is_planted(tmp_path: Path) -> None:
    marks = Marks()
    (tmp_path / "core.1").write_bytes(b"\0" * 99 + f'"x {marks.mark("planted")}"'.encode())
    found = [path.name for path, data in files_below((tmp_path,)) if marks.found_in(data)]
    assert found == ["core.1"]
