"""The ledger proved: every invariant held against the live database in one snapshot."""

import msgspec

from jusinfer.domain.actor import Action, Operator
from jusinfer.services.dependencies import Services
from jusinfer.store import ledger_proof
from jusinfer.store.ledger_proof import Finding, Totals


class Report(msgspec.Struct, frozen=True):
    """What each invariant found, and how much was looked at."""

    findings: list[Finding]
    totals: Totals
    holds: bool


def verify(world: Services, operator: Operator) -> Report:
    """Prove the ledger; a report that does not hold names what breaks it."""
    with world.database.snapshot(operator, Action.LEDGER_VERIFY) as tx:
        findings = ledger_proof.verify(tx)
        totals = ledger_proof.totals(tx)
    return Report(findings, totals, all(finding.holds for finding in findings))
