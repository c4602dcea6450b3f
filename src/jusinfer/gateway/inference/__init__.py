"""The I/O of an inference request: what `domain/inference` decides is done here."""
