"""The product over a provider that answers in odd shapes: what clients of each kind are played."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from tests.e2e.odd_provider import Answer, OddProvider, stream, whole
from tests.e2e.odd_shapes import DONE, LAST, SHAPES, WORKERS_AI, event
from tests.e2e.running import Running

ASKED = "Say hello."
LAST_WORDS = "all done"
CAPABILITIES = 'capabilities = ["tools", "json_schema", "reasoning"]'


def result_of(name: str, given: Any) -> str:
    """Give what a tool says; another result for each name and arguments."""
    return f"{name} of {json.dumps(given, sort_keys=True)}"


class ShapedProvider(OddProvider):
    """Answers in the shape that its model is named after, and results of tools in plain words."""

    def answer(self, path: str, body: dict[str, Any]) -> Answer:
        """Note what is asked, and give what to answer."""
        name = str(body.get("model") or path.partition("/run/")[2])
        self.asked.append(body | {"model": name})
        is_stream = body.get("stream") is True
        if any(message["role"] in {"tool", "function"} for message in body["messages"]):
            ends = event({"content": LAST_WORDS}), event({}, "stop"), LAST, DONE
            return stream(*ends) if is_stream else whole(text=LAST_WORDS)
        return SHAPES[name].answer(is_stream=is_stream)


class Place(NamedTuple):
    """Where clients find the product, with which key, and the provider behind it."""

    url: str
    key: str
    provider: ShapedProvider
    http: httpx.Client

    def receipt(self, answer_id: str) -> tuple[int, int]:
        """Give the prompt and completion tokens that an answer was charged for.

        A record that is asked for at once takes a quarter of a second to be there.
        """
        answer = self.http.get(
            f"{self.url}/v1/generation",
            params={"id": answer_id},
            headers={"authorization": f"Bearer {self.key}"},
        )
        assert answer.status_code == 200, answer.text
        data = answer.json()["data"]
        return data["tokens_prompt"], data["tokens_completion"]


def public_id(name: str) -> str:
    """Give the id by which a client asks for a shape."""
    return f"{SHAPES[name].upstream}/{name}"


@contextlib.contextmanager
def played(folder: Path) -> Iterator[Place]:
    """Start the provider and the product over it, with a live key that has credit."""
    with ShapedProvider() as provider:
        config = ""
        for upstream, provider_api in (("odd", "openai_chat"), (WORKERS_AI, "workers_ai")):
            names = [name for name, shape in SHAPES.items() if shape.upstream == upstream]
            models = [
                f'{public_id(name)}=upstream_model = "{name}"\n{CAPABILITIES}' for name in names
            ]
            config += provider.config(*models, provider_api=provider_api, name=upstream)
        with Running(folder, config=config) as running:
            running.cli("tenants", "create", "odd")
            running.cli("grant", "odd", "50", "--mode", "live", "--reason", "a test")
            made = running.cli("keys", "create", "--tenant", "odd", "--mode", "live")
            with httpx.Client() as http:
                yield Place(f"http://127.0.0.1:{running.port}", made["key"], provider, http)
