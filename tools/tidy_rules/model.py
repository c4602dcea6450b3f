"""What the rules of tidy look at and what they answer."""

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Final, NamedTuple

_ESCAPE: Final = re.compile(r"#\s*tidy:\s*(?P<rule>[a-z-]+)\s+because\s+(?P<reason>\S.*)")
_MARK: Final = "# tidy" + ":"


class Finding(NamedTuple):
    """One thing out of place; `line` counts from 1."""

    path: str
    line: int
    rule: str
    message: str


class Escape(NamedTuple):
    """A written excuse for one rule at one place."""

    path: str
    line: int
    rule: str
    reason: str


class Source:
    """One text file; Python ones are parsed and flattened once, for all rules."""

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.text = text
        self.lines = text.splitlines()
        self.is_python = path.endswith(".py")
        self.fault: SyntaxError | None = None
        self.tree = self._parsed() if self.is_python else ast.Module([], [])
        self.nodes = tuple(ast.walk(self.tree))

    def _parsed(self) -> ast.Module:
        try:
            return ast.parse(self.text, self.path)
        except SyntaxError as error:
            self.fault = error
            return ast.Module([], [])

    @property
    def is_product(self) -> bool:
        """Whether this is Python that ships."""
        return self.is_python and self.path.startswith("src/")

    @property
    def is_test(self) -> bool:
        """Whether this is Python under `tests`."""
        return self.is_python and self.path.startswith("tests/")

    @property
    def module(self) -> str:
        """The dotted name that imports use for this file."""
        parts = list(PurePosixPath(self.path.removeprefix("src/")).with_suffix("").parts)
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    def finding(self, node: ast.AST | int, rule: str, message: str) -> Finding:
        """Make a finding at a node or a line of this file."""
        line = node if isinstance(node, int) else getattr(node, "lineno", 1)
        return Finding(self.path, line, rule, message)

    def escapes(self) -> list[Escape]:
        """Read the excuses from the comments; texts that look like one do not count."""
        if not self.is_python or self.fault or _MARK not in self.text:
            return []
        found = []
        for token in tokenize.generate_tokens(io.StringIO(self.text).readline):
            match = _ESCAPE.match(token.string) if token.type == tokenize.COMMENT else None
            if match is not None:
                found.append(
                    Escape(self.path, token.start[0], match["rule"], match["reason"].strip())
                )
        return found


class Repository(NamedTuple):
    """All files that tidy reads, by path."""

    sources: dict[str, Source]

    def python(self) -> Iterator[Source]:
        """Give the Python files."""
        return (source for source in self.sources.values() if source.is_python)

    def get(self, path: str) -> Source | None:
        """Give a file, or None while nobody has written it."""
        return self.sources.get(path)


FileRule = Callable[[Source], Iterator[Finding]]
HouseRule = Callable[[Repository], Iterator[Finding]]
Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(source: Source) -> Iterator[Function]:
    """Give every function of a file, inner ones too."""
    for node in source.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def last_name(node: ast.AST | None) -> str:
    """Give the rightmost identifier of an expression such as `a.b.c` or `a.b()`; "" if none."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Call):
        return last_name(node.func)
    if isinstance(node, ast.Subscript):
        return last_name(node.value)
    return ""
