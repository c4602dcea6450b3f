"""Usage in the shapes that providers send: what is read, and what it costs to the nano-dollar."""

import msgspec
import pytest

from jusinfer.domain.catalog import AdditionalPrices, Price
from jusinfer.domain.inference.stream_state import (
    AttemptState,
    Deadlines,
    StreamAttempt,
    UpstreamFailure,
)
from jusinfer.domain.money import charge_nano
from jusinfer.domain.pricing import cost_pico
from jusinfer.domain.usage import TokenUsage, clamp_usage, newer
from jusinfer.wire.upstream.anthropic.response import AnthropicProviderApi
from jusinfer.wire.upstream.openai_chat import decode_answer, decode_chunk
from jusinfer.wire.upstream.usage_shapes import (
    TOKENS_MAX,
    MessagesUsage,
    merged,
    messages_usage,
    neutral_usage,
    read_usage,
)

# USD per million: 1 in, 2 out, 0.1 cached, 1.25 written to the cache, 2 written for an hour.
PRICE = Price(
    input_micro_per_mtok=1_000_000,
    output_micro_per_mtok=2_000_000,
    cache_read_micro_per_mtok=100_000,
    cache_write_micro_per_mtok=1_250_000,
    extras=AdditionalPrices(cache_write_1h_micro_per_mtok=2_000_000),
)


def used(  # noqa: PLR0913 (the kinds of tokens)
    prompt: int,
    completion: int,
    *,
    cached: int = 0,
    written: int = 0,
    hour: int = 0,
    reasoning: int = 0,
    doubt: bool = False,
    pico: int = -1,
) -> TokenUsage:
    return TokenUsage(
        prompt, cached, written, completion, reasoning, doubt, hour, reported_cost_pico=pico
    )


CHAT = '"prompt_tokens":20,"completion_tokens":10'
GEMINI = '"promptTokenCount":20,"candidatesTokenCount":10'
READ, WRITTEN = '"cache_read_input_tokens":%d', '"cache_creation_input_tokens":%d'
THOUGHT = '"completion_tokens_details":{"reasoning_tokens":%d}'

# Shape, what is read, the charge in nano-USD.
ROWS: dict[str, tuple[str, TokenUsage, int]] = {
    "chat": (f'{{{CHAT},"total_tokens":30}}', used(20, 10), 40_000),
    "chat-no-total": (f"{{{CHAT}}}", used(20, 10), 40_000),
    "chat-null-members": (
        (
            f'{{{CHAT},"total_tokens":null,"prompt_tokens_details":null,"cached_tokens":null,'
            '"cache_creation":null,"cost":null}'
        ),
        used(20, 10),
        40_000,
    ),
    "chat-cached": (
        f'{{{CHAT},"total_tokens":30,"prompt_tokens_details":{{"cached_tokens":15}}}}',
        used(20, 10, cached=15),
        26_500,
    ),
    "chat-written": (
        (
            f'{{{CHAT},"total_tokens":30,"prompt_tokens_details":'
            '{"cached_tokens":5,"cache_write_tokens":10}}'
        ),
        used(20, 10, cached=5, written=10),
        38_000,
    ),
    "chat-written-for-an-hour": (
        f'{{{CHAT},"prompt_tokens_details":{{"cache_write_tokens":10,"cache_write_1h_tokens":4}}}}',
        used(20, 10, written=10, hour=4),
        45_500,
    ),
    "chat-cache-creation-tokens": (
        f'{{{CHAT},"prompt_tokens_details":{{"cache_creation_tokens":10}}}}',
        used(20, 10, written=10),
        42_500,
    ),
    "reasoning-inside": (
        f'{{{CHAT},"total_tokens":30,{THOUGHT % 6}}}',
        used(20, 10, reasoning=6),
        40_000,
    ),
    "reasoning-inside-no-total": (f"{{{CHAT},{THOUGHT % 6}}}", used(20, 10, reasoning=6), 40_000),
    "reasoning-beside": (
        f'{{{CHAT},"total_tokens":1030,{THOUGHT % 1000}}}',
        used(20, 1010, reasoning=1000),
        2_040_000,
    ),
    "reasoning-beside-and-less": (
        f'{{{CHAT},"total_tokens":35,{THOUGHT % 5}}}',
        used(20, 15, reasoning=5),
        50_000,
    ),
    "reasoning-on-top": (
        f'{{{CHAT},"total_tokens":1030,"reasoning_tokens":1000}}',
        used(20, 1010, reasoning=1000),
        2_040_000,
    ),
    "reasoning-on-top-inside": (
        f'{{{CHAT},"total_tokens":30,"reasoning_tokens":8}}',
        used(20, 10, reasoning=8),
        40_000,
    ),
    "reasoning-all-there-is": (
        (
            '{"prompt_tokens":20,"completion_tokens":0,"total_tokens":120,'
            '"completion_tokens_details":{"reasoning_tokens":100}}'
        ),
        used(20, 100, reasoning=100),
        220_000,
    ),
    "reasoning-over-its-whole": (
        f"{{{CHAT},{THOUGHT % 1000}}}",
        used(20, 10, reasoning=1000, doubt=True),
        40_000,
    ),
    "reasoning-over-its-whole-though-the-total-fits": (
        f'{{{CHAT},"total_tokens":30,{THOUGHT % 1000}}}',
        used(20, 10, reasoning=1000, doubt=True),
        40_000,
    ),
    "reasoning-and-a-total-of-more": (
        f'{{{CHAT},"total_tokens":60,{THOUGHT % 5}}}',
        used(20, 40, reasoning=5, doubt=True),
        100_000,
    ),
    "total-of-more": (f'{{{CHAT},"total_tokens":1030}}', used(20, 1010, doubt=True), 2_040_000),
    "total-of-less": (f'{{{CHAT},"total_tokens":12}}', used(20, 10), 40_000),
    "total-of-nothing": (f'{{{CHAT},"total_tokens":0}}', used(20, 10), 40_000),
    "total-below-zero": (f'{{{CHAT},"total_tokens":-1}}', used(20, 10), 40_000),
    "total-of-nonsense": (f'{{{CHAT},"total_tokens":2000000000}}', used(20, 10), 40_000),
    "no-completion": ('{"prompt_tokens":20,"total_tokens":30}', used(20, 10), 40_000),
    "no-prompt": ('{"completion_tokens":10,"total_tokens":30}', used(20, 10), 40_000),
    "embeddings": ('{"prompt_tokens":20,"total_tokens":20}', used(20, 0), 20_000),
    "responses": (
        (
            '{"input_tokens":20,"input_tokens_details":{"cached_tokens":15},"output_tokens":10,'
            '"output_tokens_details":{"reasoning_tokens":6},"total_tokens":30}'
        ),
        used(20, 10, cached=15, reasoning=6),
        26_500,
    ),
    "responses-written": (
        (
            '{"input_tokens":20,"input_tokens_details":{"cached_tokens":5,"cache_write_tokens":10},'
            '"output_tokens":10,"total_tokens":30}'
        ),
        used(20, 10, cached=5, written=10),
        38_000,
    ),
    "messages": (
        (
            '{"input_tokens":20,"output_tokens":10,"cache_read_input_tokens":15,'
            '"cache_creation_input_tokens":40}'
        ),
        used(75, 10, cached=15, written=40),
        91_500,
    ),
    "messages-no-cache": (
        (
            '{"input_tokens":20,"output_tokens":10,"cache_read_input_tokens":0,'
            '"cache_creation_input_tokens":0}'
        ),
        used(20, 10),
        40_000,
    ),
    "messages-by-time": (
        (
            '{"input_tokens":20,"output_tokens":10,"cache_creation_input_tokens":40,'
            '"cache_creation":{"ephemeral_5m_input_tokens":30,"ephemeral_1h_input_tokens":10}}'
        ),
        used(60, 10, written=40, hour=10),
        97_500,
    ),
    "messages-by-time-alone": (
        (
            '{"input_tokens":20,"output_tokens":10,"cache_creation":'
            '{"ephemeral_5m_input_tokens":30,"ephemeral_1h_input_tokens":10}}'
        ),
        used(60, 10, written=40, hour=10),
        97_500,
    ),
    "cache-beside-by-total": (
        f'{{{CHAT},"total_tokens":45,{READ % 15}}}',
        used(35, 10, cached=15),
        41_500,
    ),
    "cache-inside-by-total": (
        f'{{{CHAT},"total_tokens":30,{READ % 15}}}',
        used(20, 10, cached=15),
        26_500,
    ),
    "cache-inside-without-total": (f"{{{CHAT},{READ % 15}}}", used(20, 10, cached=15), 26_500),
    "cache-over-the-prompt": (
        f'{{{CHAT},"total_tokens":30,{READ % 100}}}',
        used(120, 10, cached=100),
        50_000,
    ),
    "cache-written-inside": (
        f'{{{CHAT},"total_tokens":30,{READ % 5},{WRITTEN % 10}}}',
        used(20, 10, cached=5, written=10),
        38_000,
    ),
    "cache-written-beside": (
        f'{{{CHAT},"total_tokens":45,{READ % 5},{WRITTEN % 10}}}',
        used(35, 10, cached=5, written=10),
        53_000,
    ),
    "cache-said-twice": (
        f'{{{CHAT},"total_tokens":30,{READ % 15},"prompt_tokens_details":{{"cached_tokens":15}}}}',
        used(20, 10, cached=15),
        26_500,
    ),
    "input-with-its-total": (
        '{"input_tokens":20,"output_tokens":10,"total_tokens":30,"cache_read_input_tokens":15}',
        used(20, 10, cached=15),
        26_500,
    ),
    "deepseek": (
        f'{{{CHAT},"total_tokens":30,"prompt_cache_hit_tokens":15,"prompt_cache_miss_tokens":5}}',
        used(20, 10, cached=15),
        26_500,
    ),
    "deepseek-no-prompt": (
        '{"completion_tokens":10,"prompt_cache_hit_tokens":15,"prompt_cache_miss_tokens":5}',
        used(20, 10, cached=15),
        26_500,
    ),
    "moonshot": (
        f'{{{CHAT},"total_tokens":30,"cached_tokens":15}}',
        used(20, 10, cached=15),
        26_500,
    ),
    "gemini": (f'{{{GEMINI},"totalTokenCount":30}}', used(20, 10), 40_000),
    "gemini-thinking": (
        f'{{{GEMINI},"thoughtsTokenCount":1000,"totalTokenCount":1030}}',
        used(20, 1010, reasoning=1000),
        2_040_000,
    ),
    "gemini-thinking-no-total": (
        f'{{{GEMINI},"thoughtsTokenCount":1000}}',
        used(20, 1010, reasoning=1000),
        2_040_000,
    ),
    "gemini-only-thinking": (
        '{"promptTokenCount":20,"thoughtsTokenCount":1000,"totalTokenCount":1020}',
        used(20, 1000, reasoning=1000),
        2_020_000,
    ),
    "gemini-cached": (
        f'{{{GEMINI},"cachedContentTokenCount":15,"totalTokenCount":30}}',
        used(20, 10, cached=15),
        26_500,
    ),
    "gemini-tool-prompt": (
        f'{{{GEMINI},"toolUsePromptTokenCount":7,"totalTokenCount":37}}',
        used(27, 10),
        47_000,
    ),
    "gemini-snake": (
        (
            '{"prompt_token_count":20,"candidates_token_count":10,"thoughts_token_count":5,'
            '"total_token_count":35}'
        ),
        used(20, 15, reasoning=5),
        50_000,
    ),
    "converse": (
        '{"inputTokens":20,"outputTokens":10,"totalTokens":45,"cacheReadInputTokens":15}',
        used(35, 10, cached=15),
        41_500,
    ),
    "ollama": ('{"prompt_eval_count":20,"eval_count":10}', used(20, 10), 40_000),
    "texts": (
        '{"prompt_tokens":"20","completion_tokens":"10","total_tokens":"30"}',
        used(20, 10),
        40_000,
    ),
    "fractions": (
        (
            '{"prompt_tokens":20.0,"completion_tokens":10.0,"total_tokens":1030.0,'
            '"completion_tokens_details":{"reasoning_tokens":"1000"}}'
        ),
        used(20, 1010, reasoning=1000),
        2_040_000,
    ),
    "below-zero": ('{"prompt_tokens":20,"completion_tokens":-10}', used(20, 0), 20_000),
    "cached-below-zero": (
        f'{{{CHAT},"prompt_tokens_details":{{"cached_tokens":-1}}}}',
        used(20, 10),
        40_000,
    ),
    "list-of-one": (f'[{{{CHAT},"total_tokens":30}}]', used(20, 10), 40_000),
    "cost": (f'{{{CHAT},"cost":0.00004}}', used(20, 10, pico=40_000_000), 40_000),
    "cost-as-text": (f'{{{CHAT},"cost":"0.00004"}}', used(20, 10, pico=40_000_000), 40_000),
    "cost-itemised": (
        f'{{{CHAT},"cost":{{"input_tokens_cost":0.1,"total_cost":0.5}}}}',
        used(20, 10, pico=500_000_000_000),
        40_000,
    ),
    "cost-in-ticks": (
        f'{{{CHAT},"cost_in_usd_ticks":37756000}}',
        used(20, 10, pico=3_775_600_000),
        40_000,
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_shape_is_read_and_charged_exactly(name: str) -> None:
    text, expected, nano = ROWS[name]
    usage = read_usage(text.encode())
    assert usage == expected
    assert charge_nano(cost_pico(PRICE, clamp_usage(expected))) == nano


@pytest.mark.parametrize("name", ROWS)
def test_a_whole_answer_and_a_stream_are_charged_alike(name: str) -> None:
    text, expected, _ = ROWS[name]
    message = b'{"index":0,"message":{"content":"hello"},"finish_reason":"stop"}'
    answer = decode_answer(b'{"choices":[%b],"usage":%b}' % (message, text.encode()))
    chunk = decode_chunk(b'{"choices":[],"usage":%b}' % text.encode())
    assert answer.usage == chunk.usage == expected


@pytest.mark.parametrize("name", ROWS)
def test_usage_inside_a_choice_is_found(name: str) -> None:
    text, expected, _ = ROWS[name]
    for said in ("delta", "message"):
        row = f'{{"index":0,"{said}":{{"content":"hello"}},"finish_reason":"stop","usage":{text}}}'
        body = b'{"choices":[%b]}' % row.encode()
        assert decode_answer(body).usage == decode_chunk(body).usage == expected


def test_a_count_has_a_bound() -> None:
    huge = '{"prompt_tokens":%d,"completion_tokens":1,"cache_read_input_tokens":%d}'
    usage = read_usage((huge % (TOKENS_MAX - 1, TOKENS_MAX)).encode())
    assert usage is not None
    assert usage.prompt_tokens == TOKENS_MAX


@pytest.mark.parametrize(
    "text", ["[]", "[1]", "null", "{}", '{"total_tokens":30}', '"20"', "1e400"]
)
def test_what_says_nothing_is_no_usage(text: str) -> None:
    assert read_usage(text.encode()) is None


# ---------------------------------------------------------------------- streams


class Silent:
    def usage_event(self, machine: StreamAttempt) -> bytes:
        del machine
        return b""

    def error_event(self, machine: StreamAttempt, failure: UpstreamFailure) -> bytes:
        del machine, failure
        return b""


WORD = '{"choices":[{"index":0,"delta":{"content":"hello"}}]}'
ROLE = '{"choices":[{"index":0,"delta":{"role":"assistant"}}]}'
STOP = '{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}'


def with_usage(event: str, prompt: int, completion: int) -> str:
    usage = f'"usage":{{"prompt_tokens":{prompt},"completion_tokens":{completion}}}'
    return f"{event[:-1]},{usage}}}"


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        pytest.param(
            [with_usage(WORD, 20, 1), with_usage(WORD, 20, 2), STOP], used(20, 2), id="runs"
        ),
        pytest.param(
            [WORD, WORD, STOP, with_usage('{"choices":[]}', 20, 2)], used(20, 2), id="last"
        ),
        pytest.param(
            [with_usage(WORD, 20, 9), STOP, with_usage('{"choices":[]}', 20, 9)],
            used(20, 9),
            id="twice",
        ),
        pytest.param([with_usage(WORD, 20, 9), STOP], used(20, 9), id="with-content"),
        pytest.param([with_usage(ROLE, 20, 30), WORD, STOP], used(20, 30), id="first-and-whole"),
        pytest.param(
            [with_usage(ROLE, 20, 0), WORD, WORD, STOP], used(20, 2, doubt=True), id="first-only"
        ),
        pytest.param(
            [with_usage(ROLE, 20, 1), WORD, WORD, STOP], used(20, 2, doubt=True), id="first-begun"
        ),
        pytest.param(
            [with_usage(WORD, 20, 9), STOP, with_usage('{"choices":[]}', 0, 0)],
            used(20, 9),
            id="nothing-last",
        ),
        pytest.param(
            [with_usage(ROLE, 20, 0), WORD, with_usage(STOP, 0, 9)], used(20, 9), id="in-halves"
        ),
        pytest.param(
            [WORD, STOP[:-3] + ',"usage":{"prompt_tokens":20,"completion_tokens":9}}]}'],
            used(20, 9),
            id="inside-a-choice",
        ),
    ],
)
def test_a_stream_is_charged_once(events: list[str], expected: TokenUsage) -> None:
    deadlines = Deadlines(9.0, 9.0, 9.0, 9.0)
    machine = StreamAttempt(
        decode_chunk, Silent(), wants_usage=False, choice_count=1, deadlines=deadlines, now=0.0
    )
    for event in [*events, "[DONE]"]:
        machine.feed([event.encode()], 0.0)
    assert machine.state is AttemptState.COMPLETED
    assert machine.final_usage(50) == expected


def test_a_later_count_keeps_what_it_leaves_out() -> None:
    first = used(20, 3, cached=5, written=4, hour=2, reasoning=1)
    assert newer(None, first) is first
    assert newer(first, used(0, 9)) == used(20, 9, cached=5, written=4, hour=2)
    assert newer(first, used(21, 0)) == used(21, 3, reasoning=1)


# ---------------------------------------------------------------------- Anthropic's Messages


@pytest.mark.parametrize(
    ("text", "expected", "nano"),
    [
        ('{"input_tokens":20,"output_tokens":10}', used(20, 10), 40_000),
        ('{"input_tokens":"20","output_tokens":10.0}', used(20, 10), 40_000),
        ('{"input_tokens":-5,"output_tokens":10}', used(0, 10), 20_000),
        (
            (
                '{"input_tokens":20,"output_tokens":10,"cache_read_input_tokens":15,'
                '"cache_creation_input_tokens":40,"cache_creation":'
                '{"ephemeral_5m_input_tokens":30,"ephemeral_1h_input_tokens":10}}'
            ),
            used(75, 10, cached=15, written=40, hour=10),
            99_000,
        ),
        (
            '{"input_tokens":20,"output_tokens":10,"output_tokens_details":{"thinking_tokens":6}}',
            used(20, 10, reasoning=6),
            40_000,
        ),
        (
            (
                '{"input_tokens":20,"output_tokens":10,"cache_read_input_tokens":null,'
                '"cache_creation":null,"server_tool_use":null}'
            ),
            used(20, 10),
            40_000,
        ),
    ],
)
def test_messages_are_charged_exactly(text: str, expected: TokenUsage, nano: int) -> None:
    body = (
        b'{"type":"message","id":"m","model":"c","content":[{"type":"text","text":"hi"}],'
        b'"stop_reason":"end_turn","usage":%b}' % text.encode()
    )
    assert decode_answer(AnthropicProviderApi().answer(body)).usage == expected
    assert charge_nano(cost_pico(PRICE, expected)) == nano
    said = messages_usage(msgspec.Raw(text.encode()))
    assert said is not None
    assert read_usage(msgspec.json.encode(neutral_usage(said))) == expected


@pytest.mark.parametrize(
    ("begun", "ended", "right"),
    [
        ((60, 1, 40, 1500), (0, 10, None, 1500), (60, 10, 40, 1500)),
        ((60, 1, 40, 0), (0, 10, 0, 0), (60, 10, 40, 0)),
        ((0, 0, 0, 0), (60, 10, 40, 0), (60, 10, 40, 0)),
        # An estimate at the beginning, and all of it from a cache in truth.
        ((100, 1, 0, 0), (0, 10, 100, 0), (0, 10, 100, 0)),
        ((100, 1, 0, 0), (90, 10, 0, 0), (90, 10, 0, 0)),
        ((60, 1, None, None), (None, 10, None, None), (60, 10, None, None)),
        ((60, 8, None, None), (60, 0, None, None), (60, 0, None, None)),
    ],
)
def test_zeros_at_the_end_of_messages_replace_no_counts(
    begun: tuple[int | None, ...], ended: tuple[int | None, ...], right: tuple[int | None, ...]
) -> None:
    found = merged(MessagesUsage(*begun), MessagesUsage(*ended))
    assert msgspec.structs.astuple(found)[:4] == right
