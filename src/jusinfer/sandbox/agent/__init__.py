"""The model behind a coding agent: calls the agent's own tools by a script, and quotes them."""
