"""Every op in the registry is complete, and has a case that runs it on every executor."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args, get_origin

import pytest
from cases import CASES, WIDE_CASES
from documents import attribute_rows, op_rows, page

from fxp.graph.ops import REGISTRY, Op, Relu, register
from fxp.graph.ops.base import Role
from fxp.hls.hls4ml_export.lowering import SUPPORTED
from fxp.hls.refusals import ADVICE
from fxp.hls.rtl.layers import RULES
from fxp.store import FORMAT_VERSION, attribute_hints

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


def undocumented(
    op_class: type[Op], graph_page: Collection[str], file_page: Mapping[str, str]
) -> list[str]:
    """What docs/graph.md and docs/file-format.md lack of an op."""
    found = [] if op_class.name in graph_page else ["has no row in docs/graph.md"]
    if op_class.name not in file_page:
        return [*found, "has no row in docs/file-format.md"]
    told = re.findall(r"`(\w+)`", file_page[op_class.name])
    wanted: list[str] = []
    for name, hint in attribute_hints(op_class).items():
        wanted.append(name)
        if get_origin(hint) is Literal:
            wanted += get_args(hint)
        length = len(get_args(hint)) if get_origin(hint) is tuple else 0
        length = 0 if Ellipsis in get_args(hint) else length
        if length and f"`{name}` [{length}]" not in file_page[op_class.name]:
            found.append(f"docs/file-format.md does not say that {name} has {length} integers")
    if told != wanted:
        found.append(f"docs/file-format.md names {told}, not {wanted}")
    return found


OPS_WITH_CASES = [case.op for case in CASES]


@pytest.mark.parametrize("name", REGISTRY)
def test_op_is_complete(name: str) -> None:
    op_class = REGISTRY[name]
    assert op_class.name == name
    assert problems(op_class, OPS_WITH_CASES) == []
    assert undocumented(op_class, op_rows(), attribute_rows()) == []


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


def test_the_check_finds_an_op_without_documentation() -> None:
    clamp = REGISTRY["clamp"]
    assert undocumented(clamp, {}, {}) == [
        "has no row in docs/graph.md",
        "has no row in docs/file-format.md",
    ]
    found = undocumented(clamp, {"clamp": []}, {"clamp": "`low`"})
    assert found == ["docs/file-format.md names ['low'], not ['low', 'high']"]
    found = undocumented(REGISTRY["gelu"], {"gelu": []}, {"gelu": "`approximate` (`none`)"})
    assert found == [
        "docs/file-format.md names ['approximate', 'none'], not ['approximate', 'none', 'tanh']"
    ]


def test_the_documentation_names_no_op_that_is_not_there() -> None:
    assert {*op_rows()} == {*attribute_rows()} == {*REGISTRY}


def test_the_hls4ml_page_lists_what_is_supported() -> None:
    found = re.search(r"^Supported: ((?:`\w+`(?:, )?)+)\.", page("hls4ml.md"), re.MULTILINE)
    assert found is not None
    assert tuple(re.findall(r"`(\w+)`", found[1])) == SUPPORTED


def test_there_is_advice_for_every_op_that_no_hardware_takes() -> None:
    projects, cores = {*SUPPORTED}, {op.name for op in RULES}
    assert {*REGISTRY} - projects - cores <= {*ADVICE}
    assert {*ADVICE} <= {*REGISTRY} - (projects & cores)
    table = page("rtl.md").partition("| Operation | Instead |")[2].partition("\n\n")[0]
    told = [row.split("|")[1] for row in table.strip().splitlines()[1:]]
    assert {name for cell in told for name in re.findall(r"`(\w+)`", cell)} == {*ADVICE}


def test_the_page_of_the_file_format_tells_every_version() -> None:
    versions = page("file-format.md").partition("## Versions")[2].partition("## ")[0]
    told = [int(number) for number in re.findall(r"[Vv]ersion (\d+)", versions)]
    assert told == [*range(2, FORMAT_VERSION + 1)]
