"""Measures the whole product beside a bare nginx proxy, in the same minutes on the same machine."""
