"""Lists of models, and how upstreams do."""

import json

import pytest

from jusinfer.domain.catalog import Capability, DataHandling, Model, Price, Route, Upstream
from jusinfer.domain.errors import InvalidRequest
from jusinfer.wire.json.anthropic_models import anthropic_members, page_of
from jusinfer.wire.json.models import model_row, per_token
from jusinfer.wire.json.status import status_json, status_page, worst_state

FACTS = DataHandling("eu", "DE", 0, trains_on_prompts=False, is_zdr=True)


@pytest.mark.parametrize(
    ("micro", "text"),
    [(0, "0"), (150_000, "0.00000015"), (1, "0.000000000001"), (2_000_000, "0.000002")],
)
def test_a_price_for_a_token_is_exact(micro: int, text: str) -> None:
    assert per_token(micro) == text


def test_a_model_is_listed_with_what_its_upstreams_state() -> None:
    price = Price(150_000, 600_000, 15_000)
    made = Model(
        "a/m",
        1000,
        100,
        (Route("u:m", "u", "m", price),),
        capabilities=frozenset({Capability.VISION, Capability.TOOLS}),
    )
    upstreams = {"u": Upstream("u", "h", 1, is_tls=True, base_path="", facts=FACTS)}
    row = json.loads(json.dumps(model_row(made, upstreams, lambda _name, _model: "up")))
    assert row["pricing"]["prompt"] == "0.00000015"
    assert row["pricing"]["input_cache_read"] == "0.000000015"
    assert row["architecture"]["input_modalities"] == ["text", "image"]
    assert "tools" in row["supported_parameters"]
    assert row["endpoints"] == [
        {
            "provider_name": "u",
            "state": "up",
            "region": "eu",
            "jurisdiction": "DE",
            "retention_days": 0,
            "trains_on_prompts": False,
            "zdr": True,
        }
    ]


def test_the_worst_state_is_said_plainly() -> None:
    assert worst_state(set()) == worst_state({"up"}) == "up"
    assert worst_state({"up", "down"}) == "partly"
    assert worst_state({"trying", "down"}) == "trying"
    assert worst_state({"down"}) == "down"
    kind, body = status_json({"a": "up", "b": "down"})
    assert kind == b"application/json"
    assert json.loads(body) == {"status": "partly", "upstreams": {"a": "up", "b": "down"}}
    _, page = status_page({"<a>": "down"})
    assert b"&lt;a&gt;" in page
    assert b"not answering" in page
    assert b"No upstream" in status_page({})[1]


SIX = [Model(f"a/{number}", 1000, 100, (), created=number) for number in range(6)]


def page(query: str) -> tuple[list[str], dict[str, object]]:
    models, marks = page_of(SIX, query)
    return [model.model_id for model in models], marks


@pytest.mark.parametrize(
    ("query", "places", "left"),
    [
        ("", "012345", ""),
        ("limit=1000", "012345", ""),
        ("limit=2", "01", "2345"),
        ("limit=2&after_id=a%2F1", "23", "45"),
        ("limit=2&after_id=a/3", "45", ""),
        ("after_id=a/5", "", ""),
        ("limit=2&before_id=a/4", "23", "01"),
        ("limit=9&before_id=a/2", "01", ""),
        ("before_id=a/0", "", ""),
        ("after_id=a/1&before_id=a/4", "23", ""),
        ("after_id=a/4&before_id=a/1", "", ""),
        ("beta=true&other=1", "012345", ""),
    ],
)
def test_a_page_says_where_it_begins_and_ends(query: str, places: str, left: str) -> None:
    names = [f"a/{place}" for place in places]
    first, last = (names[0], names[-1]) if names else (None, None)
    assert page(query) == (names, {"has_more": bool(left), "first_id": first, "last_id": last})


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=-1", "limit"),
        ("limit=", "limit"),
        ("limit=\u0661", "limit"),
        ("limit=" + "9" * 5000, "limit"),
        ("after_id=a/9", "after_id"),
        ("before_id=", "before_id"),
    ],
)
def test_a_page_that_cannot_be_is_refused_by_name(query: str, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        page_of(SIX, query)
    assert refused.value.param == param


def test_a_model_has_what_anthropics_clients_read() -> None:
    made = anthropic_members(Model("a/m", 1000, 100, (), created=1_764_300_000))
    assert made["type"] == "model"
    assert made["created_at"] == "2025-11-28T03:20:00Z"
    assert (made["max_input_tokens"], made["max_tokens"]) == (1000, 100)
    unknown = anthropic_members(Model("a/m", 1000, 100, ()))
    assert unknown["created_at"] == "1970-01-01T00:00:00Z"
