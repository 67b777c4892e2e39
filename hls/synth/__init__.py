"""Synthesis, placement and routing of emitted cores with open tools, and what they need."""

from fxp.hls.synth.placement import Placement, place
from fxp.hls.synth.synthesis import Instance, Synthesis, synthesize
from fxp.hls.synth.targets import TARGETS, Resources, Target
from fxp.hls.synth.tools import SynthesisError

__all__ = [
    "TARGETS",
    "Instance",
    "Placement",
    "Resources",
    "Synthesis",
    "SynthesisError",
    "Target",
    "place",
    "synthesize",
]
