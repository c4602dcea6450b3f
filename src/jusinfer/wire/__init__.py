"""Translations between clients' and upstreams' provider APIs and the neutral types."""
