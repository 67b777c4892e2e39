"""Registers around a module, so that it can be placed alone whatever its ports are."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fxp.support.errors import ArgumentError

CLOCKS = ("clk_i", "aclk")
RESETS = ("rst_ni", "aresetn")

_PORT = re.compile(
    r"^\s*(input|output)\s+(?:logic|wire)\s*(?:\[([^]:]+):\s*0\s*\])?\s*(\w+)\s*,?\s*(?://.*)?$",
    re.MULTILINE,
)
_OPERATIONS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.floordiv,
}


@dataclass(frozen=True)
class Port:
    """A port of a module.

    Parameters
    ----------
    name
        Its name; `CLOCKS` and `RESETS` are recognized by it.
    width
        Bits.
    output
        Whether the module drives it.
    """

    name: str
    width: int
    output: bool


def ports_of(
    text: str, module: str, parameters: Mapping[str, int | str] | None = None
) -> tuple[Port, ...]:
    """Return the ports of a module, one port per line of its text.

    Parameters
    ----------
    text
        SystemVerilog of the module.
    module
        Its name.
    parameters
        Values of the parameters that the widths depend on.

    Raises
    ------
    ValueError
        If the text has no such module, or a width depends on anything else.
    """
    found = re.search(
        rf"\bmodule\s+{re.escape(module)}\b(.*?)^\s*\);", text, re.DOTALL | re.MULTILINE
    )
    matches = _PORT.findall(found.group(1)) if found else []
    if not matches:
        raise ArgumentError(f"no ports of a module {module} found")
    values = dict(parameters or {})
    return tuple(
        Port(name, _evaluate(last or "0", values) + 1, direction == "output")
        for direction, last, name in matches
    )


def _evaluate(expression: str, values: Mapping[str, int | str]) -> int:
    """Return the value of a sum or product of numbers and parameters."""

    def value(node: ast.expr) -> int:
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
            return _OPERATIONS[type(node.op)](value(node.left), value(node.right))
        if isinstance(node, ast.Constant) and isinstance(node.value, int):
            return node.value
        if isinstance(node, ast.Name) and isinstance(values.get(node.id), int):
            return int(values[node.id])
        raise ArgumentError(f"the width {expression.strip()!r} is not known")

    return value(ast.parse(expression.strip(), mode="eval").body)


def harness(module: str, ports: Sequence[Port], parameters: Mapping[str, int | str]) -> str:
    """Write the module ``harness``, with a clock, a reset and two data pins, around a module.

    A shift register feeds the inputs; the outputs are registered and folded into a signature that
    is shifted out, so that nothing is optimized away.
    """
    inputs = [port for port in ports if not port.output and port.name not in CLOCKS + RESETS]
    outputs = [port for port in ports if port.output]
    fed = sum(port.width for port in inputs)
    read = sum(port.width for port in outputs)
    connections = [f".{port.name}(clk)" for port in ports if port.name in CLOCKS]
    connections += [f".{port.name}(reset)" for port in ports if port.name in RESETS]
    for group, wire in ((inputs, "stimulus"), (outputs, "result")):
        start = 0
        for port in group:
            connections.append(f".{port.name}({wire}[{start + port.width - 1}:{start}])")
            start += port.width
    joined = ",\n    "
    values = joined.join(f".{name}({value})" for name, value in parameters.items())
    settings = f" #(\n    {values}\n  )" if values else ""
    return f"""module harness (
  input  logic clk,
  input  logic reset_pin,
  input  logic data_pin,
  output logic signature_pin
);
  logic reset;
  logic [{fed - 1}:0] stimulus;
  logic [{read - 1}:0] result, registered, signature;
  always_ff @(posedge clk) begin
    reset <= reset_pin;
    stimulus <= {{stimulus, data_pin}};
    registered <= result;
    signature <= {{signature, 1'b0}} ^ registered;
  end
  assign signature_pin = signature[{read - 1}];
  {module}{settings} dut (
    {joined.join(connections)}
  );
endmodule
"""
