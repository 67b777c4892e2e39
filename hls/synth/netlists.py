"""Netlists of ECP5 cells as yosys writes them in JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Bit = int | str
Cell = dict[str, Any]


def bit_of(cell: Cell, port: str) -> Bit:
    """Return the wire of a port of one bit."""
    return cell["connections"][port][0]


def can_move(cell: Cell) -> bool:
    """Whether a cell is a register without enable and reset."""
    parameters = cell["parameters"]
    return (
        cell["type"] == "TRELLIS_FF"
        and parameters["CEMUX"].strip() == "1"
        and parameters["CLKMUX"] == "CLK"
        and parameters["REGSET"] == "RESET"
        and parameters["GSR"] == "DISABLED"
        and bit_of(cell, "LSR") == "0"
    )


def read_bits(module: dict[str, Any]) -> Iterator[Bit]:
    """Yield every bit as often as it is read."""
    for cell in module["cells"].values():
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] != "output":
                yield from bits
    for port in module["ports"].values():
        if port["direction"] != "input":
            yield from port["bits"]
