"""From an integer graph to a streaming core in SystemVerilog."""
