"""Answers that ended at a word, and what providers say of it."""

from collections.abc import Iterator
from typing import Any, Final

from tests.golden.answers import chat
from tests.golden.asks import ask
from tests.golden.case import Answer, Case

Json = dict[str, Any]
STOP_WORDS: Final[dict[str, tuple[str, Json, list[str]]]] = {
    "stop_word": ("The word that ended it, as vLLM says.", {"stop_reason": "END"}, ["###", "END"]),
    "stop_word_matched": (
        "The word that ended it, as SGLang says.",
        {"matched_stop": "END"},
        ["###", "END"],
    ),
    "stop_word_native": (
        "An end at the only word.",
        {"native_finish_reason": "stop_sequence"},
        ["END"],
    ),
    "stop_word_one_of": (
        "An end at one of two words.",
        {"native_finish_reason": "stop_sequence"},
        ["###", "END"],
    ),
    "stop_word_number": ("An end at a token.", {"stop_reason": 151645}, ["END"]),
    "stop_word_foreign": (
        "A word that nobody asked for.",
        {"stop_reason": "end_turn", "matched_stop": "</s>"},
        ["END"],
    ),
}


def cases() -> Iterator[Case]:
    """All of them."""
    for name, (note, said, words) in STOP_WORDS.items():
        answer = chat()
        whole = {**answer.whole, "choices": [{**answer.whole["choices"][0], **said}]}
        last = {**answer.events[-2]}
        last["choices"] = [{**last["choices"][0], **said}]
        events = (*answer.events[:-2], last, answer.events[-1])
        for client, member in (("messages", "stop_sequences"), ("chat", "stop")):
            yield Case(
                client=client,
                provider="chat",
                name=name,
                note=note,
                request=ask(client, **{member: words}),
                answer=Answer(whole=whole, events=events),
            )
