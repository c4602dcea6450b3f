"""The model behind an agent, met by agents made of the official clients over three APIs."""

import base64
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import anthropic
import openai
import pytest
from anthropic import Anthropic
from openai import OpenAI

from jusinfer.sandbox.agent.heard import Tool, heard_chat, heard_messages, heard_responses
from jusinfer.sandbox.agent.script import KINDS, kind_of, proof_of
from jusinfer.sandbox.agent.tools import end, read, shell, view, write

SHELL: Any = {
    "type": "object",
    "properties": {"command": {"type": "string"}, "background": {"type": "boolean"}},
    "required": ["command", "background"],
}
READ: Any = {
    "type": "object",
    "properties": {"path": {"type": "string"}},
    "required": ["path"],
}
SCHEMAS = {"shell": SHELL, "read_file": READ}
TURNS_MAX = 6


class Ran(NamedTuple):
    """What became of a task: the last text, and how many calls each turn made."""

    text: str
    calls: list[int]


class Desk:
    """The folder of one task, and the clients to work with."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        base = f"http://127.0.0.1:{port}"
        self.openai = OpenAI(base_url=f"{base}/v1", api_key="any", timeout=20, max_retries=0)
        self.anthropic = Anthropic(base_url=base, api_key="any", timeout=20, max_retries=0)

    def close(self) -> None:
        self.openai.close()
        self.anthropic.close()

    def run(self, name: str, arguments: dict[str, Any]) -> str | bytes:
        if name == "read_file":
            data = (self.folder / arguments["path"]).read_bytes()
            return data if data.startswith(b"\x89PNG") else data.decode()
        assert arguments["background"] is False
        done = subprocess.run(
            ["bash", "-c", arguments["command"]], cwd=self.folder, capture_output=True, check=True
        )
        return done.stdout.decode()

    def chat(self, model: str, task: str) -> Ran:
        tools: Any = [
            {"type": "function", "function": {"name": name, "parameters": schema}}
            for name, schema in SCHEMAS.items()
        ]
        messages: Any = [{"role": "user", "content": task}]
        counts: list[int] = []
        for _ in range(TURNS_MAX):
            with self.openai.chat.completions.stream(
                model=model, messages=messages, tools=tools
            ) as stream:
                message = stream.get_final_completion().choices[0].message
            if not message.tool_calls:
                return Ran(message.content or "", counts)
            counts.append(len(message.tool_calls))
            messages.append(message.model_dump(exclude_none=True))
            for call in message.tool_calls:
                said = self.run(call.function.name, json.loads(call.function.arguments))
                content = [_picture(said)] if isinstance(said, bytes) else said
                messages.append({"role": "tool", "tool_call_id": call.id, "content": content})
        raise AssertionError(counts)

    def messages(self, model: str, task: str) -> Ran:
        tools: Any = [{"name": name, "input_schema": schema} for name, schema in SCHEMAS.items()]
        messages: Any = [{"role": "user", "content": task}]
        counts: list[int] = []
        for _ in range(TURNS_MAX):
            with self.anthropic.messages.stream(
                model=model, max_tokens=9_000, messages=messages, tools=tools
            ) as stream:
                content = stream.get_final_message().content
            calls = [block for block in content if block.type == "tool_use"]
            if not calls:
                return Ran("".join(b.text for b in content if b.type == "text"), counts)
            counts.append(len(calls))
            messages.append({"role": "assistant", "content": content})
            results = []
            for call in calls:
                said: Any = self.run(call.name, dict(call.input))
                if isinstance(said, bytes):
                    data = base64.b64encode(said).decode()
                    source = {"type": "base64", "media_type": "image/png", "data": data}
                    said = [{"type": "image", "source": source}]
                results.append({"type": "tool_result", "tool_use_id": call.id, "content": said})
            messages.append({"role": "user", "content": results})
        raise AssertionError(counts)

    def responses(self, model: str, task: str) -> Ran:
        functions: Any = [
            {"type": "function", "name": name, "parameters": schema, "strict": False}
            for name, schema in SCHEMAS.items()
        ]
        tools: Any = [{"type": "namespace", "name": "own", "tools": functions}]
        items: Any = [{"role": "user", "content": task}]
        include: Any = ["reasoning.encrypted_content"]
        counts: list[int] = []
        for _ in range(TURNS_MAX):
            with self.openai.responses.stream(
                model=model, input=items, tools=tools, store=False, include=include
            ) as stream:
                answer = stream.get_final_response()
            calls = [item for item in answer.output if item.type == "function_call"]
            if not calls:
                return Ran(answer.output_text, counts)
            counts.append(len(calls))
            items += [item.model_dump(exclude_none=True) for item in answer.output]
            for call in calls:
                assert call.model_dump()["namespace"] == "own"
                said = self.run(call.name, json.loads(call.arguments))
                output: Any = said
                if isinstance(said, bytes):
                    output = [{"type": "input_image", "image_url": _url(said)}]
                items.append(
                    {"type": "function_call_output", "call_id": call.call_id, "output": output}
                )
        raise AssertionError(counts)


def _url(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def _picture(data: bytes) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": _url(data)}}


@pytest.fixture
def desk(tmp_path: Path, port: int) -> Iterator[Desk]:
    made = Desk(tmp_path, port)
    yield made
    made.close()


APIS: dict[str, Callable[[Desk, str, str], Ran]] = {
    "chat": Desk.chat,
    "messages": Desk.messages,
    "responses": Desk.responses,
}
CALLS = {"parallel": [2], "sequence": [1, 1, 1], "image": [1, 1], "context": [1, 1]}
GOOD = sorted(KINDS.keys() - {"cut", "limit", "overflow"})


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("kind", GOOD)
def test_a_task_is_done_with_the_agents_own_tools(desk: Desk, api: str, kind: str) -> None:
    marker = f"{api}{kind}"
    ran = APIS[api](desk, f"mock-agent{'-' if kind else ''}{kind}", f"Do it: marker={marker}")
    assert proof_of(marker) in ran.text
    assert (desk.folder / "proof.txt").read_text() == f"{proof_of(marker)}\n"
    assert ran.calls == CALLS.get(kind, [1])
    if kind == "image":
        assert "image-seen" in ran.text
    if kind == "long":
        assert len(ran.text.split()) > 3_000


@pytest.mark.parametrize("api", APIS)
def test_a_stream_is_cut_once_for_each_task(desk: Desk, api: str) -> None:
    task = f"marker=cut{api}"
    with pytest.raises(Exception, match=r"(?i)connection|closed|incomplete"):
        APIS[api](desk, "mock-agent-cut", task)
    assert proof_of(f"cut{api}") in APIS[api](desk, "mock-agent-cut", task).text


@pytest.mark.parametrize("api", APIS)
def test_the_rate_limit_is_met_once_for_each_task(desk: Desk, api: str) -> None:
    task = f"marker=limit{api}"
    with pytest.raises((openai.RateLimitError, anthropic.RateLimitError)) as caught:
        APIS[api](desk, "mock-agent-limit", task)
    assert caught.value.response.headers["retry-after"] == "1"
    assert proof_of(f"limit{api}") in APIS[api](desk, "mock-agent-limit", task).text


@pytest.mark.parametrize("api", APIS)
def test_a_task_is_always_too_long_in_the_providers_words(desk: Desk, api: str) -> None:
    for _ in range(2):
        with pytest.raises((openai.BadRequestError, anthropic.BadRequestError)) as caught:
            APIS[api](desk, "mock-agent-overflow", f"marker=over{api}")
        error: Any = caught.value.body
        if api == "messages":
            assert error["error"]["message"].startswith("prompt is too long: ")
        else:
            assert error["code"] == "context_length_exceeded"


def test_what_is_not_the_task_is_answered_without_tools(desk: Desk) -> None:
    ask: Any = [{"role": "user", "content": "Give a title to: marker=TITLE"}]
    answer = desk.openai.chat.completions.create(model="mock-agent-limit", messages=ask)
    assert answer.choices[0].message.content == "Amber basin"


@pytest.mark.parametrize("form", ["SEARCH/REPLACE", "*file listing*"])
def test_an_agent_without_tools_reads_a_file_from_the_text(desk: Desk, form: str) -> None:
    ask: Any = [
        {"role": "system", "content": f"Answer with a {form}."},
        {"role": "user", "content": "marker=EDIT"},
    ]
    answer = desk.openai.chat.completions.create(model="mock-agent", messages=ask)
    text = answer.choices[0].message.content or ""
    assert "proof.txt\n```\n" in text
    assert proof_of("EDIT") in text
    assert (">>>>>>> REPLACE" in text) is (form == "SEARCH/REPLACE")


def test_a_prompt_is_counted_wherever_its_text_stands() -> None:
    user = {"role": "user", "content": "u" * 20}
    developer = {"role": "developer", "content": "d" * 30}
    output = {"type": "function_call_output", "call_id": "a", "output": "o" * 60}
    assert heard_chat({"messages": [developer, user]}).characters >= 50
    assert heard_messages({"system": "s" * 30, "messages": [user]}).characters >= 30
    assert heard_responses({"input": [developer, user]}).characters >= 30
    assert heard_responses({"input": [user, output]}).characters == 80


def test_a_name_that_asks_for_no_script() -> None:
    assert kind_of("mock-agent-nothing") is None
    assert kind_of("gpt-5") is None
    assert kind_of("claude-x/mock-agent-long") == "long"


def _tool(name: str, members: dict[str, Any], *required: str) -> Tool:
    schema = {"type": "object", "properties": members, "required": list(required)}
    return Tool(name, "function", schema)


WORD: Any = {"type": "string"}
WORDS: Any = {"type": "array", "items": WORD}


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        (_tool("Bash", {"command": WORD}, "command"), {"command": "ls"}),
        (_tool("shell", {"command": WORDS}, "command"), {"command": ["bash", "-lc", "ls"]}),
        (_tool("run_commands", {"commands": WORDS}), {"commands": ["ls"]}),
        (_tool("exec_command", {"cmd": WORD, "tty": WORD}, "cmd"), {"cmd": "ls"}),
        (_tool("anything", {"command": WORD}), {"command": "ls"}),
        (
            _tool("execute", {"command": WORD, "n": {"type": "integer"}}, "command", "n"),
            {"command": "ls", "n": 1},
        ),
    ],
)
def test_a_command_takes_the_shape_of_the_tool(tool: Tool, arguments: dict[str, Any]) -> None:
    act = shell([_tool("other", {"x": WORD}), tool], "ls")
    assert act is not None
    assert act.tool is tool
    assert json.loads(act.arguments) == arguments


def test_files_are_written_read_and_looked_at_by_name() -> None:
    tools = [
        _tool("Write", {"file_path": WORD, "content": WORD}, "file_path", "content"),
        _tool("read", {"filePath": WORD}, "filePath"),
        _tool("view_image", {"path": WORD}, "path"),
        _tool("final_answer", {"answer": {}}, "answer"),
    ]
    made = [write(tools, "a", "b"), read(tools, "a"), view(tools, "a"), end(tools, "c")]
    assert [json.loads(act.arguments) for act in made if act is not None] == [
        {"file_path": "a", "content": "b"},
        {"filePath": "a"},
        {"path": "a"},
        {"answer": "c"},
    ]
    files: Any = {"type": "array", "items": {"type": "object", "required": ["path"]}}
    act = read([_tool("read_files", {"files": files}, "files")], "a")
    assert act is not None
    assert json.loads(act.arguments) == {"files": [{"path": "a"}]}
    assert shell([_tool("bash", {"x": WORD})], "ls") is None
    custom = shell([Tool("bash", "custom", {})], "ls")
    assert custom is not None
    assert custom.arguments == "ls"


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ([{"type": "item_reference", "id": "rs_1"}], "not found"),
        ([{"type": "wish"}], "Invalid value: 'wish'"),
        (
            [{"type": "function_call_output", "call_id": "call_1", "output": "x"}],
            "No tool call found",
        ),
        (
            [{"type": "function_call", "call_id": "call_1", "name": "a", "arguments": "{}"}],
            "No tool output found",
        ),
        (
            [{"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "made up"}],
            "could not be verified",
        ),
    ],
)
def test_responses_refuses_what_does_not_hold_together(desk: Desk, items: Any, words: str) -> None:
    with pytest.raises(openai.APIStatusError, match=words):
        desk.openai.responses.create(model="mock-1", input=items)


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"previous_response_id": "resp_1"}, "not found"),
        ({"tools": [{"type": "wish"}]}, "Invalid value: 'wish'"),
        ({"tools": [{"type": "function"}]}, "Missing required parameter"),
    ],
)
def test_responses_refuses_members(desk: Desk, members: Any, words: str) -> None:
    with pytest.raises(openai.APIStatusError, match=words):
        desk.openai.responses.create(model="mock-1", input="Hello", **members)


def test_responses_whole_and_streamed_are_the_same(desk: Desk) -> None:
    ask: Any = {
        "model": "mock-1",
        "input": [{"role": "user", "content": "Use the tool, please."}],
        "tools": [{"type": "custom", "name": "patch"}],
        "reasoning": {"effort": "low"},
    }
    whole = desk.openai.responses.create(**ask)
    with desk.openai.responses.stream(**ask) as stream:
        told = stream.get_final_response()
    assert [item.type for item in whole.output] == ["reasoning", "custom_tool_call"]
    plain = {"output", "usage", "status"}
    assert told.model_dump(include=plain, mode="json", warnings=False) == whole.model_dump(
        include=plain, mode="json", warnings=False
    )


def test_responses_ends_early_or_fails_as_asked(desk: Desk) -> None:
    answer = desk.openai.responses.create(
        model="mock-1", input="Hello", max_output_tokens=3, instructions="Be brief."
    )
    assert answer.status == "incomplete"
    assert answer.incomplete_details is not None
    assert answer.usage is not None
    assert answer.usage.output_tokens == 3
    failed = desk.openai.responses.create(
        model="sandbox/error_in_stream?after=2", input="Hello", stream=True
    )
    assert [event.type for event in failed][-1] == "response.failed"
    refused = desk.openai.responses.create(model="sandbox/refusal", input="Hello")
    assert refused.output[0].content[0].type == "refusal"  # type: ignore[union-attr,index]


@pytest.mark.parametrize("beta", ["", "context-management-2025-06-27,mid-conversation-x"])
def test_anthropic_takes_betas_only_from_those_who_name_them(desk: Desk, beta: str) -> None:
    ask: Any = {
        "model": "mock-1",
        "max_tokens": 16,
        "messages": [{"role": "user", "content": "Hi"}, {"role": "system", "content": "Be kind"}],
        "extra_body": {"context_management": {"edits": []}},
        "extra_headers": {"anthropic-beta": beta} if beta else {},
    }
    if beta:
        assert desk.anthropic.messages.create(**ask).content
        return
    with pytest.raises(anthropic.BadRequestError, match="context_management: Extra inputs"):
        desk.anthropic.messages.create(**ask)
    del ask["extra_body"]
    with pytest.raises(anthropic.BadRequestError, match="must be user or assistant"):
        desk.anthropic.messages.create(**ask)
