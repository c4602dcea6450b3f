"""Proves the money path: load at the edge of balances, faults, and processes killed at random."""
