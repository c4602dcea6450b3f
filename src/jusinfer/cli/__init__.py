"""What an operator types, and the supervisor that `serve` is."""
