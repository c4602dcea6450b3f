import pytest

from jusinfer.domain import sandbox_names
from jusinfer.domain.errors import InvalidRequest
from jusinfer.domain.sandbox_names import sandbox_name
from jusinfer.sandbox import faults, provider_quirks


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("sandbox/echo", "sandbox/echo"),
        ("sandbox/slow+cut?ms=5&after=3", "sandbox/cut+slow?after=3&ms=5"),
        ("sandbox/cut+cut", "sandbox/cut"),
        ("sandbox/stall?before", "sandbox/stall?before"),
        ("sandbox/stall?before=head", "sandbox/stall?before=head"),
        ("sandbox/status?code=503&err=server_error", "sandbox/status?code=503&err=server_error"),
        ("sandbox/wrong_length?by=-10", "sandbox/wrong_length?by=-10"),
        ("sandbox/status?rate=0.3&seed=7", "sandbox/status?rate=0.3&seed=7"),
        ("sandbox/like?as=openrouter", "sandbox/like?as=openrouter"),
    ],
)
def test_a_name_is_given_in_one_form(name: str, canonical: str) -> None:
    assert sandbox_name(name) == canonical
    assert sandbox_name(canonical) == canonical


@pytest.mark.parametrize(
    "name",
    [
        "sandbox/echo My patient Jane",
        "sandbox/Jane",
        "sandbox/echo\n",
        "sandbox/echo\x1b]0;pwned\x07",
        "sandbox/echo?n=3\n",
        "sandbox/echo?n=x",
        "sandbox/echo?n=007",
        "sandbox/echo?n=٣",
        "sandbox/echo?n=200001",
        "sandbox/echo?n=3&n=4",
        "sandbox/echo?jane=1",
        "sandbox/status?message=Jane",
        "sandbox/status?err=jane",
        "sandbox/status?type=jane",
        "sandbox/status?seed=jane",
        "sandbox/status?retry_after=soon",
        "sandbox/redirect?to=http://jane.example",
        "sandbox/status?quota=jane",
        "sandbox/stall?before=jane",
        "sandbox/status?rate=0.12345678",
        "sandbox/status?finish=Jane",
        "sandbox/echo?n=3?n=4",
        "sandbox/" + "+".join(sorted(sandbox_names.FAULTS)),
    ],
)
def test_a_name_with_anything_else_is_refused_and_says_how_to_mend_it(name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        sandbox_name(name)
    assert caught.value.param == "model"
    assert "sandbox.md" in caught.value.hint


def test_the_grammar_is_the_sandboxs_own() -> None:
    assert faults.KNOWN.keys() == sandbox_names.FAULTS
    assert faults.FLAGS == sandbox_names.FLAGS
    for option, bounds in faults.NUMBERS.items():
        assert sandbox_names.NUMBERS[option] == bounds
    assert sandbox_names.WORDS["as"] == provider_quirks.KNOWN
    named = {*sandbox_names.NUMBERS, *sandbox_names.WORDS, *sandbox_names.FLAGS, "rate"}
    # What is free text can be said in the body only.
    assert {*faults.NUMBERS, *faults.FLAGS, *faults.WORDS} - named == {"message", "to"}
    assert named <= {*faults.NUMBERS, *faults.FLAGS, *faults.WORDS}
