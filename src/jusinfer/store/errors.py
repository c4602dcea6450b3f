"""What can go wrong with the store, in words for an operator."""


class StoreError(Exception):
    """The database cannot be used; the text says what to do."""
