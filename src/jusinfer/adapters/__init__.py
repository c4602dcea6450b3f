"""The outside world behind small functions: clocks and ids, and later other companies."""
