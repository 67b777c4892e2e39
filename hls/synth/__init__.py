"""Synthesis, placement and routing of emitted cores with open tools, and what they need."""

from fxp.hls.synth.placement import Placement, place
from fxp.hls.synth.synthesis import InstanceResources, Synthesis, synthesize
from fxp.hls.synth.targets import TARGETS, Resources, SynthesisTarget
from fxp.hls.synth.tools import SynthesisError

__all__ = [
    "TARGETS",
    "InstanceResources",
    "Placement",
    "Resources",
    "Synthesis",
    "SynthesisError",
    "SynthesisTarget",
    "place",
    "synthesize",
]
