"""Small faults of Python source: every place of a file where one can be put, and the text with it.

A fault replaces a few characters and leaves all others as they are, so that lines keep their
numbers. Docstrings, annotations, messages of errors, and assertions are left alone: no test can or
should notice what becomes of them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

OPERATORS: Final[dict[type[ast.AST], str]] = {
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.In: "not in",
    ast.NotIn: "in",
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "+",
    ast.Div: "*",
    ast.FloorDiv: "*",
    ast.Mod: "*",
    ast.LShift: ">>",
    ast.RShift: "<<",
    ast.BitAnd: "|",
    ast.BitOr: "&",
    ast.BitXor: "|",
    ast.And: "or",
    ast.Or: "and",
}
"""What stands in place of an operator."""


@dataclass(frozen=True)
class Mutant:
    """One fault.

    Attributes
    ----------
    line
        Line of the file, from 1.
    before, after
        Text that goes, and text that comes.
    start
        Position of `before` in the UTF-8 bytes of the file.
    """

    line: int
    before: str
    after: str
    start: int

    def apply(self, source: bytes) -> bytes:
        """Return the source with the fault in it."""
        end = self.start + len(self.before.encode())
        return source[: self.start] + self.after.encode() + source[end:]


def mutants(source: bytes) -> list[Mutant]:
    """Every fault of a source file, in the order of the file.

    Raises
    ------
    SyntaxError
        If the source is no Python.
    """
    finder = _Finder(source)
    finder.visit(ast.parse(source))
    unique = {(item.start, item.before, item.after): item for item in finder.found}
    return [unique[key] for key in sorted(unique)]


class _Finder(ast.NodeVisitor):
    """Collects the faults of one file."""

    def __init__(self, source: bytes) -> None:
        self.found: list[Mutant] = []
        self._source = source
        self._starts = [0]
        for line in source.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))

    def _position(self, line: int, column: int) -> int:
        return self._starts[line - 1] + column

    def _begin(self, node: ast.expr | ast.stmt) -> int:
        return self._position(node.lineno, node.col_offset)

    def _end(self, node: ast.expr | ast.stmt) -> int:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._position(node.end_lineno, node.end_col_offset)

    def _put(self, line: int, start: int, end: int, after: str) -> None:
        self.found.append(Mutant(line, self._source[start:end].decode(), after, start))

    def _replace(self, node: ast.expr, after: str) -> None:
        self._put(node.lineno, self._begin(node), self._end(node), after)

    def _operator(self, left: ast.expr, right: ast.expr, kind: ast.AST) -> None:
        """Exchange the operator that stands between two operands."""
        after = OPERATORS.get(type(kind))
        if after is None:
            return
        start, end = self._end(left), self._begin(right)
        between = self._source[start:end]
        text = between.strip(b" \n\t()\\")
        if b"#" in between or not text or between.count(text) != 1:
            return
        start += between.index(text)
        self._put(left.end_lineno or left.lineno, start, start + len(text), after)

    def visit_Compare(self, node: ast.Compare) -> None:
        operands = [node.left, *node.comparators]
        for left, right, kind in zip(operands, operands[1:], node.ops, strict=False):
            self._operator(left, right, kind)
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        self._operator(node.left, node.right, node.op)
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        for left, right in zip(node.values, node.values[1:], strict=False):
            self._operator(left, right, node.op)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        after = OPERATORS.get(type(node.op))
        start, end = self._end(node.target), self._begin(node.value)
        text = self._source[start:end].strip()
        if after is not None and text.endswith(b"="):
            begin = start + self._source[start:end].index(text)
            self._put(node.lineno, begin, begin + len(text), f"{after}=")
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not | ast.USub | ast.Invert):
            length = 3 if isinstance(node.op, ast.Not) else 1
            begin = self._begin(node)
            self._put(node.lineno, begin, begin + length, "")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, bool):
            self._replace(node, str(not value))
        elif isinstance(value, int):
            self._replace(node, str(value + 1))
            if value:
                self._replace(node, str(value - 1))
        elif isinstance(value, float):
            self._replace(node, repr(value + 1.0))

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self._replace(node.test, f"not ({ast.unparse(node.test)})")
        self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        if all(isinstance(item, ast.Raise) for item in node.body) and not node.orelse:
            self._replace(node.test, "False")
        self.generic_visit(node)

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is not None and not isinstance(node.value, ast.Constant):
            self._replace(node.value, "None")
        self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        """Leave what an error says alone."""

    def visit_Assert(self, node: ast.Assert) -> None:
        """Leave what is never false alone."""

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Leave texts alone."""

    def visit_arg(self, node: ast.arg) -> None:
        """Leave annotations alone."""

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if node.name in ("__repr__", "_repr_html_", "__str__"):
            return
        for part in self._parts(node):
            self.visit(part)

    @staticmethod
    def _parts(node: ast.FunctionDef) -> Iterator[ast.AST]:
        yield from node.args.defaults
        yield from (item for item in node.args.kw_defaults if item is not None)
        yield from node.body
