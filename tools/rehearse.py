"""Rehearse what the README promises: a fresh clone, an empty environment, its two commands.

Clones the checkout into a temporary folder whose name holds a space, runs `make run` there with
nothing in the environment but PATH and HOME, pastes the printed curl line, stops the product with
SIGTERM, starts it again, and with `--tests` ends with `make test`, whose count is the last line.
"""

import argparse
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

SETUP_SECONDS: Final = 600
AGAIN_SECONDS: Final = 60
STOP_SECONDS: Final = 60
TEST_SECONDS: Final = 1_200
CURL_SECONDS: Final = 30
_CURL: Final = re.compile(r"^\s*(curl .*)$", re.MULTILINE)
_READY: Final = "is ready at"


class RehearsalFailed(Exception):
    """Something that the README promises did not happen."""


def free_ports(count: int) -> list[int]:
    """Find ports that nobody listens on; another program may still be quicker."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


def empty_environment(home: Path) -> dict[str, str]:
    """Give what a person's first shell has at least."""
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": str(home)}


class Product:
    """`make run` in the background, its words in a file."""

    def __init__(self, clone: Path, home: Path, ports: list[int]) -> None:
        self._words = home / "words.txt"
        self._environment = empty_environment(home)
        arguments = f"--port {ports[0]} --operator-port {ports[1]}"
        with self._words.open("w", encoding="utf-8") as words:
            self._process = subprocess.Popen(
                ["make", "run", f"ARGS={arguments}"],
                cwd=clone,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=words,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def words(self) -> str:
        """What it has printed so far."""
        return self._words.read_text(encoding="utf-8")

    def wait_ready(self, seconds: float) -> float:
        """Wait until it says that it is ready; give the seconds it took."""
        began = time.monotonic()
        while _READY not in self.words or not _CURL.search(self.words):
            if self._process.poll() is not None:
                raise RehearsalFailed(f"make run ended with {self._process.returncode}")
            if time.monotonic() - began > seconds:
                raise RehearsalFailed(f"make run was not ready after {seconds:.0f} s")
            time.sleep(0.1)
        return time.monotonic() - began

    def paste(self) -> str:
        """Run the printed curl line as a person would and give the answer."""
        match = _CURL.search(self.words)
        if match is None:
            raise RehearsalFailed("no curl line was printed")
        pasted = subprocess.run(
            ["bash", "-c", f"{match[1]} --fail-with-body --silent --show-error"],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=CURL_SECONDS,
        )
        if pasted.returncode or '"choices"' not in pasted.stdout:
            answer = pasted.stdout[:500] + pasted.stderr[:500]
            raise RehearsalFailed(f"the printed curl line gave {answer!r}")
        return pasted.stdout

    def stop(self) -> None:
        """Stop make and what it started as a service manager would."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(STOP_SECONDS)
            raise RehearsalFailed(f"SIGTERM did not end it in {STOP_SECONDS} s") from None


def rehearse(source: Path, folder: Path, *, has_tests: bool) -> None:
    """Go through the README's two commands in a clone."""
    clone, home = folder / "fresh clone", folder / "home"
    home.mkdir()
    command = ["git", "clone", "--quiet", "--no-hardlinks", str(source), str(clone)]
    subprocess.run(command, check=True, timeout=120)
    ports = free_ports(2)
    for turn, seconds in (("first", SETUP_SECONDS), ("second", AGAIN_SECONDS)):
        product = Product(clone, home, ports)
        try:
            took = product.wait_ready(seconds)
            if turn == "first":
                product.paste()
        except (RehearsalFailed, subprocess.TimeoutExpired):
            print(product.words)
            raise
        finally:
            product.stop()
        # Flushed, because the last line of all is to be pytest's own count.
        done = f"rehearse: {turn} `make run` ready after {took:.1f} s, stopped by SIGTERM"
        print(done, flush=True)
    if has_tests:
        run_tests(clone, home)


def run_tests(clone: Path, home: Path) -> None:
    """Run `make test` in the clone; when its time is over, end all that it started."""
    suite = subprocess.Popen(
        ["make", "test"],
        cwd=clone,
        env=empty_environment(home),
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        code = suite.wait(TEST_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(suite.pid, signal.SIGKILL)
        suite.wait(STOP_SECONDS)
        raise RehearsalFailed(f"make test was not done after {TEST_SECONDS} s") from None
    if code:
        raise RehearsalFailed(f"make test ended with {code}")


def main(arguments: list[str]) -> int:
    """Rehearse, and say what failed."""
    parser = argparse.ArgumentParser(prog="rehearse", description=__doc__)
    parser.add_argument("--tests", action="store_true", help="end with `make test`")
    options = parser.parse_args(arguments)
    source = Path(__file__).resolve().parents[1]
    with tempfile.TemporaryDirectory(prefix="ji-", ignore_cleanup_errors=True) as folder:
        try:
            rehearse(source, Path(folder), has_tests=options.tests)
        except RehearsalFailed as error:
            print(f"rehearse: {error}", file=sys.stderr)
            return 1
        except subprocess.SubprocessError as error:
            print(f"rehearse: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
