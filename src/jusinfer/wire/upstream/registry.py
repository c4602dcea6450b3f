"""The provider APIs besides Chat Completions, by their name in the settings."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from jusinfer.wire.interfaces import ProviderApi
from jusinfer.wire.upstream.anthropic.response import AnthropicProviderApi
from jusinfer.wire.upstream.workers_ai import WorkersAiProviderApi

PROVIDER_APIS: Final[Mapping[str, ProviderApi]] = MappingProxyType(
    {"anthropic": AnthropicProviderApi(), "workers_ai": WorkersAiProviderApi()}
)
