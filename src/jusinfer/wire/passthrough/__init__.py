"""A client API that the provider speaks too: bytes pass, money and privacy are read."""
