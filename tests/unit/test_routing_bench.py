"""The evaluation of the rules: measures worked out by hand, and outcomes where there are any."""

import gzip
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import msgspec
import pytest
from bench.routing import outcomes
from bench.routing.fitting import BELIEFS, Fit, fired
from bench.routing.measures import Point, curve, draws, measure, order_of, quality_at, upper_hull
from bench.routing.neutrality import neutrality, unwrapped
from bench.routing.outcomes import MissingData, Outcome, load
from bench.routing.report import CHEAPEST, LEFT_OUT, LITELLM_DOLLAR, OURS, measured
from bench.routing.rules import (
    Asked,
    Features,
    LiteLLM,
    Missing,
    TableRule,
    asked,
    cheapest_first,
    length_only,
    score,
)
from bench.routing.writing import tables, write

from jusinfer import rules

TABLE = rules.builtin().table
DATA = os.environ.get("ROUTING_DATA", "")
MICRO = 1_000_000


def row(weak: float, strong: float, extra: int = 1, prompt: str = "x", number: int = 0) -> Outcome:
    cost = MICRO * extra
    return Outcome(number, "a -> b", prompt, 10, 1, weak, strong, 0, cost, 0, cost)


# ---------------------------------------------------------------- measures, by hand


def test_a_random_mix_is_a_line_and_an_oracle_is_a_corner() -> None:
    rows = [row(0, 1), row(1, 1), row(0, 0), row(1, 1)]
    mix = measure(curve(rows, order_of([0.0] * 4), None))
    assert mix.apgr == 0.5
    assert mix.aiq == pytest.approx(0.625)
    assert mix.cpt50 == pytest.approx(0.5)
    assert mix.at == pytest.approx((0.55, 0.5875, 0.625))
    best = measure(curve(rows, order_of([9.0, 0.0, 0.0, 0.0]), None))
    # Up to a quarter of the cost from .5 to .75, and level from there on.
    assert best.aiq == pytest.approx(0.25 * 0.625 + 0.75 * 0.75)
    assert best.apgr == pytest.approx(0.25 * 0.5 + 0.75)
    assert best.cpt80 == pytest.approx(0.2)
    assert best.at[0] == pytest.approx(0.7)


def test_cheap_upgrades_are_worth_more_than_dear_ones() -> None:
    rows = [row(0, 1, extra=9), row(0, 1, extra=1)]
    asks = [asked(one) for one in rows]
    cheap = measure(curve(rows, order_of([cheapest_first(one) for one in asks]), None))
    dear = measure(curve(rows, order_of([float(one.features.cost_strong) for one in asks]), None))
    assert cheap.aiq == pytest.approx(0.1 * 0.25 + 0.9 * 0.75)
    assert dear.aiq == pytest.approx(0.5)


def test_equal_scores_move_together() -> None:
    rows = [row(0, 1), row(1, 0), row(0, 1)]
    assert order_of([1.0, 1.0, 0.0]) == [[0, 1], [2]]
    points = curve(rows, order_of([1.0, 1.0, 0.0]), None)
    assert [point.quality for point in points] == pytest.approx([1 / 3, 1 / 3, 2 / 3])
    weighted = curve(rows, order_of([1.0, 1.0, 0.0]), [0, 0, 3])
    assert [point.quality for point in weighted] == [0.0, 1.0]


def test_a_hull_never_falls_and_a_worse_strong_model_gains_nothing() -> None:
    points = [Point(0.0, 1.0, 0.5), Point(0.5, 2.0, 0.9), Point(1.0, 3.0, 0.4)]
    hull = upper_hull(points)
    assert [point.quality for point in hull] == [0.5, 0.9, 0.9]
    assert quality_at(hull, 0.0) == 0.5
    assert quality_at(hull, 1.5) == pytest.approx(0.7)
    assert quality_at(hull, 99.0) == 0.9
    alike = measure([Point(0.0, 1.0, 0.5), Point(1.0, 1.0, 0.5)])
    assert (alike.aiq, alike.apgr) == (0.5, 0.5)


def test_draws_are_always_the_same_and_as_many_as_rows() -> None:
    assert draws(20, 3) == draws(20, 3)
    assert all(sum(weights) == 20 for weights in draws(20, 5))


# ---------------------------------------------------------------- rules


def ask(prompt: str, extra: int = 1_000, tin: int = 40, **more: Any) -> Asked:
    features = Features(tin=tin, out=250, chars=len(prompt), cost_weak=0, cost_strong=extra, **more)
    return Asked(1, "a -> b", prompt, features)


def test_our_rule_is_gain_for_money() -> None:
    rule = TableRule(TABLE)
    plain, code = ask("hello there my friend"), ask("```\nx\n```")
    assert rule(code) == pytest.approx((100_000 + 3 * 30_000) / 1_000)
    assert rule(plain) == pytest.approx(100_000 / 1_000)
    assert rule(ask("```x```", extra=2_000)) == pytest.approx(rule(code) / 2)
    assert rule(ask("x", tools=6)) > rule(ask("x"))
    assert rule.decision(code, 1_000_000) == "strong"
    assert rule.decision(code, 0) == "weak"
    assert length_only(plain) > length_only(code)


def test_requests_are_ranked_by_a_callable_however_they_are_written() -> None:
    plain: dict[str, Any] = {"n": 1, "pair": "a -> b", "prompt": "```x```", "features": {}}
    plain["features"] = {"tin": 40, "out": 250, "cost_weak": 0, "cost_strong": 1_000}
    assert score(plain) == TableRule(TABLE)(ask("```x```"))
    wordy = plain | {"n": "one", "pair": ["a", "b"], "more": 1}
    wordy["features"] = plain["features"] | {"tools": [{}] * 6, "modality": ["text"], "schema": {}}
    assert score(wordy) > score(plain)


def test_requests_are_ranked_by_a_command(tmp_path: Path) -> None:
    lines = b"\n".join(msgspec.json.encode(one) for one in (ask("hello"), ask("```\nx\n```")))
    done = subprocess.run(
        [sys.executable, "-m", "bench.routing", "score"],
        input=lines + b"\n\n",
        capture_output=True,
        timeout=60,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    low, high = map(float, done.stdout.split())
    assert low < high
    bare = subprocess.run(
        [sys.executable, "-m", "bench.routing", "--data", str(tmp_path), "--quick"],
        capture_output=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert bare.returncode == 2
    assert b"is not there" in bare.stdout


def test_a_library_that_is_missing_is_said_to_be() -> None:
    if importlib.util.find_spec("litellm") is None:
        with pytest.raises(Missing, match="litellm is not installed"):
            LiteLLM(is_per_dollar=True)
    else:
        assert LiteLLM(is_per_dollar=True)(ask("why")) > 0


def test_points_are_fitted_where_it_helps() -> None:
    hard = "suppose that it is given"
    rows = [row(0, 1, prompt=hard) for _ in range(40)] + [row(1, 1) for _ in range(60)]
    rows += [row(0, 1), row(1, 0)]
    fit = Fit(TABLE)
    one = fired(rows, TABLE)
    points = fit.fit([one])
    assert points["condition"] > BELIEFS["condition"]
    assert fit.share(one, points) > fit.share(one, dict(BELIEFS))


def test_wrappings_are_taken_off() -> None:
    assert unwrapped("Question: Why?\nA. one\n(B) two\nAnswer:") == "Why?\none\ntwo"


# ---------------------------------------------------------------- a whole report


def made_up(folder: Path) -> Path:
    """Write outcomes in which code is where the strong model is better."""
    for part in outcomes.PARTS:
        (folder / part).mkdir(parents=True)
        base = {"id": "1", "contaminated": 0}
        choice = [
            base | {"domain": "d", "prompt": f"{'word ' * (n % 30)}?", "weak": n % 2, "strong": 1}
            for n in range(60)
        ]
        words = [
            base
            | {
                "prompt": f"{n} and twice as many, {n}",
                "weak": n % 2,
                "strong": 1,
                "weak_chars": 100,
                "strong_chars": 200 + n,
            }
            for n in range(60)
        ]
        words.append(words[0] | {"contaminated": 1})
        pair = outcomes.PAIRS["C"]
        mixed = [
            {
                "id": "1",
                "task": "t",
                "prompt": f"```{n}```" if n % 3 else f"hello {n}",
                "scores": {pair.weak: float(n % 3 == 0), pair.strong: 1.0},
            }
            for n in range(60)
        ]
        for name, rows in (("A", choice), ("B", words), ("C", mixed)):
            with gzip.open(folder / part / outcomes.NAMES[name], "wt", encoding="utf-8") as file:
                file.writelines(json.dumps(one) + "\n" for one in rows)
    return folder


@pytest.mark.slow
def test_a_report_is_measured_and_written(tmp_path: Path) -> None:
    report = measured(made_up(tmp_path / "data"), "check", TABLE, is_quick=False)
    assert set(report.rows) == {"A", "B", "C"}
    assert report.rows["C"][OURS].measures.aiq > report.rows["C"][CHEAPEST].measures.aiq
    assert report.signals["C"]["code"].share == pytest.approx(2 / 3)
    assert LEFT_OUT in report.rows["A"]
    page = write(report, tmp_path)
    text = page.read_text()
    assert "mean gain over random" in text
    assert "Neutrality" in tables(report)
    picture = ET.fromstring(page.with_suffix(".svg").read_text())  # noqa: S314 (our own)
    assert len(picture.findall("{http://www.w3.org/2000/svg}polyline")) >= 9
    assert all(one.p99_us >= one.p50_us > 0 for one in report.speeds)
    with pytest.raises(MissingData):
        load(tmp_path / "none", "A", "dev")
    assert len(load(tmp_path / "data", "B", "dev")) == 60


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not DATA, reason="ROUTING_DATA names no folder of paired outcomes")
def test_the_table_holds_on_outcomes_that_it_was_not_written_on() -> None:
    report = measured(Path(DATA), "check", TABLE, is_quick=True)
    for name, found in report.rows.items():
        for other in (CHEAPEST, LITELLM_DOLLAR):
            if other in found[OURS].over:
                gap, error = found[OURS].over[other]
                assert gap >= -error, (name, other, gap, error)
    mean = sum(found[OURS].headroom for found in report.rows.values()) / len(report.rows)
    assert mean >= 0.20
    for name, changes in report.neutral.items():
        for change, neutral in changes.items():
            assert neutral.flips <= 0.10, (name, change)


def test_neutrality_is_measured_at_one_dial(tmp_path: Path) -> None:
    rows = load(made_up(tmp_path / "data"), "A", "dev")
    found = neutrality(rows, "A", TableRule(TABLE))
    assert found["lower case"].flips == 0
    assert found["upper case"].after == found["upper case"].before
    assert all(0 <= one.flips <= 1 for one in found.values())
