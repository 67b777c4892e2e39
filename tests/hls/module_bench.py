"""Runs one module of the library in Icarus Verilog, clock by clock, with inputs from Python."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fxp.hls.rtl.emit import LIBRARY, PACKAGE
from fxp.rtl_sim.simulators import find_simulator

BENCH = """
module bench;
  reg clock = 1'b0;
  reg [{in_bits}-1:0] vectors [0:{clocks}-1];
  reg [{in_bits}-1:0] in;
  wire [{out_bits}-1:0] out;
  integer i;
  // Offers of a stream, each until it is taken.
  reg [{offer_bits}-1:0] offers [0:{offers}];
  wire [{offer_bits}-1:0] offer;
  wire valid, ready;
  reg held = 1'b0;
  integer next = 0;
  assign valid = (held || in[{in_bits}-1]) && next < {offers};
  assign offer = offers[next];
  always @(posedge clock) begin
    held <= valid && !ready;
    if (valid && ready) next <= next + 1;
  end
  {module} {parameters} dut ({ports});
  initial begin
    $readmemh("in.hex", vectors);
    $readmemh("offers.hex", offers);
    for (i = 0; i < {clocks}; i = i + 1) begin
      in = vectors[i];
      #4 $display("%b", out);
      #1 clock = 1'b1;
      #5 clock = 1'b0;
    end
    $finish;
  end
endmodule
"""


@dataclass(frozen=True)
class Offers:
    """A stream that the module takes when it likes.

    Attributes
    ----------
    valid, ready
        Ports of the handshake.
    fields
        Ports of the data, with their width.
    offers
        A value for each field.
    wishes
        For each clock, whether a new offer may be made.
    """

    valid: str
    ready: str
    fields: Mapping[str, int]
    offers: Sequence[Sequence[int]]
    wishes: Sequence[int]


Inputs = Mapping[str, tuple[int, Sequence[int]]]


def simulate(
    folder: Path,
    module: str,
    parameters: Mapping[str, int | str],
    inputs: Inputs,
    outputs: Mapping[str, int],
    *,
    clocked: bool = True,
    offers: Offers | None = None,
) -> dict[str, list[int | None]]:
    """Give each input a value per clock; returns what each output shows before each clock's edge.

    Inputs and outputs have their width; None stands for a value with unknown bits.
    """
    icarus = find_simulator("icarus")
    clocks = len(next(iter(inputs.values()))[1])
    ports = [".clk_i(clock)"] if clocked else []
    words = [0] * clocks
    offset = 0
    for name, (width, values) in inputs.items():
        assert len(values) == clocks
        ports.append(f".{name}(in[{offset}+:{width}])")
        for index, value in enumerate(values):
            words[index] |= (int(value) & ((1 << width) - 1)) << offset
        offset += width
    queue = [0]
    offer_bits = 1
    if offers is not None:
        ports += [f".{offers.valid}(valid)", f".{offers.ready}(ready)"]
        widths = list(offers.fields.values())
        starts = [sum(widths[:i]) for i in range(len(widths))]
        offer_bits = sum(widths)
        for name, start in zip(offers.fields, starts, strict=True):
            ports.append(f".{name}(offer[{start}+:{offers.fields[name]}])")
        queue = [
            sum(int(value) << start for value, start in zip(offer, starts, strict=True))
            for offer in offers.offers
        ]
        words = [word | int(w) << offset for word, w in zip(words, offers.wishes, strict=True)]
        offset += 1
    out_bits = 0
    places = {}
    for name, width in outputs.items():
        ports.append(f".{name}(out[{out_bits}+:{width}])")
        places[name] = (out_bits, width)
        out_bits += width
    settings = ", ".join(f".{name}({value})" for name, value in parameters.items())
    text = BENCH.format(
        module=module,
        parameters=f"#({settings})" if settings else "",
        ports=", ".join(ports),
        in_bits=offset,
        out_bits=out_bits,
        clocks=clocks,
        offer_bits=offer_bits,
        offers=len(queue),
    )
    (folder / "bench.sv").write_text(text)
    (folder / "offers.hex").write_text("".join(f"{word:x}\n" for word in [*queue, 0]))
    (folder / "in.hex").write_text("".join(f"{word:x}\n" for word in words))
    compiled = [str(icarus.program), "-g2012", "-o", "bench", "-Y", ".sv"]
    compiled += ["-y", ".", "-y", str(LIBRARY), str(LIBRARY / PACKAGE)]
    for command in ([*compiled, "bench.sv"], ["vvp", "-n", "bench"]):
        result = subprocess.run(
            command, cwd=folder, env=icarus.environment, capture_output=True, text=True
        )
        assert result.returncode == 0, result.stdout + result.stderr
    lines = [line for line in result.stdout.splitlines() if set(line) <= set("01xz")]
    assert len(lines) == clocks, result.stdout
    return {
        name: [_number(line, place, width) for line in lines]
        for name, (place, width) in places.items()
    }


def _number(line: str, place: int, width: int) -> int | None:
    bits = line[len(line) - place - width : len(line) - place]
    return int(bits, 2) if set(bits) <= {"0", "1"} else None


def join_fields(values: Sequence[int], width: int) -> int:
    """Put fields side by side, the first in the low bits."""
    return sum((int(value) & ((1 << width) - 1)) << (width * i) for i, value in enumerate(values))


def split_fields(word: int, width: int, count: int, *, signed: bool) -> list[int]:
    """Take fields apart."""
    fields = [(word >> (width * index)) & ((1 << width) - 1) for index in range(count)]
    if signed:
        fields = [f - (1 << width) if f >> (width - 1) else f for f in fields]
    return fields
