"""How every layer of a core multiplies: its own multipliers, shared ones, or adders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from fxp.graph import Graph, ops
from fxp.hls.rtl.core import Multipliers
from fxp.hls.rtl.planning import StreamingError

MAX_FOLD = 1024
LayerMultipliers = Multipliers | Mapping[str, Multipliers]
"""One style for all layers, or one by name; the others use ``"dsp"``."""
LayerFolds = int | Mapping[str, int]
"""One number for all layers, or one by name; the others have 1."""


@dataclass(frozen=True)
class LayerStyles:
    """How the layers of a core multiply.

    Parameters
    ----------
    multipliers
        ``"dsp"`` or ``"shift_add"``, for all layers or by node.
    fold
        Weights that share a multiplier, for all layers or by node.

    Raises
    ------
    StreamingError
        If a style or a number is none, or nothing is left that could be folded.
    """

    multipliers: LayerMultipliers = "dsp"
    fold: LayerFolds = 1

    def __post_init__(self) -> None:
        for style in self._styles():
            if style not in get_args(Multipliers):
                raise StreamingError(
                    f"multipliers must be one of {', '.join(get_args(Multipliers))}, got {style!r}"
                )
        for fold in self._folds():
            if not isinstance(fold, int) or not 1 <= fold <= MAX_FOLD:
                raise StreamingError(f"fold must be 1 to {MAX_FOLD}, got {fold!r}")
        if self.clocks > 1 and self.multipliers == "shift_add":
            raise StreamingError("fold shares multipliers, which shift_add does not have")

    def _styles(self) -> list[str]:
        given = self.multipliers
        return [given] if isinstance(given, str) else list(given.values())

    def _folds(self) -> list[int]:
        return list(self.fold.values()) if isinstance(self.fold, Mapping) else [self.fold]

    @property
    def clocks(self) -> int:
        """Clocks for each pixel: as many as the layer with the most weights for a multiplier."""
        return max(self._folds(), default=1)

    @property
    def summary(self) -> str:
        """``"dsp"``, ``"shift_add"``, or ``"mixed"``."""
        if isinstance(self.multipliers, str):
            return self.multipliers
        return "mixed" if "shift_add" in self._styles() else "dsp"

    def check(self, graph: Graph) -> None:
        """Refuse names that are not those of layers with weights.

        Raises
        ------
        StreamingError
            If there is one.
        """
        layers = weighted_layers(graph)
        for given in (self.multipliers, self.fold):
            for name in given if isinstance(given, Mapping) else ():
                if name not in layers:
                    raise StreamingError(
                        f"{graph.name!r} has no layer {name!r} with weights; it has "
                        f"{', '.join(layers)}"
                    )

    def of(self, name: str) -> tuple[Multipliers, int]:
        """Return style and fold of a layer."""
        style = self.multipliers if isinstance(self.multipliers, str) else (
            self.multipliers.get(name, "dsp")
        )  # fmt: skip
        fold = self.fold.get(name, 1) if isinstance(self.fold, Mapping) else self.fold
        return style, fold


def weighted_layers(graph: Graph) -> list[str]:
    """Return the names of all nodes with weights, in order."""
    kinds = ops.Conv2d | ops.ConvTranspose2d | ops.Linear | ops.Prelu
    return [node.name for node in graph.nodes if isinstance(node.op, kinds)]
