"""The short form of `make prove-money`."""

import pytest
from tools.prove_money.__main__ import prove


@pytest.mark.timeout(400)
def test_the_books_are_right_after_faults_and_kills() -> None:
    assert prove(seconds=12, workers=3, tenants=30, clients=16, seed=20_261_124) == []
