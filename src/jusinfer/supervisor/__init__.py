"""The supervisor: starts the processes, watches them, and stops them in order."""
