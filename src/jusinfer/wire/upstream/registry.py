"""The dialects that upstreams may speak besides Chat Completions, by the name in their settings."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from jusinfer.wire.interfaces import Dialect
from jusinfer.wire.upstream.anthropic.response import AnthropicDialect
from jusinfer.wire.upstream.workers_ai import WorkersAiDialect

DIALECTS: Final[Mapping[str, Dialect]] = MappingProxyType(
    {"anthropic": AnthropicDialect(), "workers_ai": WorkersAiDialect()}
)
