"""Synthesis, placement and routing of emitted cores with open tools, and what they need."""

from hls.synth.placement import Placement, place
from hls.synth.synthesis import Instance, Synthesis, synthesize
from hls.synth.targets import TARGETS, Resources, Target
from hls.synth.tools import SynthesisError

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
