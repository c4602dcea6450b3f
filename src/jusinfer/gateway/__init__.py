"""The data plane: all the I/O of a completion, and none of its judgements."""
