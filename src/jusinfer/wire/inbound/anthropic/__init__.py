"""Anthropic Messages as a client API."""
