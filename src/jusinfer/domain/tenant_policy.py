"""What a tenant allows at all: which providers may see its prompts, and how models are chosen.

A gate that cannot be judged is closed: a provider that does not state a fact does not have it.
"""

from typing import Final

import msgspec

from jusinfer.domain.catalog import Upstream
from jusinfer.domain.money import PICO_PER_NANO


class TenantPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a tenant's prompts may go. Empty tuples allow all.

    `is_zdr` demands upstreams that keep nothing; `no_training` those that say they do not train
    on prompts; `may_log_payloads` lets a transport of ours keep payloads, which is off unless
    the tenant has asked for it. `dial` says how the router chooses where a request does not;
    `worth_micro` what one more right answer is worth in micro-USD; `call_nano_max` is the most
    that a call may be expected to cost, in nano-USD.
    """

    is_zdr: bool = False
    no_training: bool = False
    may_log_payloads: bool = False
    upstreams: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    jurisdictions: tuple[str, ...] = ()
    dial: str = ""
    worth_micro: int | None = None
    call_nano_max: int | None = None

    def affords(self, cost_pico: int) -> bool:
        """Tell whether a call that is expected to cost so much is under the cap on calls."""
        return self.call_nano_max is None or cost_pico <= self.call_nano_max * PICO_PER_NANO


NO_POLICY: Final = TenantPolicy()


def policy_for_test_mode(policy: TenantPolicy) -> TenantPolicy:
    """Give what of a policy holds in test mode: how to choose, but no gate."""
    kept = TenantPolicy(dial=policy.dial, worth_micro=policy.worth_micro)
    return NO_POLICY if kept == NO_POLICY else kept


def closed_gate(policy: TenantPolicy, upstream: Upstream) -> str | None:
    """Name the first gate of a tenant's policy that keeps its prompts from an upstream."""
    facts = upstream.facts
    if policy.upstreams and upstream.name not in policy.upstreams:
        return "allowed_upstreams"
    if policy.is_zdr and not facts.is_zdr:
        return "zdr"
    if policy.no_training and facts.trains_on_prompts is not False:
        return "no_training"
    if policy.regions and facts.region not in policy.regions:
        return "region"
    if policy.jurisdictions and facts.jurisdiction not in policy.jurisdictions:
        return "jurisdiction"
    return None
