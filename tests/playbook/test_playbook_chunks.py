"""Shapes of framing and of chunks, by the ids of the conformance corpus: what the client gets."""

from typing import NamedTuple

import msgspec
import pytest
from tests.playbook.script import DONE, ROLE, STOP, USAGE, Played, chunk, play, stream, text

from jusinfer.domain.inference.stream_state import AttemptState
from jusinfer.domain.usage import TokenUsage

A = text("a")
B = text("b")
REPORTED = TokenUsage(prompt_tokens=9, completion_tokens=2)


class Scene(NamedTuple):
    """Bytes of an upstream that ends well, and the events that must reach the client."""

    name: str
    upstream: bytes
    events: list[str]
    usage: TokenUsage | None = None
    finish_reason: str | None = "stop"


def relayed(name: str, *payloads: str, finish: str | None = "stop") -> Scene:
    """Everything is passed on as it is."""
    return Scene(name, stream(*payloads, DONE), [*payloads, DONE], finish_reason=finish)


def finished(reason: str) -> str:
    return chunk("{}", f'"{reason}"')


CRLF = stream(A, STOP, DONE).replace(b"\n", b"\r\n")
CR = stream(A, STOP, DONE).replace(b"\n", b"\r")
SPLIT = '{"choices":[{"index":0,\n"delta":{"content":"a"}}]}'
LINES = b"data: " + SPLIT.replace("\n", "\ndata: ").encode() + b"\n\n"
AZURE = '{"id":"","model":"","choices":[],"prompt_filter_results":[{"prompt_index":0}]}'
GROQ_FIRST = chunk('{"role":"assistant"}', more=',"x_groq":{"id":"r"}')
GROQ_LAST = chunk(
    "{}", '"stop"', more=',"x_groq":{"id":"r","usage":{"prompt_tokens":9,"completion_tokens":2}}'
)
WITH_USAGE = ',"usage":{"prompt_tokens":9,"completion_tokens":2}'
FINISH_USAGE = chunk("{}", '"stop"', more=WITH_USAGE)
OPENROUTER = USAGE.replace('"total_tokens":11', '"total_tokens":11,"cost":1.2e-05,"is_byok":false')
RUNNING = [
    chunk(
        f'{{"content":"{letter}"}}',
        more=f',"usage":{{"prompt_tokens":9,"completion_tokens":{count}}}',
    )
    for count, letter in ((1, "a"), (2, "b"))
]
TOOL = chunk(
    '{"tool_calls":[{"index":0,"id":"t","type":"function","function":{"name":"f","arguments":""}}]}'
)
ARGUMENTS = chunk('{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]}')
OTHER_TOOL = chunk('{"tool_calls":[{"index":1,"id":"u","function":{"arguments":"{"}}]}')
CALLED = finished("tool_calls")

SCENES = (
    Scene("F01", b": OPENROUTER PROCESSING\n\n" + stream(A, STOP, DONE), [A, STOP, DONE]),
    Scene("F01-between", stream(A) + b": x\n\n" + stream(STOP, DONE), [A, STOP, DONE]),
    Scene("F02", b": keep-alive\n\n" * 3 + stream(A, STOP, DONE), [A, STOP, DONE]),
    Scene("F03", b": ping\n" + stream(A) + b": ping\n" + stream(STOP, DONE), [A, STOP, DONE]),
    Scene("F05", b"\n\n\n" + stream(A) + b"\n\n" + stream(STOP, DONE), [A, STOP, DONE]),
    relayed("F06", text("é"), text("世"), text("😀"), STOP),
    relayed("F07", *[text(str(number)) for number in range(5)], STOP),
    Scene("F08-crlf", CRLF, [A, STOP, DONE]),
    Scene("F08-cr", CR, [A, STOP, DONE]),
    Scene("F08-space", stream(A, STOP, DONE).replace(b"data: ", b"data:"), [A, STOP, DONE]),
    Scene("F08-blank-data", b"data:\n\ndata: \n\n" + stream(A, STOP, DONE), [A, STOP, DONE]),
    Scene("F09", stream(A, STOP, "[DONE] bye"), [A, STOP, DONE]),
    Scene("F09-blank", stream(A, STOP, "  [DONE]"), [A, STOP, DONE]),
    Scene("F10", stream(A, STOP), [A, STOP, DONE]),
    Scene("F10-open-line", stream(A, STOP)[:-2], [A, STOP, DONE]),
    Scene("F11", b"event: x\nid: 1\nretry: 5\n" + stream(A, STOP, DONE), [A, STOP, DONE]),
    relayed("C01", ROLE, A, STOP),
    relayed("C02", chunk('{"content":"a"}', more=',"usage":null'), STOP),
    Scene("C03", stream(A, STOP, USAGE, DONE), [A, STOP, DONE], REPORTED),
    Scene(
        "C04",
        stream(A, STOP, chunk(more=WITH_USAGE), DONE),
        [A, STOP, chunk(more=WITH_USAGE), DONE],
        REPORTED,
    ),
    Scene("C05", stream(A, FINISH_USAGE, DONE), [A, FINISH_USAGE, DONE], REPORTED),
    Scene("C06", stream(*RUNNING, STOP, DONE), [*RUNNING, STOP, DONE], REPORTED),
    relayed("C07", A, '{"object":"note"}', STOP),
    relayed("C07-first", '{"object":"note"}', A, STOP),
    relayed("C08-null", A, '{"choices":null}', STOP),
    relayed("C08-empty", A, '{"choices":[]}', STOP),
    relayed(
        "C09",
        chunk(
            '{"content":"a","new":1}',
            more=',"obfuscation":"xx","service_tier":"default","moderation":{},"x":[1]',
        ),
        STOP,
    ),
    relayed(
        "C11",
        chunk('{"content":"a"}', 'null,"logprobs":{"content":[{"token":"a","logprob":-0.1}]}'),
        STOP,
    ),
    *(
        relayed(name, chunk(delta), STOP)
        for name, delta in (
            ("C12", '{"refusal":"no"}'),
            ("C13", '{"annotations":[{"type":"url_citation","url_citation":{}}]}'),
            ("C14", '{"audio":{"id":"x","data":"AA"}}'),
            ("C15", '{"images":[{"type":"image_url","image_url":{"url":"data:"}}]}'),
            ("C16", '{"reasoning_content":"hm"}'),
            ("C17", '{"reasoning":"hm"}'),
            ("C18", '{"reasoning_details":[{"type":"reasoning.text","text":"hm"}]}'),
            ("C19", '{"content":"","reasoning":"hm"}'),
            ("C19-null", '{"content":null,"reasoning_content":"hm"}'),
            ("C20", '{"content":[{"type":"thinking","thinking":[]}]}'),
            ("C23", '{"tool_calls":[{"index":0,"id":"t","function":{"arguments":"{}"}}]}'),
            ("C24", '{"tool_calls":[{"id":"t","function":{"name":"f"}}]}'),
            ("C25", '{"tool_calls":[{"index":0,"custom":{"name":"f","input":"x"}}]}'),
            ("C26", '{"tool_calls":[{"extra_content":{"google":{"thought_signature":"s"}}}]}'),
            ("C27", '{"function_call":{"name":"f","arguments":""}}'),
        )
    ),
    relayed("C21", ROLE, TOOL, ARGUMENTS, CALLED, finish="tool_calls"),
    relayed("C22", TOOL, OTHER_TOOL, ARGUMENTS, OTHER_TOOL, CALLED, finish="tool_calls"),
    relayed("C28", TOOL, CALLED, finish="tool_calls"),
    *(
        relayed(name, A, finished(reason), finish=reason)
        for name, reason in (
            ("C29a", "stop"),
            ("C29b", "length"),
            ("C29c", "tool_calls"),
            ("C29d", "content_filter"),
            ("C29e", "function_call"),
            ("C30b", "eos"),
            ("C30c", "model_length"),
            ("C30e", "no-one-knows"),
        )
    ),
    relayed("C30f", A, B, finish=None),
    relayed("C30-empty", chunk('{"content":"a"}', '""'), STOP),
    relayed("C31", chunk('{"content":"a"}', 'null,"native_finish_reason":null'), STOP),
    Scene(
        "C32", stream(GROQ_FIRST, A, GROQ_LAST, DONE), [GROQ_FIRST, A, GROQ_LAST, DONE], REPORTED
    ),
    relayed("C33", AZURE, ROLE, A, STOP),
    relayed("C34", chunk('{"content":"a"}', 'null,"content_filter_results":{}'), STOP),
    relayed("C35", A, chunk("{}", '"stop"', more=',"timings":{"prompt_n":1}')),
    Scene("C36", stream(A, FINISH_USAGE, DONE), [A, FINISH_USAGE, DONE], REPORTED),
    Scene(
        "C37",
        stream(A, STOP, OPENROUTER, DONE),
        [A, STOP, DONE],
        msgspec.structs.replace(REPORTED, reported_cost_pico=12_000_000),
    ),
    Scene("U04-empty", stream(A, STOP, '{"choices":[],"usage":{}}', DONE), [A, STOP, DONE]),
    relayed("stop-without-content", ROLE, STOP),
)


@pytest.fixture(params=SCENES, ids=[scene.name for scene in SCENES])
def scene(request: pytest.FixtureRequest) -> Scene:
    found = request.param
    assert isinstance(found, Scene)
    return found


def test_scenes_have_names_of_their_own() -> None:
    assert len({scene.name for scene in SCENES}) == len(SCENES)


def test_the_client_gets_these_events(scene: Scene) -> None:
    played = play([scene.upstream])
    assert [event.decode() for event in played.events] == scene.events
    assert played.state is AttemptState.COMPLETED
    assert played.code is None
    assert played.usage == scene.usage
    assert played.finish_reason == scene.finish_reason


def test_every_cutting_gives_the_same(scene: Scene) -> None:
    whole = play([scene.upstream])
    for cut in range(1, len(scene.upstream)):
        assert play([scene.upstream[:cut], scene.upstream[cut:]]) == whole, cut
    single = [scene.upstream[at : at + 1] for at in range(len(scene.upstream))]
    assert play(single) == whole


def test_a_client_who_asked_gets_one_usage_event_before_the_end(scene: Scene) -> None:
    played = play([scene.upstream], wants_usage=True)
    expected = [*scene.events[:-1], "<usage>", DONE]
    assert [event.decode() for event in played.events] == expected


def test_data_on_several_lines_stays_one_event() -> None:
    played = play([LINES + stream(STOP, DONE)])
    assert played.sent == LINES + stream(STOP, DONE)


def two_choices(*, is_last_finished: bool) -> bytes:
    rows = [
        chunk('{"content":"a"}', index=0),
        chunk('{"content":"b"}', index=1),
        chunk("{}", '"stop"', index=0),
    ]
    return stream(*rows, *([chunk("{}", '"length"', index=1)] if is_last_finished else []))


@pytest.mark.parametrize("ending", ["end", "cut"])
def test_c10_all_choices_must_have_finished(ending: str) -> None:
    whole = play([two_choices(is_last_finished=True)], ending=ending, choice_count=2)
    assert whole.state is AttemptState.COMPLETED
    assert whole.events[-1] == b"[DONE]"
    half = play([two_choices(is_last_finished=False)], ending=ending, choice_count=2)
    assert (half.state, half.code) == (AttemptState.FAILED, "upstream_cut")


def test_c10_several_choices_in_one_chunk() -> None:
    both = (
        '{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"},'
        '{"index":1,"delta":{"content":"b"},"finish_reason":"stop"}]}'
    )
    assert play([stream(both)], choice_count=2).state is AttemptState.COMPLETED


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("C30a", chunk("{}", '"error"')),
        ("C30d", chunk("{}", '"insufficient_system_resource"')),
        ("C32", '{"choices":[],"x_groq":{"error":"overloaded"}}'),
        ("E43", '{"error":{"code":502,"message":"m"},"choices":[{"finish_reason":"error"}]}'),
        ("E44", '{"error":{"code":"server_error","message":"m"},"choices":[]}'),
        ("E45", '{"error":{"message":"m"}}'),
        ("E41", '{"choices":[{"index":0,"error":{"code":502,"message":"m"}}]}'),
    ],
)
def test_an_error_inside_the_stream_ends_it(name: str, payload: str) -> None:
    before = play([stream(ROLE, payload)])
    assert (before.sent, before.state) == (b"", AttemptState.FAILED), name
    assert before.code == "upstream_error"
    after = play([stream(ROLE, A, payload, B, DONE)])
    assert [event.decode() for event in after.events] == [ROLE, A, "<error>"]
    assert after.state is AttemptState.FAILED


def ending_of(played: Played) -> bytes:
    return played.events[-1] if played.events else b""


def test_usage_of_the_error_chunk_is_kept() -> None:
    broken = '{"error":{"message":"m"},"choices":[]' + WITH_USAGE + "}"
    played = play([stream(A, broken)])
    assert played.usage == REPORTED
    assert ending_of(played) == b"<error>"
