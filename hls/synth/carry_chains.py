"""Carry chains of the ECP5 that begin without a cell of their own for the first carry.

yosys connects a constant to the carry input of every chain, and a wire that nobody reads to its
carry output. nextpnr gives each of both a cell with two look-up tables: as many as an adder of four
bits takes. Half a cell can make the first carry as well, from a constant or from the lowest bits.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from fxp.hls.synth.netlists import Bit, Cell, bit_of, read_bits

CARRY = "CCU2C"
_NONE = "x"
"""What yosys writes for a port that is not connected."""
_LUT_DIRECTIONS = {"A": "input", "B": "input", "C": "input", "D": "input", "Z": "output"}


@dataclass(frozen=True)
class _Half:
    """One bit of a cell: a table of four inputs, and what its carry is if that gives zero."""

    inputs: tuple[Bit, Bit, Bit, Bit]
    table: int
    sum: Bit


def pack_carry_chains(module: dict[str, Any]) -> int:
    """Take the first carry of every chain into its cells; return how many look-up tables that adds.

    A chain whose last cell has a bit to spare moves up by one bit, and its first bit becomes the
    carry. In others the first bit gives only its carry, and a look-up table its sum.

    Parameters
    ----------
    module
        A flat module of a netlist as yosys writes it in JSON, which is changed.
    """
    cells: dict[str, Cell] = module["cells"]
    readers = Counter(read_bits(module))
    carries = [cell for cell in cells.values() if cell["type"] == CARRY]
    behind = {bit_of(cell, "CIN"): cell for cell in carries}
    before = len(cells)
    for name, first in [(name, cell) for name, cell in cells.items() if cell["type"] == CARRY]:
        carry_in = bit_of(first, "CIN")
        if carry_in not in ("0", "1"):
            continue
        chain = [first]
        while readers[carry := bit_of(chain[-1], "COUT")] == 1 and carry in behind:
            chain.append(behind[carry])
        if any(cell["parameters"][f"INJECT1_{half}"] != "NO" for cell in chain for half in (0, 1)):
            continue
        last = chain[-1]
        spare = not readers[bit_of(last, "COUT")]
        if spare:
            last["connections"]["COUT"] = [_NONE]
        halves = [_half(cell, half) for cell in chain for half in (0, 1)]
        high = int(carry_in)
        if spare and not readers[halves[-1].sum]:
            # Its table gives zero for the highest inputs, so that the carry is the constant.
            halves = [_Half(("1", "1", "1", "1"), 15 * high, _NONE), *halves[:-1]]
        else:
            own = _own_table(halves[0])
            if own is None:
                continue
            if readers[halves[0].sum]:
                cells[f"{name}$first"] = _table(halves[0], own ^ (15 * high))
            low = sum((high if own >> place & 1 else halves[0].table >> place & 1) << place
                      for place in range(4))  # fmt: skip
            halves[0] = _Half((*halves[0].inputs[:2], "1", "1"), low, _NONE)
        for index, half in enumerate(halves):
            _set_half(chain[index // 2], index % 2, half)
        first["connections"]["CIN"] = [_NONE]
    return len(cells) - before


def _half(cell: Cell, half: int) -> _Half:
    a, b, c, d = (bit_of(cell, f"{port}{half}") for port in "ABCD")
    table = int(str(cell["parameters"][f"INIT{half}"]), 2)
    return _Half((a, b, c, d), table, bit_of(cell, f"S{half}"))


def _set_half(cell: Cell, half: int, content: _Half) -> None:
    for port, bit in zip("ABCD", content.inputs, strict=True):
        cell["connections"][f"{port}{half}"] = [bit]
    cell["parameters"][f"INIT{half}"] = f"{content.table:016b}"
    cell["connections"][f"S{half}"] = [content.sum]


def _own_table(half: _Half) -> int | None:
    """Return the table of the first two inputs, if the others are constants."""
    constants = half.inputs[2:]
    if any(bit not in ("0", "1") for bit in constants):
        return None
    place = 4 * int(constants[0]) + 8 * int(constants[1])
    return half.table >> place & 15


def _table(half: _Half, table: int) -> Cell:
    """Return the look-up table that gives the sum of a bit."""
    bits = (*half.inputs[:2], "0", "0", half.sum)
    return {
        "hide_name": 1,
        "type": "LUT4",
        "parameters": {"INIT": f"{table * 0x1111:016b}"},
        "attributes": {},
        "port_directions": dict(_LUT_DIRECTIONS),
        "connections": {port: [bit] for port, bit in zip("ABCDZ", bits, strict=True)},
    }
