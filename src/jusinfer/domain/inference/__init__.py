"""The life of one inference request, as state machines without I/O."""
