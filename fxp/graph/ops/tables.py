"""Functions known by their table alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fxp.graph.ops.base import register
from fxp.graph.ops.elementwise import Table


@register
@dataclass(frozen=True)
class StoredTable(Table):
    """Any function of one value, such as gamma correction, by stored table.

    Only integer graphs have it: what a table means follows from the format of the codes it is
    entered with.
    """

    name: ClassVar[str] = "table"
    arity: ClassVar[tuple[int, int]] = (2, 2)
    integer_only: ClassVar[bool] = True
