"""What other tools need to take a core over: constraints, FuseSoC, IP-XACT, heads of sources."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final
from xml.etree import ElementTree

from fxp.hls.rtl.core import Core

LICENSE: Final = "Apache-2.0"
MARKUP_LICENSE: Final = f"<!-- SPDX-License-Identifier: {LICENSE} -->\n"
"""In front of XML and of Markdown."""
VENDOR: Final = "fxp"
VERSION: Final = "1.0"
CLOCK_NS: Final = 6.734
"""Period of 148.5 MHz, the pixel clock of 1080p60."""

_SPIRIT = "http://www.spiritconsortium.org/XMLSchema/SPIRIT/1685-2009"
_PORT = re.compile(r"^\s*(input|output)\s+logic\s+(?:\[(\d+):0\]\s*)?(\w+)", re.MULTILINE)
_AXIS = {"TDATA", "TVALID", "TREADY", "TUSER", "TLAST", "TKEEP"}


def framed(text: str) -> str:
    """Return a source with its license in front, and without wires that nobody declared.

    Parameters
    ----------
    text
        SystemVerilog.
    """
    head = f"// SPDX-License-Identifier: {LICENSE}\n`default_nettype none\n"
    return f"{head}{text.rstrip()}\n`default_nettype wire\n"


def render_file_list(sources: Sequence[str]) -> str:
    """Return the sources in compile order, one a line, as simulators and linters read them."""
    # Verilator knows no other comment there.
    return f"// SPDX-License-Identifier: {LICENSE}\n" + "".join(f"{name}\n" for name in sources)


def render_xdc(core: Core) -> str:
    """Return timing constraints for Vivado: the clock, and half of its period for all ports."""
    half = CLOCK_NS / 2
    return (
        f"# SPDX-License-Identifier: {LICENSE}\n"
        f"{_clock_comment(core)}\n"
        f"create_clock -period {CLOCK_NS} -name aclk [get_ports aclk]\n"
        "# Registers of the surroundings take half of a period on both sides.\n"
        "set inputs [filter [all_inputs] {NAME != aclk}]\n"
        f"set_input_delay -clock aclk {half:.3f} $inputs\n"
        f"set_output_delay -clock aclk {half:.3f} [all_outputs]\n"
    )


def render_lpf(core: Core) -> str:
    """Return constraints for nextpnr and Diamond: the clock, and no pins yet."""
    return (
        f"# SPDX-License-Identifier: {LICENSE}\n"
        f"{_clock_comment(core)}\n"
        f'FREQUENCY PORT "aclk" {1000 / CLOCK_NS:.1f} MHZ;\n'
        "# Signals from one clock of the core to another one do not exist.\n"
        "BLOCK RESETPATHS;\n"
        "BLOCK ASYNCPATHS;\n"
    )


def _clock_comment(core: Core) -> str:
    return (
        f"# Clock of {core.top}: {1000 / CLOCK_NS:.1f} MHz is the pixel clock of 1080p60.\n"
        "# Set what the design has."
    )


def render_core_file(core: Core) -> str:
    """Return the FuseSoC core file, with targets to lint, to simulate, and for two families."""
    files = "".join(f"      - {source}\n" for source in core.sources)
    return f"""CAPI=2:
# SPDX-License-Identifier: {LICENSE}
name: {VENDOR}::{core.name}:{VERSION}.0
description: Streaming core of {core.name}
filesets:
  rtl:
    files:
{files}    file_type: systemVerilogSource
  ecp5:
    files:
      - {core.name}.lpf: {{file_type: LPF}}
  xilinx:
    files:
      - {core.name}.xdc: {{file_type: xdc}}
targets:
  default: &default
    filesets: [rtl]
    toplevel: {core.top}
  lint:
    <<: *default
    flow: lint
    flow_options:
      tool: verilator
  sim:
    <<: *default
    flow: sim
    flow_options:
      tool: icarus
      iverilog_options: [-g2012]
  ecp5:
    filesets: [rtl, ecp5]
    toplevel: {core.top}
    flow: trellis
    flow_options:
      nextpnr_options: [--85k, --package, CABGA756, --speed, "8", --lpf-allow-unconstrained]
  vivado:
    filesets: [rtl, xilinx]
    toplevel: {core.top}
    flow: vivado
    flow_options:
      part: xczu7ev-ffvc1156-2-e
"""


def render_ip_xact(core: Core, top: str) -> str:
    """Return ``component.xml`` of IEEE 1685-2009: bus interfaces, ports and sources.

    Parameters
    ----------
    core
        What the core is.
    top
        Text of its top module, which has the ports.
    """
    ElementTree.register_namespace("spirit", _SPIRIT)
    ports = [(name, way, int(last or 0)) for way, last, name in _PORT.findall(_head(top))]
    root = _element(None, "component")
    for name, text in (("vendor", VENDOR), ("library", "cores"), ("name", core.name),
                       ("version", VERSION)):  # fmt: skip
        _element(root, name, text)
    buses = _element(root, "busInterfaces")
    streams = {
        "s_axis": "slave",
        **dict.fromkeys(core.results, "master"),
        **dict.fromkeys((state.stream for state in core.states), "slave"),
    }
    for bus, side in streams.items():
        found = [name for name, _, _ in ports if name.removeprefix(f"{bus}_").upper() in _AXIS]
        _bus(buses, bus, "interface", "axis", side, found)
    control = [name for name, _, _ in ports if name.startswith("s_axil_")]
    _bus(buses, "s_axil", "interface", "aximm", "slave", control, reference="registers")
    clocked = {"ASSOCIATED_BUSIF": ":".join([*streams, "s_axil"]), "ASSOCIATED_RESET": "aresetn"}
    _bus(buses, "aclk", "signal", "clock", "slave", ["aclk"], parameters=clocked)
    _bus(buses, "aresetn", "signal", "reset", "slave", ["aresetn"],
         parameters={"POLARITY": "ACTIVE_LOW"})  # fmt: skip
    if any(name == "irq" for name, _, _ in ports):
        _bus(buses, "irq", "signal", "interrupt", "master", ["irq"],
             parameters={"SENSITIVITY": "LEVEL_HIGH"})  # fmt: skip
    memory = _element(_element(root, "memoryMaps"), "memoryMap")
    _element(memory, "name", "registers")
    block = _element(memory, "addressBlock")
    for name, text in (("name", "reg0"), ("baseAddress", "0"), ("range", "256"), ("width", "32"),
                       ("usage", "register")):  # fmt: skip
        _element(block, name, text)
    model = _element(root, "model")
    view = _element(_element(model, "views"), "view")
    _element(view, "name", "rtl")
    _element(view, "envIdentifier", ":*Synthesis:")
    _element(view, "language", "systemVerilog")
    _element(view, "modelName", core.top)
    _element(_element(view, "fileSetRef"), "localName", "sources")
    listed = _element(model, "ports")
    for name, way, last in ports:
        port = _element(listed, "port")
        _element(port, "name", name)
        wire = _element(port, "wire")
        _element(wire, "direction", "in" if way == "input" else "out")
        if last:
            vector = _element(wire, "vector")
            _element(vector, "left", str(last))
            _element(vector, "right", "0")
    sources = _element(_element(root, "fileSets"), "fileSet")
    _element(sources, "name", "sources")
    for source in core.sources:
        file = _element(sources, "file")
        _element(file, "name", source)
        _element(file, "userFileType", "systemVerilogSource")
    _element(root, "description", f"Streaming core of {core.name}")
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{MARKUP_LICENSE}{text}\n'


def _head(top: str) -> str:
    """Return the ports of the last module of a text."""
    return top[top.rindex("\nmodule ") :].partition(");")[0]


def _element(parent: ElementTree.Element | None, name: str, text: str = "") -> ElementTree.Element:
    tag = f"{{{_SPIRIT}}}{name}"
    element = ElementTree.Element(tag) if parent is None else ElementTree.SubElement(parent, tag)
    element.text = text or None
    return element


def _bus(
    buses: ElementTree.Element,
    name: str,
    kind: str,
    bus: str,
    side: str,
    ports: Sequence[str],
    *,
    reference: str = "",
    parameters: dict[str, str] | None = None,
) -> None:
    """Add a bus interface, under the names that Vivado has for its types."""
    interface = _element(buses, "busInterface")
    _element(interface, "name", name)
    for what, suffix in (("busType", ""), ("abstractionType", "_rtl")):
        attributes = {"vendor": "xilinx.com", "library": kind, "name": f"{bus}{suffix}",
                      "version": "1.0"}  # fmt: skip
        element = _element(interface, what)
        for key, value in attributes.items():
            element.set(f"{{{_SPIRIT}}}{key}", value)
    element = _element(interface, side)
    if reference:
        _element(element, "memoryMapRef").set(f"{{{_SPIRIT}}}memoryMapRef", reference)
    mapped = _element(interface, "portMaps")
    logical = {"clock": "CLK", "reset": "RST", "interrupt": "INTERRUPT"}
    for port in ports:
        item = _element(mapped, "portMap")
        signal = logical.get(bus) or port.removeprefix(f"{name}_").upper()
        _element(_element(item, "logicalPort"), "name", signal)
        _element(_element(item, "physicalPort"), "name", port)
    if parameters:
        group = _element(interface, "parameters")
        for key, value in parameters.items():
            parameter = _element(group, "parameter")
            _element(parameter, "name", key)
            _element(parameter, "value", value)
