"""Runs one agent on one task, in an empty home and an empty folder, and judges what it did."""

import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final, NamedTuple

from tools.agents.install import CACHE, Agent
from tools.agents.page import Recipe

from jusinfer.sandbox.agent.script import SEEN, proof_of

TASK: Final = "Please do the task that goes by marker={marker} with the tools you have."
PREFIX: Final = "jusinfer-agents-"
FAILED: Final = CACHE / "failed"
OUTPUT_CHARACTERS: Final = 4_000_000
REASON_CHARACTERS: Final = 160
LONG_WORDS: Final = 3_000
CONTEXT_CHARACTERS: Final = 150_000
# Where agents look for a project's instructions: a long one makes a long prompt.
INSTRUCTIONS: Final = ("AGENTS.md", "CLAUDE.md")
INSTRUCTION_LINES: Final = 3_200
ERROR_SAID: Final = re.compile(r"(?i)error|failed")
CONTEXT: Final = re.compile(r"prompt-characters=(\d+)")
ERROR_LINE: Final = re.compile(r"(?i)error|exceeded|refused|fail|not |cannot|\b[45]\d\d\b")


class Run(NamedTuple):
    """One run: which agent, by which API, over which provider, in which scenario."""

    agent: Agent
    recipe: Recipe
    provider: str
    scenario: str

    @property
    def model(self) -> str:
        """The model to ask for."""
        kind = "" if self.scenario == "plain" else f"-{self.scenario}"
        return f"{self.provider}/mock-agent{kind}"


class Verdict(NamedTuple):
    """How a run went; no reason means that all was well."""

    run: Run
    reason: str
    seconds: float


class Done(NamedTuple):
    """What a run left: its exit code (None when it was ended), its output, the file."""

    code: int | None
    output: str
    proof: str


def perform(run: Run, url: str, key: str, timeout_seconds: float) -> Verdict:
    """Run an agent outside of any repository; what a failed run said is kept to be looked at."""
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as name:
        return _perform(run, Path(name), (url, key), timeout_seconds)


def _perform(run: Run, folder: Path, place: tuple[str, str], timeout_seconds: float) -> Verdict:
    marker = secrets.token_hex(5).upper()
    home, work = folder / "home", folder / "work"
    home.mkdir()
    work.mkdir()
    recipe = run.recipe.filled(*place, run.model)
    if run.scenario == "context" and run.agent.is_piped:
        recipe = recipe._replace(script=recipe.script.replace("/dev/null", INSTRUCTIONS[0]))
    for name, text in recipe.files:
        path = home / name[2:] if name.startswith("~/") else work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    if run.scenario == "context":
        _instruct(work)
    modules = run.agent.folder / "node_modules"
    if any(name.endswith(".mjs") for name, _ in recipe.files):
        (work / "node_modules").symlink_to(modules)
    (folder / "run.sh").write_text(recipe.script, encoding="utf-8")
    begun = time.monotonic()
    code = _run(run, folder, marker, timeout_seconds)
    seconds = time.monotonic() - begun
    output = (folder / "output").read_text(encoding="utf-8", errors="replace")
    proof_file = work / "proof.txt"
    proof = proof_file.read_text(encoding="utf-8") if proof_file.is_file() else ""
    reason = judge(run, Done(code, output[-OUTPUT_CHARACTERS:], proof), proof_of(marker))
    if reason:
        kept = FAILED / f"{run.agent.name}-{run.recipe.api}-{run.provider}-{run.scenario}"
        kept.mkdir(parents=True, exist_ok=True)
        for name in ("output", "run.sh"):
            shutil.copy(folder / name, kept / name)
    return Verdict(run, reason, seconds)


def _instruct(work: Path) -> None:
    """Write instructions of about 150 KB, as a large project has them."""
    lines = (f"- Rule {n}: keep module {n} small, and test it." for n in range(INSTRUCTION_LINES))
    text = "\n".join(lines)
    for name in INSTRUCTIONS:
        path = work / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _run(run: Run, folder: Path, marker: str, timeout_seconds: float) -> int | None:
    """Run the script; None when it had to be ended. Nothing that it started is left behind."""
    environment = {
        "API": run.recipe.api,
        "HOME": str(folder / "home"),
        "LANG": "C.UTF-8",
        "PATH": os.pathsep.join([*map(str, run.agent.paths), os.environ["PATH"]]),
        "TASK": TASK.format(marker=marker),
    }
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            ["bash", "-eu", str(folder / "run.sh")],
            cwd=folder / "work",
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            return process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            _end_all(environment["HOME"])
            process.wait()


def _end_all(home: str) -> None:
    """End every process that lives in a home, which only this run's processes do."""
    mark = f"HOME={home}\0".encode()
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in path.read_bytes():
                os.kill(int(path.parent.name), signal.SIGKILL)
        except OSError:
            continue  # it has ended meanwhile, or is not ours


def judge(run: Run, done: Done, proof: str) -> str:
    """Give the reason why a run failed, or an empty text."""
    if done.code is None:
        return f"no end in time: {_last(done.output)}"
    if run.scenario == "overflow":
        if re.search(run.agent.overflow, done.output):
            return ""
        return f"the full context was not recognised: {_last(done.output)}"
    if run.scenario == "cut" and run.recipe.api not in run.agent.cut:
        is_honest = done.code != 0 and not done.proof and ERROR_SAID.search(done.output)
        return "" if is_honest else f"a cut stream passed for an answer: {_last(done.output)}"
    return _judge_good(run, done, proof)


def _judge_good(run: Run, done: Done, proof: str) -> str:
    if done.code:
        return f"exit {done.code}: {_last(done.output)}"
    if done.proof.strip() != proof:
        return f"the file is not there: {_last(done.output)}"
    if proof not in done.output:
        return f"what the tool said is not in the answer: {_last(done.output)}"
    return _judge_size(run, done)


def _judge_size(run: Run, done: Done) -> str:
    """Judge what came through by what the answer says of it."""
    if run.scenario == "image" and SEEN not in done.output:
        return "the image did not arrive"
    if run.scenario == "long" and len(done.output.split()) < LONG_WORDS:
        return "the long answer is not whole"
    if run.scenario == "context":
        most = max(map(int, CONTEXT.findall(done.output)), default=0)
        if most < CONTEXT_CHARACTERS:
            return f"the prompt had {most} characters, not {CONTEXT_CHARACTERS}"
    return ""


def _last(output: str) -> str:
    """Give the last line that says something went wrong, else the last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    wrong = [line for line in lines if ERROR_LINE.search(line)]
    line = (wrong or lines or ["nothing was said"])[-1]
    found = re.search(r'"(?:message|result)":"((?:[^"\\]|\\.)+)', line)
    return (found[1] if found else line)[:REASON_CHARACTERS]
