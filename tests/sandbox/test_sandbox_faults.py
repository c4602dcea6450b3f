import pytest

from jusinfer.sandbox.faults import KNOWN, REMEMBERED_MAX, Faults
from jusinfer.sandbox.validation import Refused


def test_a_model_of_any_other_name_has_no_fault() -> None:
    assert Faults().choose("gpt-4o-mini", None, None, "").names == frozenset()


def test_the_models_name_carries_faults_and_options() -> None:
    fault = Faults().choose("sandbox/cut+slow?after=3&ms=10", None, None, "")
    assert fault.names == {"cut", "slow"}
    assert fault.has("nothing", "slow")
    assert fault.number("after", 5) == 3
    assert fault.number("code", 7) == 7


def test_an_option_without_a_value_is_a_flag() -> None:
    fault = Faults().choose("sandbox/stall?before", None, None, "")
    assert fault.flag("before")
    assert not fault.flag("forever")
    assert not Faults().choose("sandbox/stall?before=0", None, None, "").flag("before")


def test_the_header_goes_before_the_body_and_the_body_before_the_name() -> None:
    faults = Faults()
    member = {"fault": "html", "code": 502, "quota": True}
    by_header = faults.choose("sandbox/echo", "slow?ms=1", member, "")
    by_member = faults.choose("sandbox/echo", None, member, "")
    assert by_header.names == {"slow"}
    assert by_member.names == {"html"}
    assert (by_member.number("code", 0), by_member.flag("quota")) == (502, True)


def test_the_bodys_fault_may_hold_its_options_too() -> None:
    fault = Faults().choose("m", None, {"fault": "cut?after=2", "clean": True}, "")
    assert (fault.names, fault.number("after", 0), fault.flag("clean")) == ({"cut"}, 2, True)


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ("sandbox/nope", "unknown_fault"),
        ("sandbox/cut+nope", "unknown_fault"),
        ("sandbox/cut?nope=1", "unknown_option"),
        ("sandbox/cut?after=x", "bad_option"),
        ("sandbox/cut?after=-1", "bad_option"),
        ("sandbox/big?tokens=99999999", "bad_option"),
        ("sandbox/cut?rate=2", "bad_option"),
        ("sandbox/cut?rate=x", "bad_option"),
        ("sandbox/like?as=nobody", "bad_option"),
    ],
)
def test_what_is_misspelt_is_refused(asked: str, code: str) -> None:
    with pytest.raises(Refused) as caught:
        Faults().choose(asked, None, None, "")
    assert caught.value.status == 400
    assert caught.value.body["error"]["code"] == code


def test_first_strikes_so_many_times_for_each_scope() -> None:
    faults = Faults()
    model = "sandbox/status?code=500&first=2"
    first = [faults.choose(model, None, None, "a").has("status") for _ in range(4)]
    assert first == [True, True, False, False]
    assert faults.choose(model, None, None, "b").has("status")
    faults.reset()
    assert faults.choose(model, None, None, "a").has("status")


def test_rate_strikes_a_part_and_the_same_part_again() -> None:
    model = "sandbox/status?rate=0.3&seed=7"

    def struck() -> list[bool]:
        faults = Faults()
        return [faults.choose(model, None, None, "").has("status") for _ in range(400)]

    assert struck() == struck()
    assert 80 < sum(struck()) < 160


def test_rates_of_none_and_all() -> None:
    faults = Faults()
    assert not faults.choose("sandbox/cut?rate=0", None, None, "").names
    assert faults.choose("sandbox/cut?rate=1", None, None, "").names


def test_memory_of_scopes_is_bounded() -> None:
    faults = Faults()
    for number in range(REMEMBERED_MAX + 50):
        faults.choose("sandbox/cut?first=1", None, None, str(number))
    assert len(faults._asked) == REMEMBERED_MAX


def test_n_counts_tokens_unless_the_fault_counts_something_else() -> None:
    faults = Faults()
    assert faults.choose("sandbox/tokens?n=7", None, None, "").tokens(16) == 7
    assert faults.choose("sandbox/keepalive?n=7", None, None, "").tokens(16) == 16
    assert faults.choose("sandbox/keepalive?n=7&tokens=3", None, None, "").tokens(16) == 3


def test_every_fault_says_what_it_does() -> None:
    assert all(what and what == what.strip() for what in KNOWN.values())
