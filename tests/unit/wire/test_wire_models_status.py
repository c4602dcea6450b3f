"""Lists of models, and how upstreams do."""

import json

import pytest

from jusinfer.domain.catalog import Capability, Model, Price, Route, Upstream, UpstreamFacts
from jusinfer.wire.models_shape import model_row, per_token
from jusinfer.wire.status import status_json, status_page, worst

FACTS = UpstreamFacts("eu", "DE", 0, trains_on_prompts=False, is_zdr=True)


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
    assert worst(set()) == worst({"up"}) == "up"
    assert worst({"up", "down"}) == "partly"
    assert worst({"trying", "down"}) == "trying"
    assert worst({"down"}) == "down"
    kind, body = status_json({"a": "up", "b": "down"})
    assert kind == b"application/json"
    assert json.loads(body) == {"status": "partly", "upstreams": {"a": "up", "b": "down"}}
    _, page = status_page({"<a>": "down"})
    assert b"&lt;a&gt;" in page
    assert b"not answering" in page
    assert b"No upstream" in status_page({})[1]
