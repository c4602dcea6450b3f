"""An address of another machine says how TLS is used."""

import pytest

from jusinfer.store.addresses import require_privacy
from jusinfer.store.errors import StoreError

NEAR = (
    "postgresql:///x",
    "postgresql:///x?host=/var/run/postgresql",
    "postgresql://%2Fvar%2Frun/x",
    "postgresql://me:word@localhost/x",
    "postgresql://me@127.0.0.1:5432/x",
    "postgresql://[::1]:5432/x",
    "postgresql://localhost:1,127.0.0.2:2/x",
    "postgresql:///x?hostaddr=::1",
    "postgresql://db.example/x?sslmode=verify-full",
    "postgresql://db.example/x?sslmode=disable",
)
FAR = (
    "postgresql://db.example/x",
    "postgresql://me:w%40rd@10.0.0.1:5432/x",
    "postgresql://localhost,db.example/x",
    "postgresql:///x?host=db.example",
    "postgresql://localhost/x?hostaddr=10.0.0.1",
    "postgresql://[2001:db8::1]/x",
    "postgresql://localhost.example/x",
    "postgresql://db.example/x?sslrootcert=/ca.pem",
)


@pytest.mark.parametrize("dsn", NEAR)
def test_what_is_near_or_says_it_is_taken(dsn: str) -> None:
    require_privacy(dsn)


@pytest.mark.parametrize("dsn", FAR)
def test_what_is_far_and_silent_is_refused(dsn: str) -> None:
    with pytest.raises(StoreError, match="sslmode=verify-full") as refused:
        require_privacy(dsn)
    assert "w%40rd" not in str(refused.value)
