"""A provider that answers as it is told, and remembers what it was asked."""

import http.server
import json
import threading
from types import TracebackType
from typing import Any, Self

Answer = tuple[int, dict[str, str], bytes]
USAGE = {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30}


def whole(usage: Any = USAGE, text: str = "hello") -> Answer:
    """Give a good whole answer."""
    message = {"role": "assistant", "content": text}
    body = {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": usage,
    }
    return 200, {"content-type": "application/json"}, json.dumps(body).encode()


def stream(*events: Any, status: int = 200) -> Answer:
    """Give a stream of these events; a text stands as it is."""
    lines = [event if isinstance(event, str) else json.dumps(event) for event in events]
    body = "".join(f"data: {line}\n\n" for line in lines)
    return status, {"content-type": "text/event-stream"}, body.encode()


def refusal(status: int, error: Any, **headers: str) -> Answer:
    """Give a refusal with an error object."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = json.dumps({"error": error}).encode()
    return status, {"content-type": "application/json", **named}, body


class OddProvider:
    """Serves on a free port of loopback; the last word of a path names the script."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[dict[str, Any]] = []
        provider = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                status, headers, data = provider.answer(self.path, body)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
                del format, arguments

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def answer(self, path: str, body: dict[str, Any]) -> Answer:
        """Note what is asked, and give what to answer."""
        del path
        self.asked.append(body)
        return self.answers.get(str(body["model"]), whole())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        del kind, error, trace
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def config(self, *models: str, provider_api: str = "openai_chat", name: str = "odd") -> str:
        """Write an upstream's part of a configuration; a model is `id` or `id=members`."""
        lines = [
            "[[upstream]]",
            f'name = "{name}"',
            f'base_url = "http://127.0.0.1:{self.port}/v1"',
            f'api = "{provider_api}"',
            "is_local = true",
        ]
        for model in models:
            model_id, _, members = model.partition("=")
            prices = members if "input" in members else f'input = "1"\noutput = "2"\n{members}'
            lines += ["[[upstream.model]]", f'id = "{model_id}"', prices]
        return "\n".join(lines) + "\n"
