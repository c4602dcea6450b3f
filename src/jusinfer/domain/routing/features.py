"""The declared traits of a request: all that the router may see, with no text in it."""

import msgspec


class CacheAffinity(msgspec.Struct, frozen=True):
    """Who served a conversation last, and what is likely in its cache there.

    The tokens are those of its last prompt; the score is that of the request by which its model
    was chosen. Whose conversation it is, is not known here.
    """

    upstream: str
    model_id: str
    cached_tokens: int = 0
    score: int = 0


class RequestFeatures(msgspec.Struct, frozen=True):
    """Facts a route may depend on. Token counts are estimates; the bound is never exceeded.

    `hints` are ids of the rule table's hints that were found, in its order; `task` is one of the
    table's tasks if the client declared it; `warm` is who holds the conversation in its cache.
    `window_tokens` are what the input takes of a window at worst, where the router chooses.
    """

    input_tokens: int
    input_tokens_max: int
    output_tokens_max: int | None
    message_count: int
    tool_count: int = 0
    has_images: bool = False
    has_audio: bool = False
    needs_json_schema: bool = False
    needs_json: bool = False
    reasoning_effort: str = ""
    is_stream: bool = False
    image_count: int = 0
    choice_count: int = 1
    hints: tuple[str, ...] = ()
    task: str = ""
    warm: CacheAffinity | None = None
    window_tokens: int = 0
