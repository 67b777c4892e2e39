"""Moves registers around multipliers into the multiplier blocks of the ECP5.

The blocks have registers before and behind the multiplier, which yosys does not use. Outside, the
ways between register, multiplier and register would take longer than the multiplication.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from fxp.hls.synth.netlists import Cell, bit_of, can_move, read_bits

MULTIPLIER = "MULT18X18D"
INSIDE_NS = {6: 3.9, 7: 3.5, 8: 3.1}
"""The way from register to register inside a block, which nextpnr does not count, for each speed
grade: no longer than from the register before it to the output, for which nextpnr has figures."""
_FACTOR_REGISTERS = ("REG_INPUTA_CLK", "REG_INPUTB_CLK")
_PRODUCT_REGISTER = ("REG_OUTPUT_CLK",)
_FACTORS = [f"{factor}{index}" for factor in "AB" for index in range(18)]
_PRODUCT = [f"P{index}" for index in range(36)]
_CONTROLS = {"CE0": "1", "RST0": "0"}


def pack_multiplier_registers(module: dict[str, Any]) -> int:
    """Use the registers inside multiplier blocks, and return how many others that saves.

    Both factors are taken in if a register gives each of their bits that is not constant (constants
    are then registered as well, so they hold from the first clock on); the product, if each of its
    bits that anybody reads goes to one register and nowhere else. Only registers of one clock,
    without enable and reset, can move.

    Parameters
    ----------
    module
        A flat module of a netlist as yosys writes it in JSON, which is changed.
    """
    cells: dict[str, Cell] = module["cells"]
    multipliers = [cell for cell in cells.values() if cell["type"] == MULTIPLIER]
    before = len(cells)

    registers = {bit_of(cell, "Q"): name for name, cell in cells.items() if can_move(cell)}
    copied: set[str] = set()
    for multiplier in multipliers:
        used = [port for port in _FACTORS if isinstance(bit_of(multiplier, port), int)]
        names = [registers[bit] for port in used if (bit := bit_of(multiplier, port)) in registers]
        if len(names) == len(used) and _use(
            multiplier, _FACTOR_REGISTERS, [cells[name] for name in names]
        ):
            for port, name in zip(used, names, strict=True):
                multiplier["connections"][port] = cells[name]["connections"]["DI"]
            copied.update(names)
    readers = Counter(read_bits(module))
    for name in copied:
        # Others may still read it.
        if not readers[bit_of(cells[name], "Q")]:
            readers[bit_of(cells[name], "DI")] -= 1
            del cells[name]

    registers = {bit_of(cell, "DI"): name for name, cell in cells.items() if can_move(cell)}
    for multiplier in multipliers:
        bits = {port: bit_of(multiplier, port) for port in _PRODUCT}
        used = [port for port in _PRODUCT if readers[bits[port]]]
        if all(readers[bits[port]] == 1 and bits[port] in registers for port in used):
            names = [registers[bits[port]] for port in used]
            if _use(multiplier, _PRODUCT_REGISTER, [cells[name] for name in names]):
                for port, name in zip(used, names, strict=True):
                    multiplier["connections"][port] = cells.pop(name)["connections"]["Q"]
    return before - len(cells)


def registered_on_both_sides(module: dict[str, Any]) -> bool:
    """Whether any multiplier block of a netlist uses its registers on both sides."""
    wanted = {*_FACTOR_REGISTERS, *_PRODUCT_REGISTER}
    return any(
        cell["type"] == MULTIPLIER and wanted <= set(cell["parameters"])
        for cell in module["cells"].values()
    )


def _use(multiplier: Cell, parameters: tuple[str, ...], registers: Iterable[Cell]) -> bool:
    """Switch registers of a multiplier on, if their clock can be that of all `registers`."""
    connections = multiplier["connections"]
    clocks = {bit_of(register, "CLK") for register in registers}
    if "CLK0" in connections:
        clocks.add(bit_of(multiplier, "CLK0"))
    if len(clocks) != 1:
        return False
    for port, bit in {"CLK0": clocks.pop(), **_CONTROLS}.items():
        connections[port] = [bit]
        multiplier["port_directions"][port] = "input"
    multiplier["parameters"].update(dict.fromkeys(parameters, "CLK0"))
    return True
