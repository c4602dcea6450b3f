import pytest

from jusinfer.domain.usage import Outcome, TokenUsage, clamp_usage


def usage(prompt: int, cached: int, written: int, completion: int, reasoning: int) -> TokenUsage:
    return TokenUsage(
        prompt_tokens=prompt,
        cached_prompt_tokens=cached,
        cache_write_tokens=written,
        completion_tokens=completion,
        reasoning_tokens=reasoning,
        is_estimated=True,
    )


@pytest.mark.parametrize(
    ("reported", "believed"),
    [
        ((10, 3, 2, 7, 5), (10, 3, 2, 7, 5)),
        ((10, 11, 2, 7, 8), (10, 10, 0, 7, 7)),
        ((10, 6, 5, 7, 0), (10, 6, 4, 7, 0)),
        ((-1, -1, -1, -1, -1), (0, 0, 0, 0, 0)),
        ((5, -2, 9, 0, 3), (5, 0, 5, 0, 0)),
        ((0, 0, 0, 0, 0), (0, 0, 0, 0, 0)),
    ],
)
def test_no_kind_exceeds_the_kind_that_contains_it(
    reported: tuple[int, int, int, int, int], believed: tuple[int, int, int, int, int]
) -> None:
    assert clamp_usage(usage(*reported)) == usage(*believed)


def test_what_is_plausible_keeps_saying_whether_it_is_estimated() -> None:
    assert clamp_usage(TokenUsage(is_estimated=False)).is_estimated is False
    assert clamp_usage(TokenUsage(is_estimated=True)).is_estimated is True


def test_outcomes_are_written_in_lower_case_words() -> None:
    assert all(outcome.value.replace("_", "").islower() for outcome in Outcome)
    assert len({outcome.value for outcome in Outcome}) == len(Outcome)
