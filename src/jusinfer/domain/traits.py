"""The declared traits of a request: all that the router may see, with no text in it."""

import msgspec


class Traits(msgspec.Struct, frozen=True):
    """Facts a route may depend on. Token counts are estimates; the bound is never exceeded."""

    input_tokens: int
    input_tokens_max: int
    output_tokens_max: int | None
    message_count: int
    tool_count: int = 0
    has_images: bool = False
    has_audio: bool = False
    needs_json_schema: bool = False
    has_reasoning_hint: bool = False
    reasoning_effort: str = ""
    is_stream: bool = False
    image_count: int = 0
