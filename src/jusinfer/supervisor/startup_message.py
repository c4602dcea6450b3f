"""What a person sees when the product is ready: where it is, a key, and two things to paste."""

import shlex
from pathlib import Path
from typing import Final, TextIO

import msgspec

from jusinfer.config import Settings
from jusinfer.domain.printable import printable
from jusinfer.store.secret_files import write_secret

KEY_FILE: Final = "first-test-key"


def base_url(settings: Settings, port: int) -> str:
    """Give the base URL that clients use."""
    listen = settings.listen
    if listen.public_url:
        return f"{listen.public_url}/v1"
    scheme = "http" if listen.tls_certificate is None else "https"
    host = "127.0.0.1" if listen.host in {"0.0.0.0", "::"} else listen.host
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/v1"


class Key(msgspec.Struct, frozen=True):
    """How a key is shown: in words, in a shell's double quotes, and as a Python expression."""

    lines: tuple[str, ...]
    shell: str
    python: str


def shown_key(settings: Settings, key: str | None, stream: TextIO) -> Key:
    """Say a first key on a terminal; elsewhere keep it in a private file and say which.

    What is not a terminal is a service manager's log or a file, and is kept. Raises OSError when
    the file cannot be written.
    """
    if key is None:
        lines = (
            "Your keys are as you left them: `jusinfer keys list` shows them,",
            "`jusinfer keys create` makes another.",
        )
        return Key(lines, "ji_test_…", '"ji_test_…"')
    reach = "It reaches the built-in sandbox and costs nothing."
    if stream.isatty():
        return Key((f"Test key (shown only now):  {key}", reach), key, f'"{key}"')
    path = Path(settings.data_dir) / KEY_FILE
    write_secret(path, f"{key}\n".encode("ascii"))
    return Key(
        (f"Test key: in {path}, for you only; delete it when you have it.", reach),
        f"$(cat {shlex.quote(str(path))})",
        f"open({str(path)!r}).read().strip()",
    )


def ready(settings: Settings, port: int, key: Key, stream: TextIO) -> None:
    """Print the banner; a key on a terminal is shown this once and never again."""
    url = base_url(settings, port)
    lines = ["", f"  jusInfer is ready at {url}", "", *(f"  {line}" for line in key.lines)]
    lines += [
        "",
        "  Try it:",
        "",
        *_curl(url, key.shell),
        "",
        "  Or in Python:",
        "",
        *_snippet(url, key.python),
    ]
    lines += ["", f"  Stop with Ctrl-C. Data is in {settings.data_dir}", ""]
    stream.write("\n".join(printable(line) for line in lines) + "\n")
    stream.flush()


def _curl(url: str, key: str) -> list[str]:
    body = '{"model": "jusinfer/auto", "messages": [{"role": "user", "content": "Hello!"}]}'
    headers = f"-H \"Authorization: Bearer {key}\" -H 'Content-Type: application/json'"
    return [f"curl {url}/chat/completions {headers} -d '{body}'"]


def _snippet(url: str, key: str) -> list[str]:
    return [
        "from openai import OpenAI",
        f'client = OpenAI(base_url="{url}", api_key={key})',
        'messages = [{"role": "user", "content": "Hello!"}]',
        'answer = client.chat.completions.create(model="jusinfer/auto", messages=messages)',
        "print(answer.choices[0].message.content)",
    ]
