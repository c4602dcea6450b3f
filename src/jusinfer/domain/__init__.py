"""What is right: pure rules and values, with no I/O, no clock and no randomness."""
