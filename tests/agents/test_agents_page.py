"""The page of agents: every agent that is run has settings there, and no other."""

import argparse
import re
from typing import Any

import pytest
from tools.agents.__main__ import show, spread, untried
from tools.agents.install import SCENARIOS, agents, libraries
from tools.agents.odd import ROOT, SCRIPTS
from tools.agents.page import KEY, MODEL, PAGE, URL, Recipe, recipes
from tools.agents.product import providers_for
from tools.agents.runs import Done, Run, judge

from jusinfer.sandbox.agent.script import KINDS

TEXT = PAGE.read_text(encoding="utf-8")
RECIPES = recipes(TEXT)


def test_the_page_and_the_run_know_the_same_agents() -> None:
    assert {recipe.agent for recipe in RECIPES} == set(agents())


def test_a_library_is_played_by_a_script_and_is_no_agent() -> None:
    assert libraries()
    assert not set(libraries()) & set(agents())
    assert set(libraries()) <= set(SCRIPTS) <= set(libraries()) | set(agents())
    assert all((ROOT / script).is_file() for _, script in SCRIPTS.values())


def test_every_block_is_part_of_a_recipe() -> None:
    infos = re.findall(r"^```(\w+.*)$", TEXT, re.MULTILINE)
    assert all(re.fullmatch(r"\w+ agent=\S+ (api|file)=\S+", info) for info in infos)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: f"{recipe.agent}-{recipe.api}")
def test_a_recipe_holds_what_the_run_puts_in_place(recipe: Recipe) -> None:
    whole = recipe.script + "".join(text for _, text in recipe.files)
    assert URL in whole
    assert KEY in whole
    assert MODEL in whole
    filled = recipe.filled("http://here", "key", "a/b")
    whole = filled.script + "".join(text for _, text in filled.files)
    assert "http://here" in whole
    assert not any(word in whole for word in (URL, KEY, MODEL))
    assert "$TASK" in recipe.script


def test_the_scenarios_are_the_sandboxs_scripts() -> None:
    assert set(SCENARIOS) == {kind or "plain" for kind in KINDS}
    for agent in agents().values():
        assert {name for name, _ in agent.cannot} == set(SCENARIOS) - set(agent.scenarios)
        assert all(reason for _, reason in agent.cannot)
        assert "plain" in agent.scenarios
        assert re.compile(agent.overflow)
        assert re.search(r"\d", agent.version)


def test_the_short_set_goes_each_way_once_and_tries_each_scenario_of_each_agent() -> None:
    runs = [
        Run(agent, recipe, provider, scenario)
        for recipe in RECIPES
        for agent in [agents()[recipe.agent]]
        for provider in providers_for(recipe.api)
        for scenario in agent.scenarios
    ]
    kept = spread(runs)
    assert [run for run in kept if run.scenario == "plain"] == [
        run for run in runs if run.scenario == "plain"
    ]
    others = [(run.agent.name, run.scenario) for run in kept if run.scenario != "plain"]
    assert sorted(others) == sorted(
        (agent.name, scenario)
        for agent in agents().values()
        for scenario in set(agent.scenarios) - {"plain"}
    )
    for agent in agents().values():
        own = [run for run in kept if run.agent == agent and run.scenario != "plain"]
        ways = {(run.recipe.api, run.provider) for run in runs if run.agent == agent}
        assert len({(run.recipe.api, run.provider) for run in own}) == min(len(own), len(ways))


def test_a_scenario_that_an_agent_cannot_do_is_a_row_with_its_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    aider = agents()["aider"]
    recipe = next(recipe for recipe in RECIPES if recipe.agent == "aider")
    chosen = argparse.Namespace(scenario=["image", "plain"])
    rows = untried(chosen, [Run(aider, recipe, "chat", "plain")])
    assert [(row[0], row[4]) for row in rows] == [("aider", "image")]
    show([], rows, {})
    shown = capsys.readouterr().out
    assert "| aider |" in shown
    assert f"| image | not tried | {dict(aider.cannot)['image']} |" in shown


def _run(scenario: str, **changed: Any) -> Run:
    return Run(agents()["codex"]._replace(**changed), RECIPES[0], "chat", scenario)


PROOF = "proof-A-42"
GOOD = Done(0, f"The tool said: {PROOF}", f"{PROOF}\n")


@pytest.mark.parametrize(
    ("run", "done", "reason"),
    [
        (_run("plain"), GOOD, ""),
        (_run("plain"), GOOD._replace(code=1), "exit 1"),
        (_run("plain"), GOOD._replace(code=None), "no end in time"),
        (_run("plain"), GOOD._replace(proof=""), "the file is not there"),
        (_run("plain"), GOOD._replace(output="Done."), "is not in the answer"),
        (_run("image"), GOOD, "the image did not arrive"),
        (_run("image"), GOOD._replace(output=f"{PROOF} (image-seen)"), ""),
        (_run("long"), GOOD, "is not whole"),
        (_run("cut", cut=(RECIPES[0].api,)), GOOD, ""),
        (_run("cut", cut=()), GOOD, "a cut stream passed for an answer"),
        (_run("cut", cut=()), Done(1, "Error: closed", ""), ""),
        (_run("cut", cut=()), Done(1, "All done.", ""), "a cut stream passed for an answer"),
        (_run("context"), GOOD, "the prompt had 0 characters"),
        (_run("context"), GOOD._replace(output=f"{PROOF} prompt-characters=150001"), ""),
        (_run("overflow", overflow="ran out"), Done(1, "it ran out of room", ""), ""),
        (_run("overflow", overflow="ran out"), Done(1, '"message":"no"', ""), "recognised: no"),
    ],
)
def test_a_run_is_judged_by_what_can_be_seen(run: Run, done: Done, reason: str) -> None:
    said = judge(run, done, PROOF)
    assert reason in said
    assert bool(said) is bool(reason)
