"""`pytest tests/golden --golden` writes the files anew instead of comparing them."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--golden", action="store_true", help="write the golden files anew")


@pytest.fixture
def writes(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--golden", default=False))
