"""Devices, and what the cells of their netlists count as."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Resources:
    """Parts of a device, used or available.

    Parameters
    ----------
    luts
        Look-up tables, with four inputs on ECP5 and six on UltraScale+; those of carry chains,
        shift registers and small memories included.
    registers
        Flip-flops.
    carries
        Cells of carry chains: of two bits on ECP5, of four on UltraScale+.
    multipliers
        Multiplier blocks: 18×18 on ECP5, DSP48 on UltraScale+.
    block_rams
        Block memories of 18 kbit.
    """

    luts: int = 0
    registers: int = 0
    carries: int = 0
    multipliers: int = 0
    block_rams: int = 0

    def __add__(self, other: Resources) -> Resources:
        return Resources(*(getattr(self, name) + getattr(other, name) for name in RESOURCE_NAMES))

    def __mul__(self, count: int) -> Resources:
        return Resources(*(getattr(self, name) * count for name in RESOURCE_NAMES))


RESOURCE_NAMES = tuple(item.name for item in fields(Resources))


@dataclass(frozen=True)
class SynthesisTarget:
    """A device to synthesize for.

    Parameters
    ----------
    name
        As the command line calls it.
    device
        The part whose resources are compared with.
    family
        Synthesis command of yosys, with the options that choose the family.
    available
        What the device has; nothing is compared for kinds that are zero.
    cells
        What one cell of each type needs; None for types that cost nothing.
    placer
        What nextpnr calls the device; None if no open placer knows it.
    packages
        Packages of the device, that with the most pins last.
    tool
        Which nextpnr places it.
    speeds
        Speed grades.
    pins
        Places for the four pins of a module that is placed alone, where the tool wants them.
    """

    name: str
    device: str
    family: str
    available: Resources
    cells: Mapping[str, Resources | None]
    placer: str | None = None
    packages: tuple[str, ...] = ()
    tool: str = "nextpnr-ecp5"
    speeds: tuple[int, ...] = (6, 7, 8)
    pins: tuple[tuple[str, str], ...] = ()

    @property
    def package(self) -> str | None:
        """The package to place for, unless another one is given: that with the most pins."""
        return self.packages[-1] if self.packages else None

    def lacking(self, needed: Resources) -> list[str]:
        """Name the kinds of which the device has too few, with both figures."""
        return [
            f"{getattr(needed, name)} of {getattr(self.available, name)} {name.replace('_', ' ')}"
            for name in RESOURCE_NAMES
            if 0 < getattr(self.available, name) < getattr(needed, name)
        ]

    def fullest(self, needed: Resources) -> float:
        """Return the largest part of anything that the device has and that is needed."""
        return max(
            getattr(needed, name) / getattr(self.available, name)
            for name in RESOURCE_NAMES
            if getattr(self.available, name)
        )


def _each(kind: str, **counts: int) -> dict[str, Resources | None]:
    return {cell: Resources(**{kind: count}) for cell, count in counts.items()}


_ECP5 = {
    **_each("luts", LUT4=1, TRELLIS_DPR16X4=4),
    **_each("registers", TRELLIS_FF=1),
    "CCU2C": Resources(luts=2, carries=1),
    **_each("multipliers", MULT18X18D=1, MULT9X9D=1),
    **_each("block_rams", DP16KD=1, PDPW16KD=1),
    **dict.fromkeys(
        ("PFUMX", "L6MUX21", "GSR", "EHXPLLL", "ODDRX1F", "TRELLIS_IO", "$scopeinfo"), None
    ),
}

_ULTRASCALE = {
    **_each("luts", **{f"LUT{inputs}": 1 for inputs in range(1, 7)}),
    **_each("luts", SRL16E=1, SRLC16E=1, SRLC32E=1, RAM32X1S=1, RAM64X1S=1, RAM128X1S=2,
            RAM256X1S=4, RAM32X1D=2, RAM64X1D=2, RAM128X1D=4, RAM256X1D=8, RAM32M=4, RAM64M=4,
            RAM32M16=8, RAM64M8=8, RAM32X16DR8=8, RAM64X8SW=8),
    **_each("registers", FDRE=1, FDSE=1, FDCE=1, FDPE=1),
    # The sums of a carry chain come out of the look-up tables before it, which are counted.
    **_each("carries", CARRY4=1, CARRY8=2),
    **_each("multipliers", DSP48E2=1),
    **_each("block_rams", RAMB18E2=1, RAMB36E2=2),
    **dict.fromkeys(("BUFG", "INV", "GND", "VCC", "MUXF7", "MUXF8", "MUXF9", "$scopeinfo"), None),
}  # fmt: skip

_GOWIN = {
    **_each("luts", LUT1=1, LUT2=1, LUT3=1, LUT4=1, RAM16SDP1=1, RAM16SDP2=2, RAM16SDP4=4),
    **_each("registers", **{f"DFF{kind}": 1 for kind in ("", "E", "R", "RE", "S", "SE", "C", "CE",
                                                         "P", "PE")}),
    "ALU": Resources(luts=1, carries=1),
    **_each("multipliers", MULT9X9=1, MULT18X18=1, MULT36X36=4),
    **_each("block_rams", SP=1, SPX9=1, SDPB=1, SDPX9B=1, DPB=1, DPX9B=1),
    **dict.fromkeys(("IBUF", "OBUF", "GND", "VCC", "GSR", "MUX2_LUT5", "MUX2_LUT6", "MUX2_LUT7",
                     "MUX2_LUT8", "$scopeinfo"), None),
}  # fmt: skip

TARGETS = {
    target.name: target
    for target in (
        # The 12F is a 25F of which half of the look-up tables may be used.
        SynthesisTarget("ecp5-12k", "LFE5U-12F", "synth_ecp5", Resources(12144, 12144, 0, 28, 32),
                        _ECP5, "--12k", ("CABGA256", "CSFBGA285", "CABGA381")),
        SynthesisTarget("ecp5-25k", "LFE5U-25F", "synth_ecp5", Resources(24288, 24288, 0, 28, 56),
                        _ECP5, "--25k", ("CABGA256", "CSFBGA285", "CABGA381")),
        SynthesisTarget("ecp5-45k", "LFE5U-45F", "synth_ecp5", Resources(43848, 43848, 0, 72, 108),
                        _ECP5, "--45k", ("CABGA256", "CSFBGA285", "CABGA381", "CABGA554")),
        SynthesisTarget("ecp5-85k", "LFE5U-85F", "synth_ecp5", Resources(83640, 83640, 0, 156, 208),
                        _ECP5, "--85k", ("CSFBGA285", "CABGA381", "CABGA554", "CABGA756")),
        SynthesisTarget("xilinx-us", "XCZU7EV", "synth_xilinx -family xcup -noiopad -noclkbuf",
               Resources(230400, 460800, 0, 1728, 624), _ULTRASCALE),
        SynthesisTarget("gowin-18k", "GW2A-18", "synth_gowin -family gw2a",
                        Resources(20736, 15552, 0, 48, 46), _GOWIN, "GW2A-LV18PG256C8/I7",
                        ("PG256",), "nextpnr-himbaechel-gowin", (8,),
                        (("clk", "H11"), ("reset_pin", "T3"), ("data_pin", "T2"),
                         ("signature_pin", "N14"))),
    )
}  # fmt: skip
"""Devices by name."""
