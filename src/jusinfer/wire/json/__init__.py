"""JSON documents of our own: models, routes, status, account."""
