"""The page of supported operations is current, and what it names exists."""

from __future__ import annotations

import re
from functools import reduce

import documents
import pytest
import torch
from torch import nn

from fxp.frontend import catalog
from fxp.frontend.convert import CONVERTERS
from fxp.frontend.quantizer_marks import MARKS
from fxp.frontend.refusals import ADVICE
from fxp.graph.ops import REGISTRY, FunctionTable

ROWS = [line for line in catalog.page().splitlines() if line.startswith("| `")]
SPELLINGS = re.findall(r"`((?:nn|F|torch)(?:\.\w+)+)", "\n".join(ROWS))


def test_the_page_is_current() -> None:
    assert documents.page("supported-operations.md") == catalog.page(), (
        "run python -m fxp.frontend.catalog docs/supported-operations.md"
    )


def test_the_sections_hold_every_converter() -> None:
    names = {name for section in catalog.SECTIONS.values() for name in section}
    # Marks are written by the import of ONNX, and not by users.
    assert names == {*CONVERTERS} - {*MARKS}


def test_every_operation_has_a_meaning() -> None:
    assert len(ROWS) > 60
    assert all(cell.strip("| ") for row in ROWS for cell in row.split(" | "))


def test_spellings_belong_to_operations() -> None:
    names = {name.removeprefix("aten.") for name in CONVERTERS}
    assert {*catalog.SPELLINGS} <= names | {name.split(".")[0] for name in names}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_spellings_exist(spelling: str) -> None:
    owner, *names = spelling.split(".")
    owners = {"nn": nn, "F": nn.functional, "torch": torch}
    assert callable(reduce(getattr, names, owners[owner]))


def test_every_table_function_is_on_the_page() -> None:
    names = {name for name, op in REGISTRY.items() if issubclass(op, FunctionTable)}
    # PyTorch writes powers in four ways, none of them with the name of the op.
    wanted = (names - {"power"}) | {"pow", "rsqrt"}
    assert wanted <= {*re.findall(r"`(\w+)` \|$", catalog.page(), re.MULTILINE)}


def test_every_refusal_is_on_the_page() -> None:
    page = documents.page("supported-operations.md")
    assert len(ADVICE) > 20
    for name, advice in ADVICE.items():
        assert f"| `{name.removeprefix('aten.')}` | {advice} |" in page
    assert "`scaled_dot_product_attention`, of two computed matrices | attention is not" in page
