"""What the benchmark reads of wrk's words."""

import pytest
from bench.load import RequestsFailed, judged

GOOD = "  4000 requests in 2.00s, 1MB read\n"
SOCKETS = "  Socket errors: connect 0, read 3, write 0, timeout 1\n"
REFUSED = "  Non-2xx or 3xx responses: 7\n"


def test_requests_are_counted_and_errors_of_sockets_noted() -> None:
    assert judged(GOOD, lambda: "not asked") == (4000, "")
    count, note = judged(GOOD + SOCKETS, lambda: "not asked")
    assert count == 4000
    assert "read 3" in note


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (GOOD + REFUSED, "7 of 4000 requests failed; one more: 402"),
        ("  0 requests in 2.00s, 0B read\n", "no request was answered in time; one more: 402"),
        ("  0 requests in 2.00s\n" + SOCKETS, "read 3, write 0, timeout 1; one more: 402"),
        ("nothing that is known", "no request was answered in time"),
    ],
)
def test_requests_that_fail_have_no_figure(said: str, told: str) -> None:
    with pytest.raises(RequestsFailed) as failed:
        judged(said, lambda: "one more: 402")
    assert told in str(failed.value)
