"""Translations between callers' and upstreams' dialects and the neutral types."""
