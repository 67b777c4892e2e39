"""The tables of the page on ONNX, written from those that the import uses.

``python -m fxp.frontend.onnx.catalog docs/onnx.md`` writes them.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from fxp.frontend.onnx.call import Translator
from fxp.frontend.onnx.elementwise import ELEMENTWISE
from fxp.frontend.onnx.layers import LAYERS
from fxp.frontend.onnx.movement import MOVEMENT
from fxp.frontend.onnx.refusals import ADVICE
from fxp.frontend.onnx.sizes import SIZES

SECTIONS: Final[dict[str, Mapping[str, Translator]]] = {
    "Layers, pooling and normalization": LAYERS,
    "Activation functions, arithmetic and statistics": ELEMENTWISE,
    "Moving values and changing sizes": MOVEMENT,
}
START: Final = "<!-- Written by python -m fxp.frontend.onnx.catalog. -->\n"
END: Final = "<!-- End of what is written. -->\n"


def _meaning(translator: Translator) -> str:
    """Return what a translator says of itself; nothing for plain functions of torch."""
    return (translator.__doc__ or "").partition("\n")[0].replace("``", "`")


def tables() -> str:
    """Return the tables of operations, with the marks around them."""
    parts = [START]
    for title, translators in SECTIONS.items():
        meanings = {name: _meaning(each) for name, each in sorted(translators.items())}
        rows = [f"| `{name}` | {meaning} |" for name, meaning in meanings.items() if meaning]
        plain = ", ".join(f"`{name}`" for name, meaning in meanings.items() if not meaning)
        if plain:
            rows.append(f"| {plain} | What the standard says. |")
        parts.append("\n".join((f"### {title}\n", "| Operation | Meaning |\n|---|---|", *rows, "")))
    names = ", ".join(f"`{name}`" for name in sorted({*SIZES, "Shape", "Size"}))
    parts.append(f"### Arithmetic on sizes\n\n{names}, as far as no pixel is involved.\n")
    rows = [f"| `{name}` | {advice} |" for name, advice in sorted(ADVICE.items())]
    head = "### Refused, with advice\n\n| Operation | Instead |\n|---|---|"
    parts.append("\n".join((head, *rows, "")))
    return "\n".join([*parts, END])


if __name__ == "__main__":
    path = Path(sys.argv[1])
    text = path.read_text(encoding="utf-8")
    before, after = text.partition(START)[0], text.partition(END)[2]
    path.write_text(before + tables() + after, encoding="utf-8")
