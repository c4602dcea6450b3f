"""No part of a prompt, an answer or a key reaches a file, a table, a log or a metric."""

import base64
import gzip
import json
import random
import re
import time
import urllib.parse
import zlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.e2e.running import Running, kill, lone_sandbox, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
ALPHABET = "ABCDEFGHJKMNPQRSTVWXYZ23456789"
WINDOW = 12


class Canary:
    """Marked texts, and a scanner that finds any twelve characters of them in any dress."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 (marks, not secrets)
        self.marks: list[str] = []

    def mark(self) -> str:
        made = "".join(self._random.choice(ALPHABET) for _ in range(32))
        self.marks.append(made)
        return made

    def hits(self, folder: Path, extra: dict[str, bytes]) -> list[str]:
        """Name every place where twelve characters of a mark stand, in any dress."""
        windows = {
            mark[at : at + WINDOW].upper().encode()
            for mark in self.marks
            for at in range(len(mark) - WINDOW + 1)
        }
        places = [(str(path), path) for path in folder.rglob("*") if path.is_file()]
        hits = [name for name, path in places if _holds(_read(path), windows)]
        return hits + [name for name, data in extra.items() if _holds(data, windows)]


RUN = re.compile(rb"[A-HJ-KM-NP-TV-Z2-9_-]{12,}")
ENCODED = re.compile(rb"[A-Za-z0-9+/_-]{24,}")
HEX = re.compile(rb"(?:[0-9A-Fa-f]{2}){12,}")


def _holds(data: bytes, windows: set[bytes]) -> bool:
    return any(
        run[at : at + WINDOW] in windows
        for view in _views(data)
        for run in RUN.findall(view.upper())
        for at in range(len(run) - WINDOW + 1)
    )


def _views(data: bytes) -> Iterator[bytes]:
    """Give the data as it is and as it would be if one coat were taken off."""
    yield data
    if b"\0" in data:
        yield data.replace(b"\0", b"")
    if b"%" in data:
        yield urllib.parse.unquote_to_bytes(data)
    yield b" ".join(bytes.fromhex(run.decode()) for run in HEX.findall(data))
    for run in ENCODED.findall(data):
        symbols = run.replace(b"-", b"+").replace(b"_", b"/")
        for start in range(4):
            part = symbols[start:]
            yield base64.b64decode(part[: len(part) - len(part) % 4])
    at = data.find(b"\x1f\x8b\x08")
    if at >= 0:
        try:
            yield zlib.decompressobj(31).decompress(data[at:])
        except zlib.error:
            return


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_the_scanner_finds_what_is_planted(tmp_path: Path) -> None:
    canary = Canary(1)
    mark = canary.mark()
    planted = {
        "plain": f"xx{mark[5:20]}yy".encode(),
        "lower": mark.lower().encode(),
        "base64": base64.b64encode(f"a{mark}".encode()),
        "base64-aligned": base64.b64encode(mark.encode()),
        "hex": mark.encode().hex().encode(),
        "utf-16": mark.encode("utf-16-le"),
        "gzip": gzip.compress(mark.encode()),
        "url": "".join(f"%{ord(char):02X}" for char in mark).encode(),
    }
    for name, data in planted.items():
        (tmp_path / name).write_bytes(b"\0" * 999 + data + b"\xff" * 99)
    (tmp_path / "innocent").write_bytes(random.Random(2).randbytes(100_000))  # noqa: S311 (noise)
    found = {Path(hit).name for hit in canary.hits(tmp_path, {})}
    assert found == set(planted)


def _bodies(canary: Canary, model: str) -> dict[str, object]:
    mark = canary.mark
    return {
        "model": model,
        "messages": [
            {"role": "system", "content": mark()},
            {"role": "user", "content": [{"type": "text", "text": mark()}], "name": mark()},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": mark(),
                        "type": "function",
                        "function": {"name": "f", "arguments": json.dumps({"a": mark()})},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": mark(), "content": mark()},
            {"role": "user", "content": f"use the tool {mark()}"},
        ],
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "f",
                    "description": mark(),
                    "parameters": {"type": "object", "properties": {mark(): {"const": mark()}}},
                },
            }
        ],
        "user": mark(),
        "metadata": {mark(): mark()},
        "stop": [mark()],
        mark(): mark(),
    }


def test_no_mark_is_left_anywhere(tmp_path: Path) -> None:
    canary = Canary(int(time.time()))
    models = [
        "jusinfer/auto",
        "sandbox/echo",
        "sandbox/echo?after=3",
        "sandbox/cut?after=2",
        "sandbox/reset?after=1",
        "sandbox/garbage",
        "sandbox/missing_usage",
        *(f"sandbox/echo_error?code={code}" for code in (400, 422, 500)),
        *(f"sandbox/echo_error?code=500&enc={enc}" for enc in ("json", "html", "url", "base64")),
    ]
    with Running(tmp_path) as product:
        base = f"http://127.0.0.1:{product.port}/v1/chat/completions"
        second = product.cli("keys", "create", "--mode", "test")["key"]
        canary.marks += [product.key[9:], second[9:]]
        for model in models:
            for is_stream in (False, True):
                body = _bodies(canary, model) | {"stream": is_stream}
                headers = {
                    "authorization": f"Bearer {second}",
                    "x-odd": canary.mark(),
                    "cookie": canary.mark(),
                    "referer": canary.mark(),
                    "x-forwarded-for": "203.0.113.77",
                }
                url = f"{base}?q={canary.mark()}"
                httpx.post(url, json=body, headers=headers, timeout=20)
        key = {"authorization": f"Bearer {second}"}
        for bad in (
            f'{{"model": "{canary.mark()}", "messages": [{{"role": "{canary.mark()}"}}]}}',
            f'{{"messages": "{canary.mark()}',
            f'["{canary.mark()}"]',
        ):
            httpx.post(base, content=bad, headers=key, timeout=30)
        httpx.get(f"http://127.0.0.1:{product.port}/{canary.mark()}", headers=key, timeout=30)
        httpx.post(
            base, json={}, headers={"authorization": f"Bearer ji_test_{canary.mark()}x"}, timeout=30
        )
        _leave_a_stream(base, canary, second)
        _kill_in_the_middle(base, product, canary, second)
        wait_until(lambda: "jusinfer_settler_lag_bytes 0\n" in _metrics(product), 20)
        metrics = _metrics(product).encode()
        hits = canary.hits(product.data_dir, {"metrics": metrics})
        assert hits == []
    # Once more when all is flushed and closed, with what the processes said.
    assert canary.hits(product.data_dir, {"stderr": product.err.read_bytes()}) == []
    address = b"203.0.113.77"
    assert not [path for path in product.data_dir.rglob("*") if address in _read_file(path)]


def _read_file(path: Path) -> bytes:
    return _read(path) if path.is_file() else b""


def _metrics(product: Running) -> str:
    return httpx.get(f"http://127.0.0.1:{product.operator_port}/metrics", timeout=10).text


def _leave_a_stream(base: str, canary: Canary, key: str) -> None:
    body = _bodies(canary, "sandbox/slow?ms=50&n=100") | {"stream": True, "tools": None}
    headers = {"authorization": f"Bearer {key}"}
    with httpx.stream("POST", base, json=body, headers=headers, timeout=20) as answer:
        for _ in answer.iter_bytes():
            break


def _kill_in_the_middle(base: str, product: Running, canary: Canary, key: str) -> None:
    body = _bodies(canary, "sandbox/slow?ms=50&n=100") | {"stream": True, "tools": None}
    headers = {"authorization": f"Bearer {key}"}
    with pytest.raises(httpx.HTTPError):
        _read_while_killing(base, product, body, headers)
    wait_until(product.ready)


def _read_while_killing(
    base: str, product: Running, body: dict[str, object], headers: dict[str, str]
) -> None:
    with httpx.stream("POST", base, json=body, headers=headers, timeout=20) as answer:
        for _ in answer.iter_bytes():
            for pid in product.gateways:
                kill(pid)


def test_an_upstreams_key_is_in_no_file_and_no_log(tmp_path: Path) -> None:
    canary = Canary(7)
    secret = canary.mark()
    with lone_sandbox() as port:
        config = (
            f'[[upstream]]\nname = "mine"\nbase_url = "http://127.0.0.1:{port}/v1"\n'
            "is_local = true\n"
            f'api_key_env = "MINE_API_KEY"\n[[upstream.model]]\nid = "sandbox/status?code=500"\n'
            'input = "1"\noutput = "1"\n'
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MINE_API_KEY", secret)
            with Running(tmp_path, config=config) as product:
                key = product.cli("keys", "create", "--mode", "live")["key"]
                product.cli("grant", "default", "5", "--reason", "test")
                assert product.ask("sandbox/status?code=500", key=key).status_code == 502
                others = product.pids("bootstrap.settler") + product.pids("bootstrap.console")
                for pid in (*others, *product.pids("sandbox.app")):
                    assert secret.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
        logs = {"err": product.err.read_bytes(), "out": product.out.read_bytes()}
        assert canary.hits(product.data_dir, logs) == []
