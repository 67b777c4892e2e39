"""What a case is made of: an op, and templates of its operands that are filled in later."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fxp.graph.ops.base import Op


@dataclass(frozen=True)
class Template:
    """An operand to be filled in.

    Attributes
    ----------
    shape
        Sizes; ``"H"`` and ``"W"`` are free.
    role
        ``value``, or what the constant is.
    widths
        Fewest and most bits of its format.
    fracs
        Fewest and most fraction bits; None for -6 to ``width + 6``.
    signed
        Whether the format is signed; None for either.
    per_channel
        Whether every index of the first axis has a format of its own.
    """

    shape: tuple[int | str, ...]
    role: Literal["value", "weight", "bias", "factor", "offset", "slope", "table"] = "value"
    widths: tuple[int, int] = (1, 24)
    fracs: tuple[int, int] | None = None
    signed: bool | None = None
    per_channel: bool = False


@dataclass(frozen=True)
class Case:
    """One op with templates of its operands.

    Attributes
    ----------
    name
        Unique name.
    op
        The op with its attributes.
    operands
        Templates in the order of the op's inputs.
    smallest
        Smallest legal height and width.
    multiple
        What height and width must be multiples of.
    """

    name: str
    op: Op
    operands: tuple[Template, ...]
    smallest: tuple[int, int] = (1, 1)
    multiple: int = 1

    @property
    def is_free(self) -> bool:
        """Whether the case has a free height or width."""
        return any(size in ("H", "W") for item in self.operands for size in item.shape)


def image(channels: int, height: int | str = "H", width: int | str = "W", **more) -> Template:
    """Template of an image."""
    return Template((channels, height, width), **more)


def vector(features: int, **more) -> Template:
    """Template of a vector."""
    return Template((features,), **more)


def constant(role: str, *shape: int, **more) -> Template:
    """Template of a constant."""
    return Template(shape, role, **{"widths": (2, 16), **more})  # type: ignore[arg-type]


def bits(width: int, signed: bool = True) -> dict[str, object]:
    """Keywords that give a template a fixed width, without fraction bits."""
    return {"widths": (width, width), "fracs": (0, 0), "signed": signed}
