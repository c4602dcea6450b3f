"""Rules that compare files: who imports whom, and tables that must be complete."""

import ast
import re
from collections.abc import Iterator
from typing import Final

from tools.tidy_rules.model import Finding, Repository, Source, last_name

# What the pure layers may use of the standard library: values and arithmetic, no I/O, no clock.
PURE_MODULES: Final = frozenset(
    {
        "abc",
        "base64",
        "binascii",
        "bisect",
        "collections",
        "collections.abc",
        "dataclasses",
        "datetime",
        "decimal",
        "email.utils",
        "enum",
        "fnmatch",
        "fractions",
        "functools",
        "hashlib",
        "heapq",
        "hmac",
        "html",
        "ipaddress",
        "itertools",
        "math",
        "msgspec",
        "operator",
        "pkgutil",
        "re",
        "string",
        "struct",
        "tomllib",
        "types",
        "typing",
        "unicodedata",
        "urllib.parse",
        "zlib",
    }
)
_PURE_ROOMS: Final = (
    ("src/jusinfer/domain/", ("jusinfer.domain",)),
    ("src/jusinfer/wire/", ("jusinfer.domain", "jusinfer.wire")),
)
ERRORS: Final = "src/jusinfer/domain/errors.py"
ERROR_TABLES: Final = ("src/jusinfer/wire/errors.py",)
CONFIG: Final = "src/jusinfer/config.py"
OFFERS: Final = "src/jusinfer/domain/catalog_loader.py"
CONFIG_PAGE: Final = "docs/configuration.md"
TABLES: Final = "src/jusinfer/store/tables.py"
OBSERVABILITY: Final = "src/jusinfer/observability.py"
COLUMN_TAGS: Final = frozenset({"holds", "kept", "export", "erase"})
_VARIABLE: Final = re.compile(r"[\"'](JUSINFER_[A-Z_]+|DATABASE_URL)[\"']")
_STARTED_BY_NAME: Final = ("__init__.py", "__main__.py", "conftest.py")


def imported(source: Source) -> Iterator[tuple[ast.AST, str, tuple[str, ...]]]:
    """Give each import as (node, module, names taken from it)."""
    for node in source.nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name, ()
        elif isinstance(node, ast.ImportFrom):
            yield node, node.module or "", tuple(alias.name for alias in node.names)


def pure_imports(source: Source) -> Iterator[Finding]:
    """`domain` and `wire` use values only; the contract can forbid, this rule allows."""
    for folder, rooms in _PURE_ROOMS:
        if not source.path.startswith(folder):
            continue
        for node, module, names in imported(source):
            is_room = any(module == room or module.startswith(room + ".") for room in rooms)
            taken = {f"{module}.{name}" for name in names}
            if not is_room and module not in PURE_MODULES and not (taken and taken <= PURE_MODULES):
                message = f"{module} is not on the list of what {folder[13:-1]} may import"
                yield source.finding(node, "pure-imports", message)


def orphans(repository: Repository) -> Iterator[Finding]:
    """A file that nothing imports and nothing starts is dead."""
    product, helpers = _names_imported(repository)
    started = "\n".join(
        source.text
        for source in repository.sources.values()
        if not source.path.endswith((".md", ".lock")) and not source.is_test
    )
    for source in repository.python():
        name = source.path.rpartition("/")[2]
        if name in _STARTED_BY_NAME or "/migrations/" in source.path:
            continue
        if source.is_test and name.startswith("test_"):
            continue
        names = product if source.is_product else helpers
        # The supervisor starts its children by their name within the package.
        short = source.module.removeprefix("jusinfer.")
        calls = (source.path, f"-m {source.module}", f'"{source.module}"', f'"{short}"')
        if source.module in names or any(call in started for call in calls):
            continue
        yield source.finding(1, "orphan", "nothing imports this file and nothing starts it")


def _names_imported(repository: Repository) -> tuple[set[str], set[str]]:
    """Give what the product imports, and what anyone imports."""
    product: set[str] = set()
    anyone: set[str] = set()
    for source in repository.python():
        for _, module, names in imported(source):
            found = {module, *(f"{module}.{name}" for name in names)}
            anyone |= found
            if source.is_product:
                product |= found
    return product, anyone


def error_rows(repository: Repository) -> Iterator[Finding]:
    """Each class of error has its row in each table that speaks for it."""
    errors = repository.get(ERRORS)
    if errors is None:
        return
    classes = [node for node in errors.tree.body if isinstance(node, ast.ClassDef)]
    family = {"JusinferError"}
    for node in classes:
        if any(last_name(base) in family for base in node.bases):
            family.add(node.name)
    for path in ERROR_TABLES:
        table = repository.get(path)
        if table is None:
            continue
        rows = [node for node in table.nodes if isinstance(node, ast.Dict)]
        known = {last_name(key) for row in rows for key in row.keys}
        for node in classes:
            if node.name in family - known - {"JusinferError"}:
                yield errors.finding(node, "error-rows", f"{node.name} has no row in {path}")


def settings(repository: Repository) -> Iterator[Finding]:
    """Each setting and each variable of the environment is on the page of settings."""
    page = repository.get(CONFIG_PAGE)
    config = repository.get(CONFIG)
    if page is None or config is None:
        return
    for source in filter(None, (config, repository.get(OFFERS))):
        for node, field in _fields(source):
            if not re.search(rf"\b{re.escape(field)}\b", page.text):
                message = f"{field} is not explained in {CONFIG_PAGE}"
                yield source.finding(node, "settings", message)
    for number, line in enumerate(config.lines, 1):
        for match in _VARIABLE.finditer(line):
            if match[1] not in page.text:
                message = f"{match[1]} is not explained in {CONFIG_PAGE}"
                yield config.finding(number, "settings", message)


def _fields(source: Source) -> Iterator[tuple[ast.AST, str]]:
    """Give the fields of the classes that a file of settings is read into."""
    for node in source.tree.body:
        if not isinstance(node, ast.ClassDef) or not node.name.endswith(("Settings", "Entry")):
            continue
        if not any(keyword.arg == "forbid_unknown_fields" for keyword in node.keywords):
            continue
        for statement in node.body:
            if isinstance(statement, ast.AnnAssign):
                yield statement, _written_name(statement) or last_name(statement.target)


def _written_name(statement: ast.AnnAssign) -> str:
    """Return the name that a field has in the file, where it is another than in the code."""
    value = statement.value
    for keyword in value.keywords if isinstance(value, ast.Call) else ():
        if keyword.arg == "name" and isinstance(keyword.value, ast.Constant):
            return str(keyword.value.value)
    return ""


def column_tags(repository: Repository) -> Iterator[Finding]:
    """Each column says what it holds, how long it stays, and what rights do to it."""
    tables = repository.get(TABLES)
    if tables is None:
        return
    helpers = [
        node
        for node in tables.tree.body
        if isinstance(node, ast.FunctionDef) and len(_arguments(node) & COLUMN_TAGS) > 0
    ]
    inside = {id(child) for helper in helpers for child in ast.walk(helper)}
    for node in tables.nodes:
        if not isinstance(node, ast.Call) or last_name(node.func) != "Column" or id(node) in inside:
            continue
        info = next((keyword.value for keyword in node.keywords if keyword.arg == "info"), None)
        missing = COLUMN_TAGS - _tags(info)
        if info is None or (isinstance(info, ast.Dict) and missing):
            message = f"a column without {', '.join(sorted(missing))}"
            yield tables.finding(node, "column-tags", message)


def _arguments(function: ast.FunctionDef) -> set[str]:
    arguments = function.args
    return {argument.arg for argument in (*arguments.args, *arguments.kwonlyargs)}


def _tags(info: ast.expr | None) -> set[str]:
    if not isinstance(info, ast.Dict):
        return set()
    return {str(key.value) for key in info.keys if isinstance(key, ast.Constant)}


def event_fields(repository: Repository) -> Iterator[Finding]:
    """What is logged is on the closed list, so that no content type can be named there."""
    observability = repository.get(OBSERVABILITY)
    if observability is None:
        return
    allowed = _closed_list(observability)
    for source in repository.python():
        if not source.is_product:
            continue
        for node in source.nodes:
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if node.func.attr != "emit" or "events" not in last_name(node.func.value):
                continue
            for keyword in node.keywords:
                if keyword.arg is not None and keyword.arg not in allowed:
                    message = f"{keyword.arg} is not a field that may be logged"
                    yield source.finding(node, "event-fields", message)


def _closed_list(source: Source) -> set[str]:
    """Read the texts of the constant FIELDS."""
    for node in source.tree.body:
        if isinstance(node, ast.AnnAssign) and last_name(node.target) == "FIELDS" and node.value:
            found = ast.walk(node.value)
            return {str(part.value) for part in found if isinstance(part, ast.Constant)}
    return set()
