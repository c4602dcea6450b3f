"""Official clients must be closed by whoever opens them."""

import anthropic._base_client
import openai._base_client
import pytest

# Their finalisers close what was forgotten, but in rings the collector may come to the socket
# first, which is then an unclosed socket in whatever test runs. Without them it always is one.
FORGIVING = (
    anthropic._base_client.AsyncHttpxClientWrapper,
    anthropic._base_client.SyncHttpxClientWrapper,
    openai._base_client.AsyncHttpxClientWrapper,
    openai._base_client.SyncHttpxClientWrapper,
)


@pytest.fixture(autouse=True, scope="session")
def nobody_closes_for_us() -> None:
    for kind in FORGIVING:
        if "__del__" in vars(kind):
            del kind.__del__
