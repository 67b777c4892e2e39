"""Poolings whose window is the whole image, whatever its size.

``F.avg_pool2d(x, x.shape[2:])`` gives the size of the image to an op whose window is fixed, so that
torch.export would fix the size of the image. Written as a mean, it stays free.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from torch.overrides import TorchFunctionMode

_POOLS: Final[dict[Any, Callable[..., torch.Tensor]]] = {
    torch.nn.functional.avg_pool2d: torch.mean,
    torch.nn.functional.max_pool2d: torch.amax,
    torch.max_pool2d: torch.amax,
}
"""Poolings, and the statistic that one window of the whole image is."""


class WholeImagePools(TorchFunctionMode):
    """While it is active, poolings over the whole of a free size are sums or maxima over it."""

    def __torch_function__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Replace a pooling, and leave everything else as it is."""
        named = dict(kwargs or {})
        statistic = _POOLS.get(func)
        if statistic is not None and _is_whole(*args, **named):
            return statistic(args[0] if args else named["input"], (2, 3), keepdim=True)
        return func(*args, **named)


def _is_whole(input: torch.Tensor, kernel_size: Any, *rest: Any, **options: Any) -> bool:  # noqa: A002
    """Whether a window has the free size of its image, and nothing else is said."""
    if rest or any(options.values()) or not isinstance(kernel_size, tuple | list):
        return False
    sizes, window = tuple(input.shape[2:]), tuple(kernel_size)
    if len(sizes) != 2 or len(window) != 2:
        return False
    symbols = [item.node.expr for item in window if isinstance(item, torch.SymInt)]
    return (
        bool(symbols)
        and symbols == [item.node.expr for item in sizes if isinstance(item, torch.SymInt)]
        and len(symbols) == 2
    )
