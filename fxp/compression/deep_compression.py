"""Deep Compression of weights without their network: prune, share, and write.

S. Han, H. Mao, W. Dally: Deep Compression, 2016. Training between the steps, which keeps the
accuracy at high ratios, needs the network: `fxp.compression.pruning` and
`fxp.compression.weight_sharing` have the steps for that.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from fxp.compression.layers import check_count, check_finite, check_share
from fxp.compression.limits import CONVOLUTION_BITS, LINEAR_BITS, MAX_BITS
from fxp.compression.weight_sharing import shared_values
from fxp.support.errors import ArgumentError


def compressed_state(
    state: Mapping[str, Tensor],
    *,
    fraction: float = 0.0,
    convolution_bits: int = CONVOLUTION_BITS,
    linear_bits: int = LINEAR_BITS,
) -> dict[str, Tensor]:
    """Return a state dictionary with the smallest weights zero and the others shared.

    Tensors of four axes are weights of convolutions, those of two axes of linear layers. All others
    stay as they are.

    Parameters
    ----------
    state
        The weights.
    fraction
        Share of all weights that become zero, from 0 and below 1.
    convolution_bits, linear_bits
        Width of the codes, 1 to 8.

    Raises
    ------
    ArgumentError
        If an argument is out of range, no tensor is a weight of these layers, or one is not finite.
    """
    fraction = check_share(fraction, "the fraction")
    widths = {
        4: check_count(convolution_bits, "convolution_bits", 1, MAX_BITS),
        2: check_count(linear_bits, "linear_bits", 1, MAX_BITS),
    }
    weights = {
        name: tensor.detach().cpu().float().numpy() for name, tensor in state.items()
        if tensor.ndim in widths and tensor.is_floating_point() and tensor.numel()
    }  # fmt: skip
    if not weights:
        raise ArgumentError("no tensor has the two or four axes of a weight; nothing to compress")
    for name in weights:
        check_finite(state[name], name)
    pooled = np.concatenate([np.abs(values).ravel() for values in weights.values()])
    limit = np.partition(pooled, int(fraction * len(pooled)))[int(fraction * len(pooled))]
    shared = {
        name: torch.from_numpy(
            shared_values(np.where(np.abs(values) < limit, np.float32(0), values),
                          widths[values.ndim])
        )
        for name, values in weights.items()
    }  # fmt: skip
    return {name: shared.get(name, tensor) for name, tensor in state.items()}
