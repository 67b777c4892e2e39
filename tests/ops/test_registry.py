"""Every op in the registry is complete, and has a case that runs it on every executor."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar, get_args

import pytest
from cases import CASES, WIDE_CASES

from fxp.graph.ops import REGISTRY, Op, Relu, register
from fxp.graph.ops.base import Role

FACES = ("shape", "accumulator", "oracle", "kernel", "torch", "onnx")


def problems(op_class: type[Op], cases: Collection[Op]) -> list[str]:
    """What an op lacks; `cases` are the ops that have a case."""
    found = [f"face {face} is missing" for face in sorted(op_class.__abstractmethods__)]
    name = vars(op_class).get("name", "")
    if re.fullmatch(r"[a-z][a-z0-9_]*", name) is None:
        found.append(f"name {name!r} is not of its own in lower case")
    if not (vars(op_class).get("__doc__") or "").strip() or op_class.__doc__.startswith(
        f"{op_class.__name__}("  # what dataclass writes
    ):
        found.append("docstring is missing")
    parameters = vars(op_class).get("__dataclass_params__")
    if parameters is None or not (parameters.frozen and parameters.eq):
        found.append("is not a frozen dataclass")
    else:
        found += [
            f"attribute {field.name} has no default"
            for field in dataclasses.fields(op_class)
            if field.default is dataclasses.MISSING
        ]
    arity = op_class.arity
    if not (len(arity) == 2 and 1 <= arity[0] <= arity[1]):
        found.append(f"arity {arity} is not (fewest, most)")
    roles = {*op_class.constant_roles.values(), op_class.other_constants} - {None}
    if not roles <= {*get_args(Role)}:
        found.append(f"constant roles {sorted(roles)} are unknown")
    if any(not 0 < position < arity[1] for position in op_class.constant_roles):
        found.append("a constant stands at a position that does not exist, or at the first")
    for face in FACES:
        if not inspect.getdoc(getattr(op_class, face)):
            found.append(f"face {face} has no docstring")
    if not any(type(op) is op_class for op in cases):
        found.append("has no case")
    return found


OPS_WITH_CASES = [case.op for case in CASES]


@pytest.mark.parametrize("name", REGISTRY)
def test_op_is_complete(name: str) -> None:
    op_class = REGISTRY[name]
    assert op_class.name == name
    assert problems(op_class, OPS_WITH_CASES) == []


def test_faces_are_all_abstract() -> None:
    assert {*FACES} == Op.__abstractmethods__


def test_every_concrete_op_is_registered() -> None:
    found, waiting = set(), [Op]
    while waiting:
        op_class = waiting.pop()
        waiting += op_class.__subclasses__()
        if not inspect.isabstract(op_class) and op_class.__module__.startswith("fxp.graph.ops"):
            found |= {op_class} if "name" in vars(op_class) else set()
    assert found == {*REGISTRY.values()}


def test_names_of_cases_are_unique() -> None:
    names = [
        case.name for case in (*CASES, *(case for cases in WIDE_CASES.values() for case in cases))
    ]
    assert len({*names}) == len(names)


def test_a_name_cannot_be_registered_twice() -> None:
    with pytest.raises(ValueError, match="'relu' is registered twice"):
        register(Relu)


class _Incomplete(Op):
    """Lacks everything but a shape."""

    arity: ClassVar[tuple[int, int]] = (2, 1)
    constant_roles: ClassVar = {0: "bias", 5: "nonsense"}

    def shape(self, *shapes):
        """Shape."""
        return shapes[0]


@dataclass
class _Mutable(_Incomplete):
    size: int


def test_the_check_finds_an_incomplete_op() -> None:
    assert problems(_Incomplete, OPS_WITH_CASES) == [
        *(
            f"face {face} is missing"
            for face in ("accumulator", "kernel", "onnx", "oracle", "torch")
        ),
        "name '' is not of its own in lower case",
        "is not a frozen dataclass",
        "arity (2, 1) is not (fewest, most)",
        "constant roles ['bias', 'nonsense'] are unknown",
        "a constant stands at a position that does not exist, or at the first",
        "has no case",
    ]


def test_the_check_finds_a_mutable_op_without_docstring() -> None:
    found = problems(_Mutable, OPS_WITH_CASES)
    assert "docstring is missing" in found
    assert "is not a frozen dataclass" in found


@pytest.mark.parametrize("name", REGISTRY)
def test_the_check_finds_an_op_without_case(name: str) -> None:
    others = [op for op in OPS_WITH_CASES if op.name != name]
    assert problems(REGISTRY[name], others) == ["has no case"]
