"""A model from its file."""

from __future__ import annotations

from os import PathLike

from fxp.graph import Limits
from fxp.model.fixed_model import FixedModel
from fxp.model.levels import CLIPPED_KEY, ONE_STEP_KEY, SQNR_KEY, read_levels, read_shares
from fxp.store import load_graph


def load(path: str | PathLike[str], *, limits: Limits | None = None) -> FixedModel:
    """Read a ``.fxp`` file; needs NumPy and Numba alone.

    Parameters
    ----------
    path
        The file.
    limits
        Most that one run may need, such as rows, bytes and operations: a small file can ask for any
        amount. By default far more than usual networks need.

    Raises
    ------
    FormatError
        If the file is not a valid ``.fxp`` file; the message names the file and the fault.
    OSError
        If it cannot be read.
    """
    graph, metadata = load_graph(path)
    shares = {
        key: read_shares(metadata.pop(key, "{}"), path) for key in (CLIPPED_KEY, ONE_STEP_KEY)
    }
    return FixedModel(
        graph,
        metadata=metadata,
        calibration_clipped=shares[CLIPPED_KEY],
        calibration_clipped_by_one_step=shares[ONE_STEP_KEY],
        calibration_sqnr=read_levels(metadata.pop(SQNR_KEY, "{}"), path),
        limits=limits,
    )
