"""Which files are damaged, and which tests ought to notice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final


@dataclass(frozen=True)
class Room:
    """Files that belong together, and their tests.

    Attributes
    ----------
    files
        Patterns of the files that are damaged, from the root of the repository.
    tests
        Arguments of pytest; the quick and telling ones first, as the first failure ends a run.
    compiled
        Whether the files are compiled. Numba keeps compiled code by the file that it calls from and
        would take stale code for a file that merely calls the damaged one; so each run compiles
        everything again.
    """

    files: tuple[str, ...]
    tests: tuple[str, ...]
    compiled: bool = False

    def sources(self, root: Path) -> list[Path]:
        """Files to damage, sorted, relative to the root."""
        found = {path for pattern in self.files for path in root.glob(pattern)}
        return sorted(path.relative_to(root) for path in found if path.is_file())


ROOMS: Final[dict[str, Room]] = {
    "formats": Room(("fxp/formats/*.py",), ("tests/golden", "tests/formats")),
    "ops": Room(
        ("fxp/graph/ops/*.py",),
        (
            "tests/golden",
            "tests/graph/test_graph.py",
            "tests/graph/test_graph_values.py",
            "tests/graph/test_graph_sizes.py",
            "tests/store/test_attacks.py",
            "tests/ops",
            "tests/executors/test_torch.py",
        ),
    ),
    "kernels": Room(
        ("fxp/kernels/*.py",),
        (
            "tests/golden",
            "tests/engine/test_convolution_stages.py",
        ),
        compiled=True,
    ),
    "lowering": Room(
        ("fxp/quantization/lowering.py",),
        (
            "tests/quantization/test_lowering_rules.py",
            "tests/quantization/test_lowering.py",
            "tests/quantization/test_interfaces.py",
        ),
    ),
    "calibration": Room(
        (
            "fxp/quantization/statistics.py",
            "fxp/quantization/calibrate.py",
            "fxp/quantization/constants.py",
            "fxp/quantization/ranges.py",
            "fxp/quantization/concatenations.py",
        ),
        (
            "tests/quantization/test_calibrate.py",
            "tests/quantization/test_constants.py",
            "tests/quantization/test_weights_of_one_size.py",
            "tests/quantization/test_ranges.py",
            "tests/quantization/test_concatenations.py",
            "tests/quantization/test_lowering.py",
            "tests/quantization/test_adversarial.py",
        ),
    ),
    "states": Room(
        ("fxp/quantization/states.py", "fxp/quantization/widths.py"),
        (
            "tests/quantization/test_states.py",
            "tests/quantization/test_states_sequences.py",
            "tests/quantization/test_bits.py",
        ),
    ),
    "choice": Room(
        (
            "fxp/quantization/refinement/judgement.py",
            "fxp/quantization/refinement/parts.py",
            "fxp/quantization/refinement/choose.py",
        ),
        ("tests/quantization/test_effort.py",),
    ),
    "stages": Room(
        (
            "hls/rtl/stages/*.py",
            "hls/rtl/blocks.py",
            "hls/rtl/ports.py",
            "hls/rtl/streams.py",
            "hls/rtl/tables.py",
        ),
        (
            "tests/hls/test_emit.py",
            "tests/hls/test_stage_modules.py",
            "tests/rtl_sim/test_stages.py",
            "tests/rtl_sim/test_core_states.py",
        ),
    ),
    "registers": Room(
        ("hls/driver.py", "hls/rtl/register_map.py"),
        ("tests/hls/test_driver.py", "tests/hls/test_control_modules.py"),
    ),
    "trainer": Room(
        ("models/*/trainer.py", "models/common/train*.py"),
        (
            "tests/models/test_training_schedule.py",
            "tests/models/test_training_steps.py",
            "tests/models/test_sr.py",
        ),
    ),
}
