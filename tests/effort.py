"""Which examples a property test tries, and how many.

All of them in `make test`, a fourth in `make check`; the same ones each time, so that a run tells
of the code and not of luck. `TEST_EXAMPLES=random` looks for others, by `--hypothesis-seed`.
"""

import os
from typing import Final

QUICK: Final = os.environ.get("TEST_EFFORT") == "quick"
IS_RANDOM: Final = os.environ.get("TEST_EXAMPLES") == "random"
SHARE: Final = 4


def examples(full: int) -> int:
    """Give the number of examples to try of `full`."""
    return max(1, full // SHARE) if QUICK else full
