"""Rules about the shape of one file: sizes, catch-alls, shared state, stray tasks."""

import ast
from collections.abc import Iterator
from typing import Final

from tools.tidy_rules.model import Finding, Source, functions, last_name

FILE_LINES_MAX: Final = 500
TEST_FILE_LINES_MAX: Final = 800
FUNCTION_LINES_MAX: Final = 70

# Where everything may be caught once, because a connection, a console request or a job ends there.
# A worker's guarded child is the same place as the server's: the end of a connection.
CATCH_ALL_PLACES: Final = (
    "src/jusinfer/gateway/http/server.py",
    "src/jusinfer/gateway/worker.py",
    "src/jusinfer/console/app.py",
    "src/jusinfer/console/errors.py",
    "src/jusinfer/jobs/app.py",
)
_EVERYTHING: Final = frozenset({"Exception", "BaseException"})
_MUTABLE_NODES: Final = (
    ast.List,
    ast.Dict,
    ast.Set,
    ast.ListComp,
    ast.DictComp,
    ast.SetComp,
)
_MUTABLE_CALLS: Final = frozenset(
    {"list", "dict", "set", "bytearray", "defaultdict", "deque", "Counter", "OrderedDict"}
)
# A type that only reads: mypy refuses to write through it.
_READ_ONLY: Final = frozenset({"Mapping", "Sequence", "Collection", "AbstractSet"})


def syntax(source: Source) -> Iterator[Finding]:
    """A file is Python of the oldest version we promise, which is the one that runs tidy."""
    if source.fault is not None:
        yield source.finding(source.fault.lineno or 1, "syntax", source.fault.msg)


def file_lines(source: Source) -> Iterator[Finding]:
    """A file fits a sitting."""
    if not source.is_python:
        return
    most = TEST_FILE_LINES_MAX if source.is_test else FILE_LINES_MAX
    if len(source.lines) > most:
        message = f"{len(source.lines)} lines, at most {most}; split it by meaning"
        yield source.finding(1, "file-lines", message)


def function_lines(source: Source) -> Iterator[Finding]:
    """A function fits a screen."""
    for function in functions(source):
        count = (function.end_lineno or function.lineno) - function.lineno + 1
        if count > FUNCTION_LINES_MAX:
            message = f"{function.name} has {count} lines, at most {FUNCTION_LINES_MAX}"
            yield source.finding(function, "function-lines", message)


def blind_except(source: Source) -> Iterator[Finding]:
    """Catch what can be mended; three places may catch the rest, once each."""
    if not source.is_product:
        return
    excused = 1 if source.path in CATCH_ALL_PLACES else 0
    for node in source.nodes:
        if not _catches_everything(node):
            continue
        if excused:
            excused -= 1
            continue
        message = "catches everything; name what can be mended here"
        yield source.finding(node, "blind-except", message)


def _catches_everything(node: ast.AST) -> bool:
    if isinstance(node, ast.ExceptHandler):
        last = node.body[-1]
        if isinstance(last, ast.Raise) and last.exc is None:
            return False
        kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        return any(kind is None or last_name(kind) in _EVERYTHING for kind in kinds)
    if isinstance(node, ast.Call) and last_name(node.func) == "suppress":
        return any(last_name(argument) in _EVERYTHING for argument in node.args)
    return False


def no_global(source: Source) -> Iterator[Finding]:
    """State belongs to an object that somebody made and can close."""
    for node in source.nodes:
        if isinstance(node, ast.Global):
            yield source.finding(node, "global", f"global {', '.join(node.names)}")


def mutable_module(source: Source) -> Iterator[Finding]:
    """A module is the same in every process and every test: nothing in it changes."""
    if source.is_test:
        return
    for node in source.tree.body:
        if not isinstance(node, ast.Assign | ast.AnnAssign):
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        names = [last_name(target) for target in targets]
        if isinstance(node, ast.AnnAssign) and _reads_only(node.annotation):
            continue
        if node.value is not None and _is_mutable(node.value) and names != ["__all__"]:
            message = f"{', '.join(names)} can change; make it a tuple, frozenset or Final[Mapping]"
            yield source.finding(node, "mutable-module", message)


def _is_mutable(value: ast.expr) -> bool:
    if isinstance(value, ast.Call):
        return last_name(value.func) in _MUTABLE_CALLS
    return isinstance(value, _MUTABLE_NODES)


def _reads_only(annotation: ast.expr) -> bool:
    if last_name(annotation) == "Final" and isinstance(annotation, ast.Subscript):
        return last_name(annotation.slice) in _READ_ONLY
    return last_name(annotation) in _READ_ONLY


def stray_task(source: Source) -> Iterator[Finding]:
    """A task is born in a group that someone awaits; ruff knows asyncio's name, not a loop's."""
    if not source.is_product:
        return
    for node in source.nodes:
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        receiver = last_name(node.func.value).lower()
        if node.func.attr == "create_task" and not receiver.endswith(("group", "tasks")):
            yield source.finding(
                node, "task", f"create_task on {receiver or 'a value'}, not a group"
            )
