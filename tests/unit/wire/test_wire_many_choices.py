"""An answer of very many choices costs the same for each: none of them holds the loop."""

import resource
import subprocess
import sys

import pytest

from jusinfer.wire.upstream.chat_answer import read_answer
from jusinfer.wire.upstream.chat_choice import CHOICES_MAX
from jusinfer.wire.upstream.openai_chat import decode_chunk

CPU_SECONDS = 20
# Reading each choice anew with all before it takes minutes.
READ = """
from jusinfer.wire.upstream.openai_chat import decode_answer, decode_chunk
choice = b'{"index":0,"%b":{"content":"w"},"finish_reason":"stop"}'
for name, read in ((b"message", decode_answer), (b"delta", decode_chunk)):
    choices = b",".join([choice % name] * 200_000)
    assert read(b'{"choices":[%b]}' % choices).has_content
"""


def test_very_many_choices_are_read_in_one_pass() -> None:
    def bound() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))

    done = subprocess.run(
        [sys.executable, "-c", READ],
        preexec_fn=bound,
        capture_output=True,
        timeout=240,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("last", ["null", '"stop"'])
def test_choices_that_end_together_are_all_noted(last: str) -> None:
    rows = [f'{{"index":{at},"delta":{{}},"finish_reason":"stop"}}' for at in range(3)]
    rows.append(f'{{"index":3,"delta":{{}},"finish_reason":{last}}}')
    chunk = decode_chunk(f'{{"choices":[{",".join(rows)}]}}'.encode())
    assert chunk.finished_choices == ((0, 1, 2, 3) if last != "null" else (0, 1, 2))


def test_a_whole_answer_of_more_choices_than_anybody_asks_for_is_refused() -> None:
    row = '{"index":%d,"message":{"role":"assistant","content":"w"},"finish_reason":"stop"}'
    for count, code in ((CHOICES_MAX, None), (CHOICES_MAX + 1, "malformed_answer")):
        rows = ",".join(row % at for at in range(count))
        answer, _ = read_answer(f'{{"choices":[{rows}]}}'.encode())
        assert (None if answer.failure is None else answer.failure.code) == code
