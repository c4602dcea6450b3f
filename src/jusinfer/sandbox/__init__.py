"""Stands in for upstreams over real HTTP; shares no code with what it is used to test."""
