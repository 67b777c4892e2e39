"""The engine: plans of integer graphs, and the compiled code that runs them."""

from fxp.engine.engine import Engine
from fxp.engine.plan import Plan
from fxp.engine.profiling import Profile, StageTime, profile
from fxp.engine.program import Options
from fxp.engine.workers import check_threads

__all__ = ["Engine", "Options", "Plan", "Profile", "StageTime", "check_threads", "profile"]
