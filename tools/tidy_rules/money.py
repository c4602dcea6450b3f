"""The rule of counted money: integers with their unit in the name, never a fraction."""

import ast
from collections.abc import Iterator
from typing import Final

from tools.tidy_rules.model import Finding, Function, Source, functions

_UNITS: Final = ("_pico", "_nano", "_micro", "_minor", "_micro_per_mtok")
_NOT_MONEY: Final = frozenset({"http_minor"})
# A float that is named as a time is no money.
_TIMES: Final = ("_at", "_seconds", "_ms", "deadline", "now")


def money(source: Source) -> Iterator[Finding]:
    """No `/`, no float literal and no `float` beside an amount of money."""
    if not source.is_product:
        return
    for function in functions(source):
        nodes = list(_own_nodes(function))
        names = {name for name in map(_name, nodes) if name.endswith(_UNITS)}
        amounts = sorted(names - _NOT_MONEY)
        if not amounts:
            continue
        times = {id(value) for value in map(_time, nodes) if value is not None}
        for node in nodes:
            what = _fraction(node)
            if what and id(node) not in times:
                message = f"{function.name} handles {amounts[0]} and has {what}; count in integers"
                yield source.finding(node, "money", message)


def _own_nodes(function: Function) -> Iterator[ast.AST]:
    """Walk a function without the functions inside it: each answers for itself."""
    waiting: list[ast.AST] = [function]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += [
            child
            for child in ast.iter_child_nodes(node)
            if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        ]


def _name(node: ast.AST) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.arg | ast.keyword):
        return node.arg or ""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return node.name
    return ""


def _time(node: ast.AST) -> ast.expr | None:
    """Give the value that is given to a name of a time here, if one is."""
    if isinstance(node, ast.Assign):
        names = [_name(target) for target in node.targets]
    elif isinstance(node, ast.AnnAssign):
        names = [_name(node.target)]
    elif isinstance(node, ast.keyword):
        names = [node.arg or ""]
    else:
        return None
    return node.value if all(name.endswith(_TIMES) for name in names) else None


def _fraction(node: ast.AST) -> str:
    """Say what makes a fraction here; a float that names another unit (seconds) may pass by."""
    if isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
        return "a division `/`"
    if isinstance(node, ast.Constant) and isinstance(node.value, float):
        return f"the float {node.value}"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "float":
        return "a call of float"
    annotated = ""
    if isinstance(node, ast.arg):
        annotated = node.arg
    elif isinstance(node, ast.AnnAssign):
        annotated = _name(node.target)
    annotation = getattr(node, "annotation", None)
    if annotated.endswith(_UNITS) and annotation is not None and "float" in ast.unparse(annotation):
        return f"{annotated} as a float"
    return ""
