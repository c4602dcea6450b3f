"""What the router would choose, or chose, and why: from traits, a request, or a completion."""

import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from jusinfer.cli import output
from jusinfer.cli.opening import opened
from jusinfer.cli.operate import ConfigFile, DataDir, Json, ModeOption, catalog_of
from jusinfer.cli.output import OperatorError
from jusinfer.cli.routing_rules import files_of, found_in
from jusinfer.domain.catalog import Catalog
from jusinfer.domain.identity import Mode
from jusinfer.domain.money import charge_nano, format_usd
from jusinfer.domain.routing.explanation import sentence, sentence_of
from jusinfer.domain.routing.features import RequestFeatures
from jusinfer.domain.routing.objective import RoutingPolicy
from jusinfer.domain.routing.plan import RoutePlan, read_codes
from jusinfer.domain.routing.router import Router
from jusinfer.domain.routing.rules import EFFORTS, TASKS, RuleTable
from jusinfer.domain.routing.rules_parser import RuleFileError
from jusinfer.domain.upstream_health import HealthyView, zero_random
from jusinfer.services import charge_audit
from jusinfer.wire.inbound.openai_chat import decode_request
from jusinfer.wire.inbound.task_hint import hinted
from jusinfer.wire.routing_hints.scanner import HintScanner

REQUEST_BYTES_MAX: Final = 20 * 1024 * 1024
route_app = typer.Typer(help="Say which model would be chosen, and why; nothing is called.")
RulesFile = Annotated[
    str | None, typer.Option("--rules", help="A table to try in place of the one in force.")
]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(route_app, name="route")


@route_app.callback(invoke_without_command=True)
def from_features(  # noqa: PLR0913, PLR0917 (one for each trait)
    context: typer.Context,
    model: Annotated[str, typer.Option(help="What a request would name.")] = "jusinfer/auto",
    prompt_tokens: Annotated[int, typer.Option(min=1)] = 100,
    max_tokens: Annotated[int | None, typer.Option(min=1)] = None,
    tools: Annotated[int, typer.Option(min=0, help="How many tools are offered.")] = 0,
    effort: Annotated[str, typer.Option(help="reasoning_effort")] = "",
    task: Annotated[str, typer.Option(help=f"A declared task: {', '.join(TASKS)}.")] = "",
    hint: Annotated[list[str] | None, typer.Option(help="A hint's id; may be repeated.")] = None,
    mode: ModeOption = Mode.TEST,
    rules: RulesFile = None,
    config_file: ConfigFile = None,
    data_dir: DataDir = None,
    *,
    schema: Annotated[bool, typer.Option("--schema", help="A JSON schema is asked for.")] = False,
    images: Annotated[bool, typer.Option("--images", help="Images are sent.")] = False,
    as_json: Json = False,
) -> None:
    """Choose by traits that are given one by one."""
    if context.invoked_subcommand is not None:
        return
    with output.faults(as_json=as_json):
        table = found_in(files_of(config_file, data_dir), rules).table
        for value, known in ((effort, EFFORTS), (task, TASKS)):
            if value and value not in known:
                raise OperatorError(f"{value} is not one of {', '.join(known)}")
        ids = {one.id for one in table.hint}
        for value in hint or ():
            if value not in ids:
                raise OperatorError(
                    f"there is no hint {value}; use one of {', '.join(sorted(ids))}"
                )
        traits = RequestFeatures(
            input_tokens=prompt_tokens,
            input_tokens_max=prompt_tokens,
            output_tokens_max=max_tokens,
            message_count=1,
            tool_count=tools,
            has_images=images,
            needs_json_schema=schema,
            reasoning_effort=effort,
            task=task,
            hints=tuple(hint or ()),
        )
        plan = decided(traits, model, table, catalog_of(config_file, mode))
    shown(plan, table, as_json=as_json)


@route_app.command("explain")
def explain(
    what: Annotated[
        str,
        typer.Argument(help="A completion's id, or a file with a request's JSON (`-` reads it)."),
    ],
    mode: ModeOption = Mode.TEST,
    rules: RulesFile = None,
    config_file: ConfigFile = None,
    data_dir: DataDir = None,
    *,
    as_json: Json = False,
) -> None:
    """Explain the route of a completion that was, or of a request that might be."""
    with output.faults(as_json=as_json):
        body = _request_in(what)
        if body is None:
            _explain_completion(what, config_file, data_dir, as_json=as_json)
            return
        table = found_in(files_of(config_file, data_dir), rules).table
        asked = decode_request(body)
        traits = hinted(asked, None, HintScanner(table.hint))
        plan = decided(traits, asked.model, table, catalog_of(config_file, mode))
    shown(plan, table, as_json=as_json)


def decided(traits: RequestFeatures, model: str, table: RuleTable, catalog: Catalog) -> RoutePlan:
    """Decide as a gateway would for which all is well, at the prices outside of peak hours."""
    router = Router(table, catalog)
    policy = RoutingPolicy(model)
    view = HealthyView()
    plan = router.decide(traits, policy, view, zero_random)
    return router.estimated(plan, traits, policy, view)


def shown(plan: RoutePlan, table: RuleTable, *, as_json: bool) -> None:
    """Print a plan."""
    rows: list[dict[str, output.Cell]] = [
        {
            "model": step.model.model_id,
            "upstream": step.route.upstream,
            "estimate_usd": format_usd(charge_nano(step.estimate_pico or 0)),
        }
        for step in plan.routes
    ]
    said = sentence_of(plan, table)
    says = table.sentences()
    reasons: list[dict[str, output.Cell]] = [
        {"reason": one.code, "says": says.get(one.reason_id, "")} for one in plan.reasons
    ]
    if as_json:
        output.show_json(
            {
                "sentence": said,
                "reasons": reasons,
                "score": plan.score,
                "table_version": plan.version,
                "routes": rows,
                "excluded": plan.excluded,
            }
        )
        return
    output.say(said, "")
    output.show(reasons, as_json=False, empty="")
    output.say("")
    output.show(rows, as_json=False, empty="")


def _request_in(what: str) -> bytes | None:
    """Read a request, if that is what was named."""
    if what == "-":
        return sys.stdin.buffer.read(REQUEST_BYTES_MAX)
    path = Path(what)
    if not path.is_file():
        if path.suffix or "/" in what:
            raise OperatorError(f"there is no file {what}")
        return None
    return path.read_bytes()[:REQUEST_BYTES_MAX]


def _explain_completion(
    completion_id: str, config_file: str | None, data_dir: str | None, *, as_json: bool
) -> None:
    with opened(config_file, data_dir, as_json=as_json) as at:
        usage = charge_audit.explain(at.world, at.operator, completion_id).usage
    files = files_of(config_file, data_dir)
    try:
        table = files.kept(usage.rules_version)
    except RuleFileError as error:
        raise OperatorError(
            f"it was routed by table {usage.rules_version or 'unknown'}, which is not kept here; "
            f"its reasons were {usage.reasons}"
        ) from error
    reasons = read_codes(usage.reasons)
    said = sentence(usage.served_model, reasons, table.table, (), usage.rules_version)
    if as_json:
        output.show_json(
            {
                "sentence": said,
                "reasons": usage.reasons.split(","),
                "table_version": usage.rules_version,
                "requested_model": usage.requested_model,
                "served_model": usage.served_model,
                "upstream": usage.upstream,
                "attempts": usage.attempt_log.split(),
            }
        )
        return
    output.say(said)
    output.say("", f"asked for {usage.requested_model}, served by {usage.upstream}")
    output.say(f"routes tried: {usage.attempt_log or 'none'}")
    output.say(f"reasons: {usage.reasons or 'none'}")
