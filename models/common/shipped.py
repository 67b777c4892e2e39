"""The models of a system that come with the package, by name; needs no PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import fxp
from fxp.support.errors import ArgumentError


@dataclass(frozen=True)
class ShippedModels:
    """A folder of trained weights and fixed-point models.

    Attributes
    ----------
    folder
        Holds ``NAME.safetensors`` and ``NAME.fxp``.
    names
        Names of the fixed-point models.
    aliases
        Short names, and the names they stand for.
    """

    folder: Path
    names: tuple[str, ...]
    aliases: Mapping[str, str] = field(default_factory=dict)

    def full_name(self, name: str) -> str:
        """Return what a short name stands for; any other name as it is."""
        return self.aliases.get(name, name)

    def load(self, name: str | Path) -> fxp.FixedModel:
        """Load a fixed-point model.

        Parameters
        ----------
        name
            A shipped name, or the path of a file whose name ends in ``.fxp``.

        Raises
        ------
        ArgumentError
            A `ValueError`: there is no shipped model of that name; the message lists those there
            are.
        FormatError
            If the file is missing or no valid ``.fxp`` file.
        """
        if Path(name).suffix == ".fxp":
            return fxp.load(name)
        full = self.full_name(str(name))
        if full not in self.names:
            raise ArgumentError(
                f"no shipped model {str(name)!r}, only {', '.join(self.names)}; or give a .fxp file"
            )
        return fxp.load(self.folder / f"{full}.fxp")

    def weights_path(self, name: str | Path) -> Path:
        """Return the file of float weights of a shipped name, or a ``.safetensors`` file itself."""
        path = Path(name)
        if path.suffix == ".safetensors":
            return path
        return self.folder / f"{self.full_name(str(name))}.safetensors"
