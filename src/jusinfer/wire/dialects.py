"""The dialects that upstreams may speak besides Chat Completions, by the name in their settings."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from jusinfer.wire.anthropic_dialect import AnthropicDialect
from jusinfer.wire.pivot import Dialect
from jusinfer.wire.workers_ai import WorkersAiDialect

DIALECTS: Final[Mapping[str, Dialect]] = MappingProxyType(
    {"anthropic": AnthropicDialect(), "workers_ai": WorkersAiDialect()}
)
