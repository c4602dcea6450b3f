"""Requests of the older Completions and of Embeddings."""

from collections.abc import Iterator
from typing import Any, Final

from tests.golden.answers import usual
from tests.golden.case import Answer, Case

Json = dict[str, Any]
ALL: Final = ("chat", "openai", "deepseek", "openrouter", "gemini", "anthropic", "workers_ai")
MAIN: Final = ("chat", "anthropic", "workers_ai")
LEGACY: Final[dict[str, tuple[str, Json, tuple[str, ...]]]] = {
    "least": ("The least that can be asked.", {"prompt": "Say hello."}, ALL),
    "list": ("One text in a list.", {"prompt": ["Say hello."]}, MAIN),
    "many": ("Two texts.", {"prompt": ["One", "Two"]}, ("chat",)),
    "tokens": ("A prompt of tokens.", {"prompt": [1, 2, 3]}, ("chat",)),
    "empty": ("An empty prompt.", {"prompt": ""}, ("chat",)),
    "common": (
        "Settings that all know.",
        {"prompt": "Hi", "temperature": 0.5, "top_p": 0.9, "stop": ["END"], "max_tokens": 10},
        ALL,
    ),
    "neutral": (
        "Values that ask for nothing.",
        {"prompt": "Hi", "suffix": "", "echo": False, "best_of": 1, "logprobs": 0, "n": 1},
        MAIN,
    ),
    "sampling": (
        "All that says how to sample.",
        {
            "prompt": "Hi",
            "frequency_penalty": 0.5,
            "presence_penalty": 0.5,
            "seed": 7,
            "n": 2,
            "logit_bias": {"1": 1},
        },
        MAIN,
    ),
    "suffix": ("A suffix.", {"prompt": "Hi", "suffix": "!"}, ("chat",)),
    "echo": ("The prompt repeated.", {"prompt": "Hi", "echo": True}, ("chat",)),
    "best_of": ("The best of many.", {"prompt": "Hi", "best_of": 3}, ("chat",)),
    "logprobs": ("Log probabilities.", {"prompt": "Hi", "logprobs": 2}, ("chat",)),
    "people": ("Names of people.", {"prompt": "Hi", "user": "ann"}, ALL),
    "hints": (
        "Members of ours.",
        {
            "prompt": "Hi",
            "jusinfer": {},
            "route": "fallback",
            "sandbox": {"script": "echo"},
            "usage": {"include": True},
            "provider": {"order": ["a"]},
        },
        MAIN,
    ),
    "models": ("Models to fall back to.", {"prompt": "Hi", "models": ["chat/model"]}, ("chat",)),
    "unknown": ("A member that no table names.", {"prompt": "Hi", "new_member": 1}, MAIN),
}
VECTOR: Final = [0.5, -0.25, 1.0]
BASE64: Final = "AAAAPwAAgL4AAIA/"
VECTORS: Final[Json] = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": VECTOR}],
    "model": "text-embedding-3-small",
    "usage": {"prompt_tokens": 4, "total_tokens": 4},
}
ENCODED: Final[Json] = {
    **VECTORS,
    "data": [{"object": "embedding", "index": 0, "embedding": BASE64}],
}
EMBEDDINGS: Final[dict[str, tuple[str, Json, Any]]] = {
    "text": ("One text.", {"input": "Hello"}, VECTORS),
    "texts": (
        "Two texts.",
        {"input": ["Hello", "World"]},
        {**VECTORS, "data": [{**VECTORS["data"][0], "index": at} for at in (0, 1)]},
    ),
    "tokens": ("Tokens.", {"input": [1, 2, 3]}, VECTORS),
    "token_lists": ("Lists of tokens.", {"input": [[1, 2], [3]]}, VECTORS),
    "base64": ("Base64 asked for.", {"input": "Hi", "encoding_format": "base64"}, ENCODED),
    "base64_ignored": (
        "Base64 asked for and floats given.",
        {"input": "Hi", "encoding_format": "base64"},
        VECTORS,
    ),
    "float_ignored": (
        "Floats asked for and base64 given.",
        {"input": "Hi", "encoding_format": "float"},
        ENCODED,
    ),
    "dimensions": (
        "Fewer dimensions, the kind of input, and who asks.",
        {"input": "Hi", "dimensions": 3, "input_type": "query", "user": "ann"},
        VECTORS,
    ),
    "ours": (
        "Members of ours.",
        {
            "input": "Hi",
            "jusinfer": {},
            "route": "fallback",
            "sandbox": {"script": "echo"},
            "usage": {"include": True},
            "provider": {"order": ["a"]},
        },
        VECTORS,
    ),
    "models": (
        "Models to fall back to.",
        {"input": "Hi", "models": ["embeddings/model"]},
        VECTORS,
    ),
    "no_usage": (
        "An answer without usage.",
        {"input": "Hello"},
        {name: value for name, value in VECTORS.items() if name != "usage"},
    ),
    "empty": ("Nothing.", {"input": ""}, VECTORS),
    "empty_list": ("No texts.", {"input": []}, VECTORS),
    "missing": ("No input at all.", {}, VECTORS),
    "odd_input": ("A number.", {"input": 5}, VECTORS),
    "odd_format": ("A format nobody knows.", {"input": "a", "encoding_format": "hex"}, VECTORS),
    "odd_dimensions": ("No dimensions.", {"input": "a", "dimensions": 0}, VECTORS),
    "unknown": ("A member that no table names.", {"input": "a", "new_member": 1}, VECTORS),
    "odd_vectors": (
        "Vectors of no numbers, and none at all, where base64 was asked for.",
        {"input": ["a", "b"], "encoding_format": "base64"},
        {**VECTORS, "data": [{**VECTORS["data"][0], "embedding": [None, 1e300]}, 5]},
    ),
    "no_vectors": ("An answer without vectors.", {"input": "Hi"}, {**VECTORS, "data": []}),
    "no_answer": ("No answer at all.", {"input": "Hi"}, {"hello": 1}),
}


def cases() -> Iterator[Case]:
    """All of them."""
    for name, (note, request, providers) in LEGACY.items():
        for provider in providers:
            yield Case(
                client="completions",
                provider=provider,
                name=f"ask_{name}",
                note=note,
                request=request,
                answer=usual(provider),
            )
    for name, (note, request, whole) in EMBEDDINGS.items():
        yield Case(
            client="embeddings",
            provider="embeddings",
            name=name,
            note=note,
            request=request,
            answer=Answer(whole=whole, is_odd=name == "odd_vectors"),
        )
