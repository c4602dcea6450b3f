"""All tables of cases together."""

from collections.abc import Iterator
from typing import Final

from tests.golden import (
    cases_answers_chat,
    cases_answers_odd,
    cases_answers_others,
    cases_chat,
    cases_messages,
    cases_others,
    cases_responses,
    cases_stop_words,
)
from tests.golden.case import Case

TABLES: Final = (
    cases_chat,
    cases_responses,
    cases_messages,
    cases_others,
    cases_answers_chat,
    cases_answers_odd,
    cases_answers_others,
    cases_stop_words,
)


def cases() -> Iterator[Case]:
    """Give every case."""
    for table in TABLES:
        yield from table.cases()
