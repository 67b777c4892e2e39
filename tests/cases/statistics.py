"""Cases of reductions, statistics and group normalization."""

from __future__ import annotations

from typing import Final

from cases.templates import Case, image, vector
from fxp.graph.ops import (
    GroupNorm,
    L2Norm,
    ReduceMax,
    ReduceMean,
    ReduceSum,
    StandardDeviation,
    Variance,
)
from fxp.graph.ops.base import Op

NARROW: Final = {"widths": (1, 17)}


def over_image(name: str, op: Op, channels: int, **more) -> Case:
    """Case of an op whose accumulator depends on the largest image."""
    return Case(name, op, (image(channels, **{**NARROW, **more}),))


STATISTICS: Final[tuple[Case, ...]] = (
    *(
        Case(f"reduce_{name}_{axes or 'none'}", op("c" in axes, "h" in axes, "w" in axes),
             (image(3),))
        for name, op in (("sum", ReduceSum), ("mean", ReduceMean), ("max", ReduceMax))
        for axes in ("c", "h", "w", "ch", "cw", "hw", "chw")
    ),
    Case("reduce_sum_vector", ReduceSum(True, False, False), (vector(5),)),
    Case("reduce_mean_vector", ReduceMean(True, False, False), (vector(7),)),
    Case("reduce_max_vector", ReduceMax(), (vector(5),)),
    Case("reduce_sum_one_channel", ReduceSum(True, False, False), (image(1),)),
    Case("reduce_mean_fixed", ReduceMean(True, True, True), (image(3, 5, 7),)),
    over_image("group_norm_instance", GroupNorm(groups=4), 4),
    over_image("group_norm_two_groups", GroupNorm(groups=2), 6),
    over_image("group_norm_one_group", GroupNorm(), 3),
    over_image("group_norm_large_epsilon", GroupNorm(epsilon=1000.0), 2),
    over_image("group_norm_no_epsilon", GroupNorm(2, epsilon=0.0), 4),
    over_image("group_norm_fine", GroupNorm(2), 4, fracs=(30, 44)),
    over_image("group_norm_coarse", GroupNorm(2), 4, fracs=(-20, -4)),
    over_image("group_norm_root_mean_square", GroupNorm(2, divisor="root_mean_square"), 4),
    Case("group_norm_pixel", GroupNorm(scope="pixel"), (image(6),)),
    Case("group_norm_pixel_groups", GroupNorm(2, "pixel"), (image(6),)),
    Case("group_norm_pixel_root_mean_square", GroupNorm(1, "pixel", "root_mean_square"),
         (image(5),)),
    Case("group_norm_vector", GroupNorm(scope="pixel"), (vector(9),)),
    Case("group_norm_by_norm", GroupNorm(1, "pixel", "norm", 1e-12), (image(6),)),
    Case("group_norm_by_norm_at_least_one", GroupNorm(2, "pixel", "norm", 1.0), (image(6),)),
    over_image("variance_instance", Variance(3), 3),
    over_image("variance_unbiased", Variance(1, correction=1), 3),
    Case("variance_pixel", Variance(scope="pixel"), (image(4),)),
    Case("variance_vector", Variance(1, "pixel", 1), (vector(6),)),
    over_image("standard_deviation_instance", StandardDeviation(3, correction=1), 3),
    over_image("standard_deviation_epsilon", StandardDeviation(1, epsilon=1e-3), 3),
    Case("standard_deviation_pixel", StandardDeviation(2, "pixel", 1), (image(4),)),
    Case("standard_deviation_vector", StandardDeviation(2, "pixel"), (vector(6),)),
    Case("l2_norm", L2Norm(), (image(4),)),
    Case("l2_norm_vector", L2Norm(), (vector(4),)),
    over_image("l2_norm_image", L2Norm(2, "image"), 4),
)  # fmt: skip
