"""Public functions of three and more parameters explain them.

The docstring of the function needs a section `Parameters`. A class explains the parameters of its
constructor in its own docstring. A method that overrides another of the same parameters need not
repeat what the class it derives from says of them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("fxp", "models", "hls", "rtl_sim", "benchmarks")
MANY = 3
Function = ast.FunctionDef | ast.AsyncFunctionDef


def modules() -> list[Path]:
    """Every module once: the links in ``fxp`` are left out."""
    found = []
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            if not any(folder.is_symlink() for folder in path.parents):
                found.append(path)
    return sorted(found)


def public_functions(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, Function]]:
    for child in ast.iter_child_nodes(node):
        name = getattr(child, "name", "_")
        if name.startswith("_"):
            continue
        if isinstance(child, ast.ClassDef):
            yield from public_functions(child, f"{prefix}{name}.")
        elif isinstance(child, Function) and not is_overload(child):
            yield f"{prefix}{name}", child


def is_overload(function: Function) -> bool:
    """Whether this is a further signature of a function that follows, which has the docstring."""
    return "overload" in map(ast.unparse, function.decorator_list)


def parameters(function: Function) -> list[str]:
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return [item.arg for item in named if item.arg not in ("self", "cls")]


def is_command(function: Function) -> bool:
    """Whether typer prints the docstring as help, and each parameter has a help text of its own."""
    annotations = [ast.unparse(item.annotation) for item in
                   [*function.args.args, *function.args.kwonlyargs] if item.annotation]  # fmt: skip
    return bool(annotations) and all(
        "typer." in text or text.endswith(("Option", "Argument")) for text in annotations
    )


def explains(function: Function) -> bool:
    return "Parameters\n----------\n" in (ast.get_docstring(function) or "")


Classes = Mapping[str, ast.ClassDef]


def classes_of(trees: Iterable[ast.Module]) -> Classes:
    """Classes by name. Of two of one name neither is kept: nothing tells which is meant."""
    found: dict[str, list[ast.ClassDef]] = {}
    for tree in trees:
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(node)
    return {name: nodes[0] for name, nodes in found.items() if len(nodes) == 1}


@cache
def every_class() -> Classes:
    return classes_of(ast.parse(path.read_text(encoding="utf-8")) for path in modules())


def inherits(name: str, function: Function, classes: Classes) -> bool:
    """Whether a class that the method's own derives from explains the same parameters."""
    owner, _, method = name.rpartition(".")
    if owner not in classes:
        return False
    for base in classes[owner].bases:
        base_name = ast.unparse(base).split("[")[0].rpartition(".")[2]
        if base_name not in classes:
            continue
        for item in classes[base_name].body:
            if isinstance(item, Function) and item.name == method and explains(item):
                return parameters(item) == parameters(function)
        if inherits(f"{base_name}.{method}", function, classes):
            return True
    return False


def lacking(source: str, classes: Classes) -> list[str]:
    return [
        name
        for name, function in public_functions(ast.parse(source))
        if len(parameters(function)) >= MANY
        and not is_command(function)
        and not explains(function)
        and not inherits(name, function, classes)
    ]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_parameters_are_explained(path: Path) -> None:
    found = lacking(path.read_text(encoding="utf-8"), every_class())
    assert found == []


def test_what_is_found() -> None:
    assert len(modules()) > 200
    source = '''
def two(a, b): ...
def three(a, b, *, c): ...
def _hidden(a, b, c): ...
@overload
def explained(a: int, b: int, c: int) -> int: ...
def explained(a, b, c):
    """Do.

    Parameters
    ----------
    a, b, c
        Numbers.
    """
class Shape:
    def turned(self, a, b): ...
    def moved(self, a, b, c): ...
def command(a: Annotated[int, typer.Option(help="A.")], b: Annotated[int, typer.Option()] = 1,
            c: Annotated[int, typer.Option()] = 2):
    """Help."""
class Base:
    def turned(self, a, b, c):
        """Turn.

        Parameters
        ----------
        a, b, c
            Numbers.
        """
    def stretched(self, a, b, c):
        """Stretch.

        Parameters
        ----------
        a, b, c
            Numbers.
        """
class Between(Base): ...
class Line(Between):
    def turned(self, a, b, c): ...
    def stretched(self, a, b, factor): ...
class Point:
    def turned(self, a, b, c): ...
'''
    classes = classes_of([ast.parse(source)])
    assert lacking(source, classes) == ["three", "Shape.moved", "Line.stretched", "Point.turned"]
