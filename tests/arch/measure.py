"""Measure the yardstick of the code: sizes, branches, docstrings, annotations, cycles, tier imports, pure lines. Pure ast, runs nothing."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TIERS = ("edge", "region", "cloud", "provisioning")
PACKAGES = (*TIERS, "shared")
IMPURE = {
    "os", "io", "socket", "time", "threading", "subprocess", "asyncio", "sqlite3", "ssl", "http", "urllib.request", "select", "selectors",
    "signal", "shutil", "tempfile", "multiprocessing", "ctypes", "paho", "av", "uvicorn", "fastapi", "starlette", "httptools",
    "h11", "typer", "click", "rich", "structlog", "flwr", "tuf.ngclient", "prometheus_client", "logging", "queue", "fcntl",
    "mmap", "requests", "socketserver",
}  # fmt: skip
BRANCHES = (ast.If, ast.For, ast.While, ast.ExceptHandler, ast.IfExp, ast.BoolOp, ast.comprehension, ast.match_case, ast.Assert)


@dataclass(frozen=True)
class Function:
    """One function: where it is, its lines without docstring, its branches, and what it lacks."""

    where: str
    lines: int
    branches: int
    annotated: bool


@dataclass
class Module:
    """One file: its name, its length, what it imports and defines."""

    name: str
    lines: int
    imports: set[str] = field(default_factory=set)
    functions: list[Function] = field(default_factory=list)
    public: int = 0
    documented: int = 0
    missing: list[str] = field(default_factory=list)


def modules(root: Path = ROOT) -> dict[str, Module]:
    """Parse every Python file of the five packages."""
    found = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
            found[name] = _module(name, path)
    return found


def _module(name: str, path: Path) -> Module:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    module = Module(name=name, lines=text.count("\n"))
    runtime = _without_type_checking(tree)
    for node in runtime:
        module.imports.update(_imported(node))
    _document(module, tree, name)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            module.functions.append(_function(node, name))
    return module


def _without_type_checking(tree: ast.Module) -> Iterator[ast.AST]:
    skipped: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            skipped.update(id(inner) for inner in ast.walk(node))
    return (node for node in ast.walk(tree) if id(node) not in skipped)


def _imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _document(module: Module, tree: ast.Module, name: str) -> None:
    def count(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, label: str) -> None:
        module.public += 1
        if ast.get_docstring(node):
            module.documented += 1
        else:
            module.missing.append(label)

    count(tree, name)
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            count(node, f"{name}.{node.name}")
            for inner in node.body if isinstance(node, ast.ClassDef) else []:
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef) and not inner.name.startswith("_"):
                    count(inner, f"{name}.{node.name}.{inner.name}")


def _function(node: ast.FunctionDef | ast.AsyncFunctionDef, module: str) -> Function:
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    if ast.get_docstring(node):
        first = node.body[0]
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    named = [argument for argument in arguments if argument.arg not in ("self", "cls")]
    annotated = node.returns is not None and all(argument.annotation is not None for argument in named)
    branches = sum(isinstance(inner, BRANCHES) for inner in _own(node))
    return Function(where=f"{module}:{node.name}", lines=lines, branches=branches, annotated=annotated)


def _own(node: ast.AST) -> Iterator[ast.AST]:
    for inner in ast.iter_child_nodes(node):
        if not isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield inner
            yield from _own(inner)


def graph(found: dict[str, Module]) -> dict[str, set[str]]:
    """Return which of our modules imports which of ours."""
    return {name: {target for target in module.imports if target in found and target != name} for name, module in found.items()}


def cycles(edges: dict[str, set[str]]) -> list[str]:
    """Return the modules that reach themselves by imports."""
    return sorted(name for name in edges if name in _reachable(edges, name))


def _reachable(edges: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    stack = list(edges[start])
    while stack:
        name = stack.pop()
        if name not in seen:
            seen.add(name)
            stack.extend(edges[name])
    return seen


def pure(found: dict[str, Module], edges: dict[str, set[str]]) -> set[str]:
    """Return the modules that import, also through ours, nothing that does I/O, waits or reads a clock."""

    def touches(name: str) -> bool:
        return any(part in IMPURE or part.split(".")[0] in IMPURE for part in found[name].imports)

    return {name for name in found if not touches(name) and not any(touches(other) for other in _reachable(edges, name))}


def crossings(found: dict[str, Module]) -> list[str]:
    """Return imports from one tier into another, and from shared into a tier."""
    return sorted(
        f"{name} imports {target}"
        for name, module in found.items()
        for target in module.imports
        if target.split(".")[0] in TIERS and target.split(".")[0] != name.split(".")[0]
    )


def percentile(values: list[int], share: float) -> int:
    """Return the value below which `share` of the sorted values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0
