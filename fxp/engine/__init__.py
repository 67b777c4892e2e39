"""The engine: plans of integer graphs, and the compiled code that runs them."""

from fxp.engine.engine import Engine, check_threads
from fxp.engine.plan import Plan
from fxp.engine.program import Options

__all__ = ["Engine", "Options", "Plan", "check_threads"]
