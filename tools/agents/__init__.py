"""Real agents, installed from their registries and run against the product."""
