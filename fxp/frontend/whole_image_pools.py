"""Poolings whose window is the whole image, whatever its size.

``F.avg_pool2d(x, x.shape[2:])`` gives the size of the image to an op whose window is fixed, so that
torch.export would fix the size of the image. Written as a mean, it stays free.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from torch.overrides import TorchFunctionMode

_POOLS: Final[dict[Any, tuple[Callable[..., torch.Tensor], tuple[str, ...]]]] = {
    torch.nn.functional.avg_pool2d: (
        torch.mean, ("stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"),
    ),
    torch.nn.functional.max_pool2d: (
        torch.amax, ("stride", "padding", "dilation", "ceil_mode", "return_indices"),
    ),
    torch.max_pool2d: (torch.amax, ("stride", "padding", "dilation", "ceil_mode")),
}  # fmt: skip
"""Poolings: the statistic that one window of the whole image is, and arguments after the window."""
_HARMLESS: Final = {"padding": (0, 0), "dilation": (1, 1), "divisor_override": None}
"""Arguments that matter to a window of the whole image, with the value that changes nothing."""


class WholeImagePools(TorchFunctionMode):
    """While it is active, poolings over the whole of a free size are means or maxima over it."""

    def __torch_function__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Replace a pooling, and leave everything else as it is."""
        named = dict(kwargs or {})
        if func in _POOLS:
            statistic, names = _POOLS[func]
            given = dict(zip(("input", "kernel_size", *names), args, strict=False)) | named
            if _is_whole(given):
                return statistic(given["input"], (2, 3), keepdim=True)
        return func(*args, **named)


def _is_whole(given: Mapping[str, Any]) -> bool:
    """Whether the window of a pooling is its image of free size, and nothing else is changed."""
    image, window = given["input"], given["kernel_size"]
    if (
        given.get("return_indices")
        or image.ndim != 4
        or not isinstance(window, tuple | list)
        or len(window) != 2
    ):
        return False
    for name, harmless in _HARMLESS.items():
        value = given.get(name, harmless)
        value = (value, value) if isinstance(value, int) else value
        if (None if value is None else tuple(value)) != harmless:
            return False
    sizes = [*window, *image.shape[2:]]
    if not all(isinstance(size, torch.SymInt) for size in sizes):
        return False
    expressions = [size.node.expr for size in sizes]
    return expressions[:2] == expressions[2:]
