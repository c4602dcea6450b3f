"""A request with the routes that may serve it, their prices, and the most that it can cost."""

from typing import Final

import msgspec

from jusinfer.domain.billing_rules import billable_cost_pico
from jusinfer.domain.catalog import Price
from jusinfer.domain.errors import InsufficientCredit
from jusinfer.domain.inference.request import CompletionRequest
from jusinfer.domain.money import charge_nano
from jusinfer.domain.pricing import affordable_completion_tokens, bound_pico, is_free
from jusinfer.domain.routing.features import CacheAffinity
from jusinfer.domain.routing.plan import RoutePlan
from jusinfer.domain.usage import TokenUsage

OUTPUT_TOKENS_MIN: Final = 16
# What a limit on tokens is charged at first for an answer whose length was left open.
OUTPUT_TOKENS_GUESS: Final = 1_000
PICO_PER_NANO: Final = 1_000


class PlannedRequest(msgspec.Struct):
    """A request that may be served once its bound has been reserved.

    `output_tokens` is the budget that the bound covers; `clamped_tokens` the one that credit cut
    it to. `conversation` is a digest by which the beginning of a conversation is known.
    """

    asked: CompletionRequest
    plan: RoutePlan
    prices: tuple[Price, ...]
    price_version: str
    output_tokens: int
    bound_nano: int
    clamped_tokens: int | None = None
    price_list: str = ""
    conversation: bytes = b""

    @property
    def is_free(self) -> bool:
        """Whether no route can cost anything: it is then served without credit or lease."""
        return self.bound_nano == 0 and all(map(is_free, self.prices))

    @property
    def limited_tokens(self) -> int:
        """What the request takes of a limit on tokens at first; its answer corrects it."""
        budget = None if self.asked.output_tokens_max is None else self.output_tokens
        return self.asked.traits.input_tokens + (budget or OUTPUT_TOKENS_GUESS)

    def sent_budget(self, index: int) -> int | None:
        """Return the output budget that a route is sent in place of the client's, if any."""
        model = self.plan.routes[index].model
        if self.clamped_tokens is not None:
            return model.output_tokens(self.clamped_tokens)
        asked = self.asked.output_tokens_max
        if asked is None or model.output_tokens(asked) == asked:
            return None
        return model.output_tokens_max

    def clamp(self, available_nano: int) -> None:
        """Cut the output budget to what the credit affords; raises InsufficientCredit.

        Only a budget that the client did not set is cut; one that it set is refused.
        """
        asked = self.asked
        traits = asked.traits
        affordable = min(
            affordable_completion_tokens(
                price, traits.input_tokens_max, available_nano * PICO_PER_NANO, traits.image_count
            )
            for price in self.prices
        )
        affordable //= asked.choice_count
        if asked.output_tokens_max is not None or affordable < OUTPUT_TOKENS_MIN:
            raise InsufficientCredit(
                "the credit does not cover the most that this completion can cost",
                bound_nano=self.bound_nano,
                available_nano=available_nano,
                affordable_tokens=affordable,
            )
        self.output_tokens = self.clamped_tokens = affordable
        self.bound_nano = bound_nano(asked, self.plan, self.prices, affordable)

    def with_images(self, index: int, usage: TokenUsage) -> TokenUsage:
        """Count the images that were sent, where a route has a price for them."""
        images = self.asked.traits.image_count
        if not images or self.prices[index].extras is None:
            return usage
        return msgspec.structs.replace(usage, image_count=images)

    def cost_pico(self, index: int, usage: TokenUsage) -> int:
        """Return what a client pays for what it was delivered by a route, in pico-USD."""
        return billable_cost_pico(self.prices[index], usage, is_charged=True)

    def warmth(self, index: int) -> CacheAffinity:
        """Return what is remembered of a conversation that a route has just served."""
        traits, step = self.asked.traits, self.plan.routes[index]
        score, before = self.plan.score, traits.warm
        if before is not None and before.model_id == step.model.model_id:
            score = before.score
        return CacheAffinity(step.route.upstream, step.model.model_id, traits.input_tokens, score)


def bound_nano(
    asked: CompletionRequest, plan: RoutePlan, prices: tuple[Price, ...], output_tokens: int
) -> int:
    """Return the bound at the dearest of the routes that may be tried, each within its limit."""
    input_tokens = asked.traits.input_tokens_max
    bound = 0
    for step, price in zip(plan.routes, prices, strict=True):
        answers = step.model.output_tokens(output_tokens) * asked.choice_count
        bound = max(bound, bound_pico(price, input_tokens, answers, asked.traits.image_count))
    return charge_nano(bound)
