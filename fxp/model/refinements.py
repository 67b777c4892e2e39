"""What a model's metadata tell of the refinements that were tried when it was quantized."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

CHOICE: Final = "fxp.refinements"
"""Name under which a model's metadata tell, as JSON, which refinements were tried and kept."""


def refinements_text(metadata: Mapping[str, str]) -> str | None:
    """Say in a sentence which refinements were tried and kept.

    Parameters
    ----------
    metadata
        Those of a model.

    Returns
    -------
    str or None
        None if they do not tell, or not in the form that `fxp.quantize` writes.
    """
    try:
        found = json.loads(metadata[CHOICE])
        text = _sentence(found["effort"], found["trials"]) + _states(found.get("states"))
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    # A file may hold anything.
    return text if text.isprintable() else None


def kept_refinements(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of refinements that were tried and kept; none if the metadata do not tell.

    Parameters
    ----------
    metadata
        Those of a model.
    """
    try:
        trials = json.loads(metadata[CHOICE])["trials"]
        return tuple(str(trial["name"]) for trial in trials if trial["kept"])
    except (KeyError, TypeError, ValueError):
        return ()


def _sentence(effort: str, trials: list[Mapping[str, Any]]) -> str:
    if not trials:
        return f"Effort {effort}: no refinements but those that were asked for."
    first, *others = trials
    plain = f"Effort {effort}, judged on calibration data left out: plain{_level(first)}"
    tried = [f"{trial['name']}{_level(trial)}, {_verdict(trial)}" for trial in others]
    return f"{'; '.join([plain, *tried])}."


def _states(states: Mapping[str, Any] | None) -> str:
    """Say what was done for a recurrent network, and why."""
    if states is None:
        return ""
    bits = ", ".join(f"{name} {extra:d}" for name, extra in states["bits"].items())
    text = f" Bits more than other values, by how errors add up in states: {bits}"
    done = [
        *(["weights are rounded by what layers give"] if states.get("rounding") else []),
        *(["biases take off what layers are off by"] if states["biases"] else []),
    ]
    return f"{'; '.join([text, *done])}."


def _level(trial: Mapping[str, Any]) -> str:
    return "" if trial["sqnr"] is None else f" {trial['sqnr']:.1f} dB"


def _verdict(trial: Mapping[str, Any]) -> str:
    return "kept" if trial["kept"] else "not kept"
