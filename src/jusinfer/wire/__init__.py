"""Translations between callers' and upstreams' provider APIs and the neutral types."""
