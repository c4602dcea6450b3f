"""Anthropic Messages as a provider API."""
