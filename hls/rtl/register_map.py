"""The registers of a core, in one table, and what is written from it.

The register file in SystemVerilog, the C header of every core, the tables of the documentation and
of the data sheet, and `fxp.hls.driver` all take their addresses, bits and words from `REGISTERS`.
This module needs nothing but Python, so that a driver can take it along to a board.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

Access = Literal["read-only", "read-write", "write 1 to clear"]
IDENTITY: Final = 0x66787031
"""Content of the register ``ID``: "fxp1"."""
ADDRESS_BITS: Final = 8
BEGIN, END = "generated from hls/rtl/register_map.py", "end of what is generated"
"""What the first and the last line of a generated part say."""


@dataclass(frozen=True)
class Field:
    """Bits of a register that have a meaning of their own.

    Attributes
    ----------
    name
        Capitals.
    low, bits
        Place of the lowest bit, and their number.
    text
        What they mean.
    """

    name: str
    low: int
    bits: int
    text: str

    @property
    def mask(self) -> int:
        """A one for each of the bits, at their places."""
        return ((1 << self.bits) - 1) << self.low


@dataclass(frozen=True)
class Register:
    """A register of 32 bits.

    Attributes
    ----------
    name
        Capitals.
    address
        In bytes, a multiple of four.
    access
        What a write does.
    text
        What it holds.
    fields
        Its bits, if they have a meaning of their own.
    """

    name: str
    address: int
    access: Access
    text: str
    fields: tuple[Field, ...] = ()

    def field(self, name: str) -> Field:
        """Return the field of that name."""
        return next(field for field in self.fields if field.name == name)


REGISTERS: Final = (
    Register("ID", 0x00, "read-only", '`0x66787031`, which is "fxp1"'),
    Register("VERSION", 0x04, "read-only", "first 32 bits of the SHA-256 of the integer graph"),
    Register(
        "WIDTH", 0x08, "read-write",
        "pixels per line, `MAX_WIDTH` at most; the data sheet has the least, and the multiples "
        "that some networks need. Other numbers are ignored. Reset value: the largest, or as given",
    ),
    Register(
        "HEIGHT", 0x0C, "read-write", "lines per frame, `MAX_HEIGHT` at most, else as `WIDTH`",
    ),
    Register(
        "STATUS", 0x10, "write 1 to clear", "what went wrong, and what goes on",
        (
            Field("SHORT_LINE", 0, 1, "a line ended early"),
            Field("LONG_LINE", 1, 1, "a line went on past its end"),
            Field("EARLY_START", 2, 1, "a frame started before the last one was complete"),
            Field("MISSING_START", 3, 1, "a pixel came between two frames"),
            Field("SIZE_REFUSED", 4, 1, "a size that the core does not take was written; it is "
                  "ignored"),
            Field("BUSY", 8, 1, "a frame has begun and not left; not sticky"),
        ),
    ),
    Register("FRAMES", 0x14, "read-only", "frames sent"),
    Register("ERRORS", 0x18, "read-only", "malformed frames"),
    Register(
        "LIMITS", 0x1C, "read-only", "the largest frame",
        (
            Field("MAX_WIDTH", 0, 16, "pixels per line"),
            Field("MAX_HEIGHT", 16, 16, "lines"),
        ),
    ),
    Register(
        "CONTROL", 0x20, "read-write", "what the core does; 1 after reset",
        (
            Field("ENABLE", 0, 1, "take frames; without it, the core completes the frame that it "
                  "is taking and lets the next one wait"),
            Field("BYPASS", 1, 1, "from the next frame on, enlarge by nearest neighbour instead of "
                  "by the network; always 0 in a core without bypass"),
            Field("RESET", 2, 1, "write 1 to forget all pixels, counters, errors and interrupts; "
                  "reads as 1 until that is done. Sizes and settings stay"),
        ),
    ),
    Register(
        "SIZE", 0x24, "read-write", "both sizes, which take effect together",
        (
            Field("WIDTH", 0, 16, "as `WIDTH`"),
            Field("HEIGHT", 16, 16, "as `HEIGHT`"),
        ),
    ),
    Register(
        "INTERRUPT_ENABLE", 0x28, "read-write", "which events raise the wire `irq`",
        (
            Field("FRAME_DONE", 0, 1, "the last beat of a frame was sent"),
            Field("ERROR", 1, 1, "one of the bits 0 to 4 of `STATUS` was set"),
        ),
    ),
    Register(
        "INTERRUPT_STATUS", 0x2C, "write 1 to clear", "which events have happened",
        (
            Field("FRAME_DONE", 0, 1, "the last beat of a frame was sent"),
            Field("ERROR", 1, 1, "one of the bits 0 to 4 of `STATUS` was set"),
        ),
    ),
    Register(
        "FEATURES", 0x30, "read-only", "how the core was made",
        (
            Field("BYPASS", 0, 1, "it has a bypass"),
            Field("BUS_ERRORS", 1, 1, "it answers accesses without effect with SLVERR"),
            Field("SCALE", 8, 8, "by how much it enlarges an image"),
        ),
    ),
)  # fmt: skip
"""All registers, in the order of their addresses."""

BY_NAME: Final = {register.name: register for register in REGISTERS}


def render_verilog() -> str:
    """Return the constants that ``fxp_registers.sv`` contains: numbers of words, and bits."""
    lines = []
    for register in REGISTERS:
        name = _camel(register.name)
        lines.append(f"  localparam logic [5:0] {name}Word = 6'd{register.address // 4};")
        if register.access == "read-write":
            lines += [
                f"  localparam int {name}{_camel(field.name)}Bit = {field.low};"
                for field in register.fields
                if field.bits == 1
            ]
    return "\n".join(lines)


def render_c_header(
    guard: str = "FXP_REGISTERS_H",
    constants: Mapping[str, tuple[str, int]] | None = None,
    license_name: str = "Apache-2.0",
) -> str:
    """Return a C header with the address of every register and the place of every field.

    Parameters
    ----------
    guard
        What keeps it from being read twice.
    constants
        Further numbers of one core, each with what it says.
    license_name
        As SPDX has it.
    """
    lines = [
        f"/* SPDX-License-Identifier: {license_name} */",
        "/* Registers of a streaming core, emitted by fxp. Do not edit. */",
        f"#ifndef {guard}",
        f"#define {guard}",
        "",
        f"#define FXP_IDENTITY 0x{IDENTITY:08x}u",
    ]
    for name, (text, number) in (constants or {}).items():
        lines += ["", f"/* {text} */", f"#define FXP_{name} {number}u"]
    for register in REGISTERS:
        text = register.text.replace("`", "")
        lines += ["", f"/* {text} ({register.access}) */"]
        lines.append(f"#define FXP_{register.name} 0x{register.address:02x}u")
        for field in register.fields:
            name = f"FXP_{register.name}_{field.name}"
            lines.append(f"#define {name}_SHIFT {field.low}")
            lines.append(f"#define {name}_MASK 0x{field.mask:08x}u")
    return "\n".join([*lines, "", f"#endif /* {guard} */", ""])


def table_rows(version: int | None = None) -> list[tuple[str, str, str, str]]:
    """Return address, name, access and content of every register, as cells of Markdown.

    Parameters
    ----------
    version
        Content of ``VERSION``, if it is known.
    """
    rows = []
    for register in REGISTERS:
        text = register.text
        if register.name == "VERSION" and version is not None:
            text = f"`0x{version:08x}`"
        if register.fields:
            text += ": " + "; ".join(f"{_places(field)} `{field.name}` {field.text}"
                                     for field in register.fields)  # fmt: skip
        rows.append((f"0x{register.address:02X}", f"`{register.name}`", register.access, text))
    return rows


def render_markdown() -> str:
    """Return the table of the documentation."""
    rows = [("Address", "Register", "Access", "Content"), ("---",) * 4, *table_rows()]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _places(field: Field) -> str:
    if field.bits == 1:
        return f"bit {field.low}"
    return f"bits {field.low + field.bits - 1} to {field.low}"


def _camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


def replace_generated(text: str, generated: str) -> str:
    """Return a text whose generated part, between two marked lines, is another one.

    Parameters
    ----------
    text
        Of a file with one such part.
    generated
        The new part, without the marked lines.
    """
    pattern = rf"([^\n]*{re.escape(BEGIN)}[^\n]*\n).*?(\n[^\n]*{re.escape(END)}[^\n]*)"
    found = re.subn(
        pattern, lambda marks: f"{marks[1]}{generated}{marks[2]}", text, flags=re.DOTALL
    )
    if found[1] != 1:
        raise ValueError(f"the text has {found[1]} generated parts, not one")
    return found[0]


def generated_files() -> Iterator[tuple[Path, str]]:
    """Yield the files of the repository that have a generated part, with their new text."""
    here = Path(__file__).resolve().parent
    for path, generated in (
        (here / "lib" / "fxp_registers.sv", render_verilog()),
        (here.parents[1] / "docs" / "rtl.md", f"\n{render_markdown()}\n"),
    ):
        yield path, replace_generated(path.read_text(encoding="utf-8"), generated)


if __name__ == "__main__":
    for changed, content in generated_files():
        changed.write_text(content, encoding="utf-8")
        print(f"wrote {changed}")
