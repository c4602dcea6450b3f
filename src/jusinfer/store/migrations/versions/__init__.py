"""Each file is one step, named by its number and a word."""
