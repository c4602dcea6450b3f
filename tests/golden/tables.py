"""All tables of cases together."""

from collections.abc import Iterator

from tests.golden import cases_chat, cases_messages, cases_others, cases_responses
from tests.golden.case import Case


def cases() -> Iterator[Case]:
    """Give every case."""
    for table in (cases_chat, cases_responses, cases_messages, cases_others):
        yield from table.cases()
