"""What fixed point costs, and how long quantization takes.

``python -m benchmarks.quantization --data DIR`` measures networks whose weights others released,
KimSR on shipped photographs, and the time that large networks take; ``--only NAME`` measures a part
anew. docs/benchmarks/quantization.md shows all that was measured.
"""
