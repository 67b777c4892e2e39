"""Every op that can stream, a module of this package for each kind of them."""

from fxp.hls.rtl.stages import (
    activations,
    arithmetic,
    convolution,
    movement,
    pooling,
    upsampling,
    whole_frame,
)
from fxp.hls.rtl.stages.registry import RULES, Operand, Rule, Stage, streams

__all__ = [
    "RULES",
    "Operand",
    "Rule",
    "Stage",
    "activations",
    "arithmetic",
    "convolution",
    "movement",
    "pooling",
    "streams",
    "upsampling",
    "whole_frame",
]
