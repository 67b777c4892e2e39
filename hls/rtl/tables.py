"""Modules that hold a function of one value as a table."""

from __future__ import annotations

from collections.abc import Sequence


def table_module(
    name: str, entries: Sequence[int], fields: int, code_bits: int, entry_bits: int
) -> str:
    """Return SystemVerilog of a memory that all fields of a beat read. Latency 2.

    Parameters
    ----------
    name
        Name of the module.
    entries
        One for each address, ``2**code_bits`` of them.
    fields
        Fields of a beat.
    code_bits
        Bits of a field that comes in.
    entry_bits
        Bits of a field that goes out, in two's complement.
    """
    assert len(entries) == 1 << code_bits
    mask, digits = (1 << entry_bits) - 1, -(-entry_bits // 4)
    content = "\n".join(
        f"    entries[{address}] = {entry_bits}'h{entry & mask:0{digits}x};"
        for address, entry in enumerate(entries)
    )
    return f"""// A function of one value, as a table; emitted by fxp. Do not edit.
module {name} (
  input  logic                  clk_i,
  input  logic [{fields * code_bits - 1}:0] codes_i,
  output logic [{fields * entry_bits - 1}:0] entries_o
);
  logic [{entry_bits - 1}:0] entries [0:{len(entries) - 1}];
  initial begin
{content}
  end
  for (genvar f = 0; f < {fields}; f++) begin : gen_field
    logic [{entry_bits - 1}:0] read, out;
    always_ff @(posedge clk_i) begin
      read <= entries[codes_i[f*{code_bits}+:{code_bits}]];
      out <= read;
    end
    assign entries_o[f*{entry_bits}+:{entry_bits}] = out;
  end
endmodule
"""
