"""From journal to ledger: posts what the gateway wrote down, exactly once."""
