import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

READY_SECONDS = 20


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """The port of a sandbox of this module's own."""
    command = [sys.executable, "-m", "jusinfer.sandbox.app"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())["port"]
        finally:
            process.terminate()
            assert process.wait(READY_SECONDS) == 0
