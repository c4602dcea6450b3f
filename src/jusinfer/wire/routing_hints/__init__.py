"""Hints of the rule table looked for in a text, of which nothing is kept."""
