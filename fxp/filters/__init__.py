"""Classical image operations as integer graphs: filters, a pyramid, colour and tables."""

from fxp.filters.colour import (
    rgb_to_ycbcr,
    rgb_to_ycbcr_graph,
    ycbcr_to_rgb,
    ycbcr_to_rgb_graph,
)
from fxp.filters.filtering import filter2d, filter_graph
from fxp.filters.pyramid import gaussian_pyramid, pyramid_graph
from fxp.filters.tables import apply_table, gamma_table, table_graph
from fxp.filters.taps import (
    Taps,
    difference_of_gaussians,
    gabor,
    gaussian,
    laplacian,
    laplacian_of_gaussian,
    prewitt,
    sobel,
)

__all__ = [
    "Taps",
    "apply_table",
    "difference_of_gaussians",
    "filter2d",
    "filter_graph",
    "gabor",
    "gamma_table",
    "gaussian",
    "gaussian_pyramid",
    "laplacian",
    "laplacian_of_gaussian",
    "prewitt",
    "pyramid_graph",
    "rgb_to_ycbcr",
    "rgb_to_ycbcr_graph",
    "sobel",
    "table_graph",
    "ycbcr_to_rgb",
    "ycbcr_to_rgb_graph",
]
