"""Moves registers behind block memories of the ECP5 into their output registers.

yosys does not use the output registers. Reading takes most of a clock, and without them the way
from the memory to a register elsewhere comes on top.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from fxp.hls.synth.netlists import Cell, bit_of, can_move, read_bits

MEMORY = "DP16KD"
_WIDEST = 18
"""Bits of a port; wider words take both ports together and are left as they are."""


def pack_block_ram_registers(module: dict[str, Any]) -> int:
    """Use the output registers of block memories, and return how many others that saves.

    A port takes registers in if each of its bits that anybody reads goes to one register and
    nowhere else. Only registers of the clock of the port, without enable and reset, can move.

    Parameters
    ----------
    module
        A flat module of a netlist as yosys writes it in JSON, which is changed.
    """
    cells: dict[str, Cell] = module["cells"]
    before = len(cells)
    registers = {bit_of(cell, "DI"): name for name, cell in cells.items() if can_move(cell)}
    readers = Counter(read_bits(module))
    for memory in [cell for cell in cells.values() if cell["type"] == MEMORY]:
        if any(_width(memory, port) > _WIDEST for port in "AB"):
            continue
        for port in "AB":
            outputs = [f"DO{port}{index}" for index in range(_WIDEST)]
            used = [name for name in outputs
                    if name in memory["connections"] and readers[bit_of(memory, name)]]  # fmt: skip
            bits = [bit_of(memory, name) for name in used]
            if not used or not all(readers[bit] == 1 and bit in registers for bit in bits):
                continue
            names = [registers[bit] for bit in bits]
            clock = bit_of(memory, f"CLK{port}")
            if any(bit_of(cells[name], "CLK") != clock for name in names):
                continue
            for output, name in zip(used, names, strict=True):
                memory["connections"][output] = cells.pop(name)["connections"]["Q"]
            memory["parameters"][f"REGMODE_{port}"] = "OUTREG"
            memory["connections"][f"OCE{port}"] = ["1"]
    return before - len(cells)


def _width(memory: Cell, port: str) -> int:
    return int(str(memory["parameters"][f"DATA_WIDTH_{port}"]), 2)
