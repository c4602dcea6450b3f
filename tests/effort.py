"""How many examples a property test tries: all of them in `make test`, a fourth in `make check`."""

import os
from typing import Final

QUICK: Final = os.environ.get("TEST_EFFORT") == "quick"
SHARE: Final = 4


def examples(full: int) -> int:
    """Give the number of examples to try of `full`."""
    return max(1, full // SHARE) if QUICK else full
