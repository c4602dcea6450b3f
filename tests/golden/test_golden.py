"""Requests and answers as they pass, written down; `make golden` writes them anew.

A change of a file is a change of what providers or clients get: its diff is what is reviewed.
"""

import difflib
from typing import Final

import pytest
from tests.golden.case import HERE, Case, is_counted_here, result_of, text_of
from tests.golden.clients import gist, read_error, read_stream, read_whole
from tests.golden.harness import OK
from tests.golden.tables import cases

CASES: Final = tuple(cases())
FOLDERS: Final = sorted({case.path.parent.name for case in CASES})
# What a client may ask, and gets repeated, though no official type of an answer has it.
UNTYPED: Final = frozenset({"responses-chat/ask_choice_local_shell"})
BYTES_MAX: Final = 20_000


def _within(folder: str) -> list[Case]:
    return [case for case in CASES if case.path.parent.name == folder]


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_passes_is_what_was_written_down(folder: str, *, writes: bool) -> None:
    """One test for a folder: its cases are many and small."""
    found: list[str] = []
    for case in _within(folder):
        text = text_of(case)
        assert len(text) < BYTES_MAX, case.id
        if writes:
            case.path.parent.mkdir(exist_ok=True)
            case.path.write_text(text)
            continue
        known = case.path.read_text() if case.path.exists() else ""
        if text != known:
            lines = known.splitlines(), text.splitlines()
            found += difflib.unified_diff(*lines, f"{case.id} written", f"{case.id} now")
    if found:
        shown = "\n".join(line.rstrip() for line in found)
        pytest.fail(f"{shown}\nmake golden writes the files anew", pytrace=False)


@pytest.mark.parametrize("folder", FOLDERS)
def test_clients_read_what_was_delivered(folder: str) -> None:
    """The official types take it, and a stream says what the whole answer says."""
    faults: list[str] = []
    for case in _within(folder):
        if case.id in UNTYPED or (case.is_native and case.answer.is_odd):
            continue
        try:
            _read(case)
        except (AssertionError, KeyError, ValueError) as fault:
            faults.append(f"{case.id}: {type(fault).__name__}: {fault}")
    assert faults == []


def _read(case: Case) -> None:
    result = result_of(case)
    said = []
    if result.whole is not None:
        if result.whole.status == OK:
            said.append(read_whole(case.client, result.whole.delivered))
        else:
            read_error(case.client, result.whole.status, result.whole.delivered)
    if result.stream is not None:
        if result.stream.status == OK:
            said.append(read_stream(case.client, result.stream.delivered, is_native=case.is_native))
        else:
            read_error(case.client, result.stream.status, result.stream.delivered)
    gists = [gist(case.client, answer) for answer in said if answer is not None]
    if is_counted_here(result):
        # Estimates differ: a stream shows how many events it had.
        for found in gists:
            found.pop("usage", None)
    if not case.answer.is_reordered:
        assert gists[1:] == gists[:-1]


def test_each_case_has_a_file_of_its_own_and_each_file_a_case(*, writes: bool) -> None:
    ids = [case.id for case in CASES]
    assert len(ids) == len(set(ids))
    files = {f"{path.parent.name}/{path.stem}": path for path in HERE.glob("*/*.toml")}
    if writes:
        for name in files.keys() - set(ids):
            files[name].unlink()
        return
    assert files.keys() == set(ids)
