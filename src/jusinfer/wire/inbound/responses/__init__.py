"""OpenAI Responses as a client API."""
