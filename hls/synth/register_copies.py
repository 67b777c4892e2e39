"""Copies of the registers of the ECP5 that enable or reset many others.

The cells that such a register reaches lie all over the device, and the way to the farthest of
them takes longer than any sum. yosys merges equal registers, so copies in the sources are of no
use.
"""

from __future__ import annotations

import copy
from collections import Counter, defaultdict
from typing import Any

from fxp.hls.synth.netlists import Bit, Cell, bit_of, read_bits

REGISTER = "TRELLIS_FF"
MOST_LOADS = 128
"""Cells that a register reaches at most."""
_TABLE_INPUTS = "ABCD"


def copy_registers(module: dict[str, Any], most: int = MOST_LOADS) -> int:
    """Copy the registers that reach too many cells; return how many registers that adds.

    Resets are inverted in the cells that they reset, and not by a look-up table before them. Cells
    of the same part and of near bits are reached by the same copy.

    Parameters
    ----------
    module
        A flat module of a netlist as yosys writes it in JSON, which is changed.
    most
        Cells that a register reaches at most.
    """
    invert_resets_inside(module)
    cells: dict[str, Cell] = module["cells"]
    places = _places(module)
    loads: dict[Bit, list[tuple[str, str, int]]] = defaultdict(list)
    for name, cell in cells.items():
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] == "input":
                for index, bit in enumerate(bits):
                    loads[bit].append((name, port, index))
    wires = [
        bit for cell in cells.values() for bits in cell["connections"].values() for bit in bits
    ]
    free = 1 + max(bit for bit in wires if isinstance(bit, int))
    before = len(cells)
    for name, cell in list(cells.items()):
        if cell["type"] != REGISTER:
            continue
        own = loads[bit_of(cell, "Q")]
        count = -(-len(own) // most)
        own.sort(key=lambda load: places.get(load[0], (load[0], 0, "")))
        for number in range(1, count):
            twin = copy.deepcopy(cell)
            twin["connections"]["Q"] = [free]
            cells[f"{name}$copy{number}"] = twin
            share = own[number * len(own) // count : (number + 1) * len(own) // count]
            for reader, port, index in share:
                cells[reader]["connections"][port][index] = free
            free += 1
    return len(cells) - before


def invert_resets_inside(module: dict[str, Any]) -> int:
    """Let registers invert their resets themselves; return how many look-up tables that saves.

    Parameters
    ----------
    module
        A flat module of a netlist as yosys writes it in JSON, which is changed.
    """
    cells: dict[str, Cell] = module["cells"]
    inverters = {
        bit_of(cell, "Z"): (name, inverted)
        for name, cell in cells.items()
        if (inverted := _inverted(cell)) is not None
    }
    readers = Counter(read_bits(module))
    before = len(cells)
    for cell in [cell for cell in cells.values() if cell["type"] == REGISTER]:
        reset = bit_of(cell, "LSR")
        if cell["parameters"]["LSRMUX"] != "LSR" or reset not in inverters:
            continue
        name, inverted = inverters[reset]
        cell["parameters"]["LSRMUX"] = "INV"
        cell["connections"]["LSR"] = [inverted]
        readers[reset] -= 1
        if not readers[reset]:
            del cells[name]
    return before - len(cells)


def _inverted(cell: Cell) -> Bit | None:
    """Return the wire that a look-up table inverts, if that is all it does."""
    if cell["type"] != "LUT4":
        return None
    bits = [bit_of(cell, port) for port in _TABLE_INPUTS]
    free = [place for place, bit in enumerate(bits) if bit not in ("0", "1")]
    if len(free) != 1:
        return None
    table = int(str(cell["parameters"]["INIT"]), 2)
    fixed = sum(int(bit) << place for place, bit in enumerate(bits) if place != free[0])
    low, high = (table >> (fixed + (value << free[0])) & 1 for value in (0, 1))
    return bits[free[0]] if (low, high) == (1, 0) else None


def _places(module: dict[str, Any]) -> dict[str, tuple[str, int, str]]:
    """Return by cell in which part its first result is, which bit of a word, and of which word."""
    words: dict[Bit, tuple[str, int, str]] = {}
    # The deepest name of a wire is that of the part where it is made.
    for name, wire in sorted(module["netnames"].items(), key=lambda item: item[0].count(".")):
        part = ".".join(name.split(".")[:2])
        for index, bit in enumerate(wire["bits"]):
            words[bit] = (part, index, name)
    found: dict[str, tuple[str, int, str]] = {}
    for name, cell in module["cells"].items():
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] == "output" and bits and bits[0] in words:
                found[name] = words[bits[0]]
                break
    return found
