"""The page of supported PyTorch operations, written from the tables that the front end uses.

``python -m fxp.frontend.catalog docs/supported-operations.md`` writes it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch

from fxp.frontend.activations import ACTIVATIONS
from fxp.frontend.arithmetic import ARITHMETIC
from fxp.frontend.comparison import CHOICES
from fxp.frontend.context import Converter
from fxp.frontend.expand import COMPOSED, FORMULAS
from fxp.frontend.layers import LAYERS
from fxp.frontend.movement import MOVEMENT
from fxp.frontend.normalization import NORMALIZATION, refuse_volume
from fxp.frontend.refusals import ADVICE, ATTENTION, PRODUCTS
from fxp.frontend.resizing import RESIZING
from fxp.frontend.statistics import STATISTICS

SECTIONS: Final[dict[str, Mapping[str, Converter]]] = {
    "Layers and pooling": LAYERS,
    "Interpolation and pooling to a given size": RESIZING,
    "Activation functions": ACTIVATIONS,
    "Normalization": NORMALIZATION,
    "Statistics over axes": STATISTICS,
    "Arithmetic": ARITHMETIC,
    "Signs and choices": CHOICES,
    "Moving values": MOVEMENT,
}
SPELLINGS: Final[dict[str, tuple[str, ...]]] = {
    "conv2d": ("nn.Conv2d",),
    "conv1d": ("nn.Conv1d",),
    "conv1d.padding": ('nn.Conv1d(padding="same")', 'F.conv1d(padding="same")'),
    "conv2d.padding": ('nn.Conv2d(padding="same")', 'F.conv2d(padding="same")'),
    "conv_transpose2d": ("nn.ConvTranspose2d",),
    "linear": ("nn.Linear",),
    "mm": ("x @ W",),
    "batch_norm": ("nn.BatchNorm1d", "nn.BatchNorm2d"),
    "instance_norm": ("nn.InstanceNorm2d",),
    "group_norm": ("nn.GroupNorm",),
    "layer_norm": ("nn.LayerNorm",),
    "rms_norm": ("nn.RMSNorm",),
    "max_pool2d": ("nn.MaxPool2d",),
    "max_pool2d_with_indices": ("nn.MaxPool2d(return_indices=True)",),
    "max_unpool2d": ("nn.MaxUnpool2d",),
    "avg_pool2d": ("nn.AvgPool2d",),
    "adaptive_avg_pool2d": ("nn.AdaptiveAvgPool2d", 'F.interpolate(mode="area")'),
    "adaptive_max_pool2d": ("nn.AdaptiveMaxPool2d",),
    "upsample_nearest2d": ("nn.Upsample", "F.interpolate"),
    "_upsample_nearest_exact2d": (
        'nn.Upsample(mode="nearest-exact")', 'F.interpolate(mode="nearest-exact")',
    ),
    "upsample_bilinear2d": (
        'nn.Upsample(mode="bilinear")', 'F.interpolate(mode="bilinear")',
    ),
    "upsample_bicubic2d": ('nn.Upsample(mode="bicubic")', 'F.interpolate(mode="bicubic")'),
    "relu": ("nn.ReLU",),
    "relu6": ("nn.ReLU6",),
    "hardtanh": ("nn.Hardtanh",),
    "leaky_relu": ("nn.LeakyReLU",),
    "prelu": ("nn.PReLU",),
    "sigmoid": ("nn.Sigmoid",),
    "tanh": ("nn.Tanh",),
    "hardsigmoid": ("nn.Hardsigmoid",),
    "hardswish": ("nn.Hardswish",),
    "silu": ("nn.SiLU",),
    "mish": ("nn.Mish",),
    "gelu": ("nn.GELU",),
    "elu": ("nn.ELU",),
    "selu": ("nn.SELU",),
    "celu": ("nn.CELU",),
    "softplus": ("nn.Softplus",),
    "log_sigmoid": ("nn.LogSigmoid", "F.logsigmoid"),
    "softmax": ("nn.Softmax", "nn.Softmax2d"),
    "softshrink": ("nn.Softshrink",),
    "add": ("x + y",),
    "sub": ("x - y",),
    "rsub": ("2 - x", "torch.rsub"),
    "mul": ("x * y",),
    "div": ("x / y",),
    "neg": ("-x",),
    "pow": ("x ** 2", "x ** 0.5"),
    "linalg_vector_norm": ("torch.linalg.vector_norm", "F.normalize"),
    "linalg_norm": ("torch.linalg.norm",),
    "slice": ("x[:, 1:3, ::2]",),
    "select": ("x[:, 0]",),
    "index": ("x[:, [2, 0, 1]]",),
    "permute": ("torch.movedim",),
    "channel_shuffle": ("nn.ChannelShuffle",),
    "unflatten": ("nn.Unflatten",),
    "pad": ("nn.ZeroPad2d", "nn.ConstantPad2d", "nn.ReflectionPad2d", "nn.ReplicationPad2d"),
    "flatten": ("nn.Flatten",),
    "pixel_shuffle": ("nn.PixelShuffle",),
    "pixel_unshuffle": ("nn.PixelUnshuffle",),
    "dropout": ("nn.Dropout",),
    "feature_dropout": ("nn.Dropout2d",),
    "alpha_dropout": ("nn.AlphaDropout",),
}  # fmt: skip
"""Ways to write an ``aten`` op besides the function and the method of its own name.

A key with an overload replaces those of the op itself.
"""

INTRODUCTION: Final = """\
# Supported PyTorch operations

fxp traces a network with `torch.export`, which writes it in the operations of PyTorch's core,
`aten`. `fxp.quantize` and `fxp.frontend.from_torch` accept the operations in the tables below, and
the modules of `torch.nn` that consist of them. `F` means `torch.nn.functional`, and `x` means a
tensor. Variants that overwrite their operand (`inplace=True`, `x.relu_()`) are supported too. Any
other operation is refused; the message names the operation, the module and the line of your code,
and often another way to write it. [torchvision's classification networks](benchmarks/zoo.md) shows
what that means for whole networks.

The network must be in eval mode. Images are tensors `(N, C, H, W)`, vectors are `(N, F)`.
Operations that involve only parameters and other constants, such as weight normalization, are
computed when the network is converted; all of them are supported. Functions that become tables (in
the section on activation functions, from the sigmoid on) take values of at most 16 bits.

This page is written by `python -m fxp.frontend.catalog`.
"""
PATTERNS: Final = (
    "| `nn.LocalResponseNorm`, `F.local_response_norm` | Local response normalization, found in "
    "the operations that PyTorch writes for it. | several |\n"
    "| `nn.LPPool2d`, `F.lp_pool2d` | Power-average pooling, found in the same way. | several |\n"
    "| `(x - mean) / torch.sqrt(var + eps)`, `x / x.norm(dim=1, keepdim=True)` | Normalizations, "
    "variances and deviations by their formulas, computed as one operation. | several |"
)

TAKEN_AS_NUMBERS: Final = frozenset(("clamp", "clamp_min", "clamp_max"))
"""Ops that a table has, with numbers in place of tensors."""


def _base(aten: str) -> str:
    """Name of an op without its namespace and overload."""
    return aten.split(".")[1]


def _spellings(aten: str) -> list[str]:
    own = SPELLINGS.get(aten.removeprefix("aten."))
    if own is not None:
        return list(own)
    base = _base(aten)
    found = list(SPELLINGS.get(base, ()))
    if base.startswith("_") or base in ("slice", "alias", "rsub", "convolution"):
        return found
    for prefix, owner in (("F", torch.nn.functional), ("torch", torch), ("x", torch.Tensor)):
        if hasattr(owner, base):
            found.append(f"{prefix}.{base}")
    return found


def _rows(converters: Mapping[str, Converter]) -> list[str]:
    """Rows of a table, one for each converter, in the order of the first op that it takes."""
    by_converter: dict[Converter, list[str]] = {}
    for aten, converter in converters.items():
        if converter is not refuse_volume:
            by_converter.setdefault(converter, []).append(aten)
    rows = []
    for converter, ops in by_converter.items():
        names = dict.fromkeys(map(_base, ops))
        spelled = dict.fromkeys(item for name in ops for item in _spellings(name))
        if not spelled:  # only PyTorch itself writes it
            continue
        written = ", ".join(f"`{item}`" for item in spelled)
        meaning = (converter.__doc__ or "").partition("\n")[0].replace("``", "`")
        rows.append(f"| {written} | {meaning} | {', '.join(f'`{name}`' for name in names)} |")
    return rows


def page() -> str:
    """Return the text of docs/supported-operations.md."""
    parts = [INTRODUCTION]
    for title, converters in SECTIONS.items():
        rows = _rows(converters)
        if converters is NORMALIZATION:
            rows.append(PATTERNS)
        head = "| PyTorch | Meaning | `aten` |\n|---|---|---|"
        parts.append("\n".join((f"## {title}\n", head, *rows, "")))
    names = sorted({*COMPOSED, *map(_base, FORMULAS)} - TAKEN_AS_NUMBERS)
    written = ", ".join(f"`{name}`" for name in names)
    parts.append(f"## Written as others\n\nThese become operations of the tables: {written}.\n")
    rows = [f"| `{name.removeprefix('aten.')}` | {advice} |" for name, advice in ADVICE.items()]
    products = ", ".join(f"`{name.removeprefix('aten.')}`" for name in sorted(PRODUCTS))
    rows.append(f"| {products}, of two computed matrices | {ATTENTION} |")
    head = "## Refused, with advice\n\n| Operation | Instead |\n|---|---|"
    parts.append("\n".join((head, *rows, "")))
    return "\n".join(parts)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
