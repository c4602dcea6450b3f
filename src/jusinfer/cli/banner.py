"""What a person sees when the product is ready: where it is, a key, and two things to paste."""

from typing import TextIO

from jusinfer.config import Settings


def base_url(settings: Settings, port: int) -> str:
    """Give the base URL that callers use."""
    listen = settings.listen
    if listen.public_url:
        return f"{listen.public_url}/v1"
    scheme = "http" if listen.tls_certificate is None else "https"
    host = "127.0.0.1" if listen.host in {"0.0.0.0", "::"} else listen.host
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/v1"


def ready(settings: Settings, port: int, key: str | None, stream: TextIO) -> None:
    """Print the banner; the key is shown this once and never again."""
    url = base_url(settings, port)
    lines = ["", f"  jusInfer is ready at {url}", ""]
    if key is None:
        lines += [
            "  Your keys are as you left them: `jusinfer keys list` shows them,",
            "  `jusinfer keys create` makes another.",
        ]
        shown = "ji_test_…"
    else:
        lines += [
            f"  Test key (shown only now):  {key}",
            "  It reaches the built-in sandbox and costs nothing.",
        ]
        shown = key
    lines += [
        "",
        "  Try it:",
        "",
        *_curl(url, shown),
        "",
        "  Or in Python:",
        "",
        *_snippet(url, shown),
    ]
    lines += ["", f"  Stop with Ctrl-C. Data is in {settings.data_dir}", ""]
    stream.write("\n".join(lines) + "\n")
    stream.flush()


def _curl(url: str, key: str) -> list[str]:
    body = '{"model": "jusinfer/auto", "messages": [{"role": "user", "content": "Hello!"}]}'
    headers = f"-H 'Authorization: Bearer {key}' -H 'Content-Type: application/json'"
    return [f"curl {url}/chat/completions {headers} -d '{body}'"]


def _snippet(url: str, key: str) -> list[str]:
    return [
        "from openai import OpenAI",
        f'client = OpenAI(base_url="{url}", api_key="{key}")',
        'messages = [{"role": "user", "content": "Hello!"}]',
        'answer = client.chat.completions.create(model="jusinfer/auto", messages=messages)',
        "print(answer.choices[0].message.content)",
    ]
