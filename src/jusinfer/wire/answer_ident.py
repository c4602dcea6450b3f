"""How an answer names itself, in each client API."""

from typing import Final

import msgspec

GENERATION: Final = "gen-"


class AnswerIdent(msgspec.Struct, frozen=True):
    """The id of a completion, when it began (seconds since 1970), its public model, its choices.

    Time and model stand in where a provider names none that can be believed. `takes_function_call`
    says that the client offered `functions`, so that it knows the old form of a call.
    """

    completion_id: str
    created: int
    model: str
    choice_count: int = 1
    takes_function_call: bool = True

    @property
    def chat_id(self) -> str:
        """The id of a chat completion and of each of its chunks."""
        return GENERATION + self.completion_id
