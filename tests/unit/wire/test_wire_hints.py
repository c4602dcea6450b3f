"""Hints in the last message of the user: whole words, both ends, any script, any writing."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jusinfer import rules
from jusinfer.domain.errors import InvalidRequest
from jusinfer.domain.routing.rules import TASKS, Hint
from jusinfer.wire.inbound.openai_chat import decode_request
from jusinfer.wire.inbound.task_hint import declared
from jusinfer.wire.routing_hints.scanner import HintScanner
from jusinfer.wire.routing_hints.windows import WHOLE_BYTES_MAX, WINDOW_BYTES, windows_of_content

TABLE = rules.builtin().table
SCANNER = HintScanner(TABLE.hint)
LANGUAGES = ("en", "hi", "es", "fr", "de", "zh", "ja")
PHRASES = [
    (hint.id, phrase)
    for hint in TABLE.hint
    for phrases in hint.phrases.values()
    for phrase in phrases
]
OPENERS = [
    (hint.id, opener)
    for hint in TABLE.hint
    for openers in hint.openers.values()
    for opener in openers
]


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def found(*messages: dict[str, Any], model: str = "jusinfer/auto", ascii_only: bool) -> set[str]:
    body = json.dumps({"model": model, "messages": list(messages)}, ensure_ascii=ascii_only)
    return set(SCANNER.scan(*windows_of_content(decode_request(body.encode()).last_user)))


@pytest.mark.parametrize(("hint", "phrase"), PHRASES)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_each_phrase_is_seen_in_either_writing(hint: str, phrase: str, *, ascii_only: bool) -> None:
    assert hint in found(user(f"Now {phrase} : what is it?"), ascii_only=ascii_only)
    parts = [{"type": "text", "text": phrase}, {"type": "image_url", "image_url": {"url": "x"}}]
    assert hint in found(user(parts), ascii_only=ascii_only)
    if phrase.upper().lower() == phrase:
        assert hint in found(user(phrase.upper()), ascii_only=ascii_only)


@pytest.mark.parametrize(("hint", "opener"), OPENERS)
def test_each_opener_is_seen_at_the_beginning_only(hint: str, opener: str) -> None:
    for lead in ("", "  \n", "**", "\u201c", "Please "):
        assert hint in SCANNER.scan(f"{lead}{opener}something")
    assert hint not in SCANNER.scan(f"So then, {opener}something")


def test_the_hints_speak_seven_languages() -> None:
    spoken = {
        language
        for hint in TABLE.hint
        if hint.id in {"careful", "compare", "code_task", "condition"}
        for language in hint.phrases
    }
    assert spoken >= set(LANGUAGES)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "the definition of a defect",
        "sequel and prequel",
        "whyever",
        "steps by steps",
        "think, then think harder",
        "a stepby step",
        "asserted",
        "halfway",
        "he traced backwards",
        "\u4f60\u597d",
        "namaste",
    ],
)
def test_words_are_found_whole_or_not_at_all(text: str) -> None:
    assert SCANNER.scan(text) == ()


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("step-by-step", "careful"),
        ("STEP   by\nstep!", "careful"),
        ("«pourquoi»", "compare"),
        ("\u00bfpor qu\u00e9?", "compare"),
        ("\u0915\u094d\u092f\u094b\u0902\u0964", "compare"),
        ("one, two, three, four, five", "clauses"),
        ("1 2 3 4 5 6", "maths"),
        ("$x \\frac y$", "maths"),
        ("```\nx\n```", "code"),
        ("100%", "percent"),
    ],
)
def test_punctuation_and_case_do_not_matter(text: str, hint: str) -> None:
    assert hint in SCANNER.scan(text)


@pytest.mark.parametrize(
    "filler", ["a ", "\u4f60", 'quote" ', "back\\slash ", "\n", "\U0001f600", "\u00e9 "]
)
@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("count", [200, WHOLE_BYTES_MAX, WHOLE_BYTES_MAX + 1])
def test_hints_are_looked_for_at_both_ends_only(
    filler: str, *, ascii_only: bool, count: int
) -> None:
    many = filler * count
    assert "careful" in found(user(f"Step by step: {many}"), ascii_only=ascii_only)
    assert "careful" in found(user(f"{many} think carefully"), ascii_only=ascii_only)
    if len(many) > 2 * WINDOW_BYTES:
        middle = f"{many} think carefully {many}"
        assert "careful" not in found(user(middle), ascii_only=ascii_only)


def test_a_cut_may_fall_anywhere_in_an_escape() -> None:
    for shift in range(30):
        text = "x" * shift + "\u4f60\U0001f600" * 4_000 + "y" * shift + " think carefully"
        assert "careful" in found(user(text), ascii_only=True), shift
        assert "careful" in found(user(text), ascii_only=False), shift


def test_only_the_last_message_of_the_user_hints() -> None:
    hint, plain = user("think carefully"), user("hello")
    answer = {"role": "assistant", "content": "step by step"}
    assert found(plain, answer, hint, answer, ascii_only=False) == {"careful"}
    assert not found(hint, plain, answer, ascii_only=False)
    assert not found(answer, ascii_only=False)
    assert not found({"role": "system", "content": "step by step"}, ascii_only=False)


def test_texts_are_not_kept_for_a_model_named_by_the_client() -> None:
    body = json.dumps({"model": "deepseek-flash", "messages": [user("think carefully")]}).encode()
    assert decode_request(body).last_user is None


def test_every_kind_of_mark_can_be_had() -> None:
    hints = (
        Hint(id="none", lacks=("?",)),
        Hint(id="many", counted=("a", "b"), count_least=3),
        Hint(id="both", together=("x", "y")),
        Hint(id="digits", numbers_least=2),
    )
    scanner = HintScanner(hints)
    assert scanner.scan("ab?") == ()
    assert scanner.scan("aab") == ("none", "many")
    assert scanner.scan("x?y") == ("both",)
    assert scanner.scan("1?2", "?3") == ("digits",)


def test_a_lone_surrogate_harms_nobody() -> None:
    assert SCANNER.scan("why \ud800") == ("compare",)


# ---------------------------------------------------------------- declared tasks


def fields(metadata: object) -> dict[str, Any]:
    body = {"model": "m", "messages": [user("x")], "metadata": metadata}
    return decode_request(json.dumps(body).encode()).fields


@pytest.mark.parametrize("task", TASKS)
def test_a_task_may_be_declared_in_a_header_or_in_metadata(task: str) -> None:
    assert declared(f" {task.upper()} ".encode(), {}) == task
    assert declared(None, fields({"task": task})) == task
    assert declared(b"code", fields({"task": task})) == "code"


@pytest.mark.parametrize(
    "metadata", [{}, {"task": "job-17"}, {"task": 5}, {"task": None}, {"a": "task"}, {"task": ""}]
)
def test_other_metadata_is_the_clients_own(metadata: object) -> None:
    assert not declared(None, fields(metadata))
    assert not declared(None, {})


def test_a_header_that_names_no_task_is_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidRequest) as caught:
        declared(b"cooking", {})
    assert "code" in caught.value.hint
    assert "cooking" not in caught.value.message


@given(st.text(max_size=3_000) | st.text(alphabet='\u4f60\U0001f600\\"x', max_size=3_000))
def test_no_more_than_two_windows_are_ever_looked_at(text: str) -> None:
    for ascii_only in (True, False):
        content = msgspec.Raw(json.dumps(text, ensure_ascii=ascii_only).encode("utf-8", "replace"))
        head, tail = windows_of_content(content)
        size = len(head.encode()) + len(tail.encode())
        assert size <= 2 * WINDOW_BYTES
        assert text.startswith(head) or "\ufffd" in head
        whole = len(text.encode("utf-8", "replace")) <= 2 * WINDOW_BYTES
        assert not whole or len(json.dumps(text)) > WHOLE_BYTES_MAX or (head, tail) == (text, "")
