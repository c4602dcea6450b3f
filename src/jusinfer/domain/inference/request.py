"""The neutral completion request: the only type that holds a client's content."""

from typing import Never

import msgspec

from jusinfer.domain.routing.features import RequestFeatures
from jusinfer.domain.routing.preferences import NO_PREFERENCES, Preferences


class MemberNote(msgspec.Struct, frozen=True):
    """A member of a request that providers of some APIs cannot be sent, and why."""

    path: str
    columns: frozenset[str]
    why: str


class CompletionRequest:
    """A decoded request; `fields` holds every top-level member as raw JSON.

    `notes` are the members that not every provider can be sent; `has_foreign_turns` tells that
    the conversation holds what only the provider of another API can take back, `has_developer`
    that a developer speaks in it. `last_user` is what the last message of the user holds, kept only
    where the router may choose.

    It cannot be printed, pickled or copied by accident: its repr shows sizes only.
    """

    __slots__ = (
        "body_bytes",
        "choice_count",
        "fields",
        "has_developer",
        "has_foreign_turns",
        "is_stream",
        "last_user",
        "model",
        "notes",
        "output_tokens_max",
        "preferences",
        "traits",
        "wants_cost",
        "wants_route",
        "wants_usage",
    )

    def __init__(  # noqa: PLR0913 (one value for each thing a request declares)
        self,
        *,
        model: str,
        is_stream: bool,
        wants_usage: bool,
        wants_cost: bool = False,
        output_tokens_max: int | None,
        choice_count: int,
        fields: dict[str, msgspec.Raw],
        traits: RequestFeatures,
        body_bytes: int,
        preferences: Preferences = NO_PREFERENCES,
        last_user: msgspec.Raw | None = None,
        wants_route: bool = False,
    ) -> None:
        self.preferences = preferences
        self.notes: tuple[MemberNote, ...] = ()
        self.has_foreign_turns = False
        self.has_developer = False
        self.last_user = last_user
        self.wants_route = wants_route
        self.model = model
        self.is_stream = is_stream
        self.wants_usage = wants_usage
        self.wants_cost = wants_cost
        self.output_tokens_max = output_tokens_max
        self.choice_count = choice_count
        self.fields = fields
        self.traits = traits
        self.body_bytes = body_bytes

    def with_fields(self, fields: dict[str, msgspec.Raw]) -> "CompletionRequest":
        """Give the same request with other members."""
        changed = CompletionRequest(
            model=self.model,
            is_stream=self.is_stream,
            wants_usage=self.wants_usage,
            wants_cost=self.wants_cost,
            output_tokens_max=self.output_tokens_max,
            choice_count=self.choice_count,
            fields=fields,
            traits=self.traits,
            body_bytes=self.body_bytes,
            preferences=self.preferences,
            last_user=self.last_user,
            wants_route=self.wants_route,
        )
        changed.notes = self.notes
        changed.has_foreign_turns = self.has_foreign_turns
        changed.has_developer = self.has_developer
        return changed

    def __repr__(self) -> str:
        """Show sizes, never content."""
        return f"CompletionRequest({len(self.fields)} fields, {self.body_bytes} bytes)"

    def __reduce__(self) -> Never:
        """Refuse to be pickled or copied."""
        raise TypeError("a completion request has no path to disk")
