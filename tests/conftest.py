"""What a test leaves open is heard in its own module, not in whichever runs at a collection."""

import gc
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from tests.effort import IS_RANDOM, examples

# A busy machine makes examples slowly: no fault of a test, whose own time-out still holds.
settings.register_profile(
    "any-machine",
    max_examples=examples(100),
    deadline=None,
    derandomize=not IS_RANDOM,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("any-machine")


def pytest_collection_finish() -> None:
    """Set aside what imports made: it stays to the end, and a sweep need not look at it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def swept() -> Iterator[None]:
    """Sweep when all else of a module is torn down: pytest then reports what was not closed."""
    yield
    gc.collect()
