"""How the error of FireNet and CISTA-TC grows over steps, in fixed point and in float32.

``python -m benchmarks.recurrent --data DIR`` prints the table and writes
docs/benchmarks/recurrent.md. DIR holds the released weights and a recording of events.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from rich.progress import track

import fxp
from benchmarks.recurrent.events import voxel_grids
from benchmarks.report import environment, markdown_table, publish
from fxp.model.clipping import harmless_clipping
from fxp.models.events.checkpoints import load_released
from fxp.quantization.error_growth import error_growth
from fxp.quantization.options import QuantizeOptions
from fxp.quantization.quantize import float_graph

NETWORKS: tuple[tuple[str, str, str, int, int], ...] = (
    ("FireNet", "firenet", "firenet_evreal", 64, 500),
    ("FireNet, trained by others", "firenet", "firenet_cista_authors", 64, 500),
    ("CISTA-TC", "cista-tc", "cista_tc", 32, 150),
)
"""Title, name, file, size of the part of the picture, and events in each step."""
SENSOR = (346, 260)
"""Width and height of the sensor of the recording."""
SHOWN = 6
"""Steps of calibration."""
STEPS = (1, 10, 50, 200)


def main() -> None:
    """Measure, print and publish."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recurrent", description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("FXP_DATA"))
    data = parser.parse_args().data
    if data is None:
        parser.error("give --data DIR, or set FXP_DATA")
    rows = []
    for name, kind, weights, size, events in track(NETWORKS, "networks"):
        network = load_released(kind, Path(data) / "weights" / f"{weights}.npz")
        recording = Path(data) / "events" / "davis346_cups.npz"
        grids = voxel_grids(recording, SENSOR, size=size, events=events, grids=max(STEPS))
        options = QuantizeOptions(
            states=network.state_pairs(),
            initial_states=network.initial_states(size, size),
            effort="fast",
        )
        graph = float_graph(network, [grids[:1]], options)
        for hold in (False, True):
            model = fxp.quantize(network, [grids[:SHOWN]], options, hold_states=hold)
            growth = error_growth(model, graph, grids)
            for grid in grids:
                model.step(grid[None])
            harmless = harmless_clipping(model.graph)
            clipped = model.running_clipped.shares
            most = max(share for key, share in clipped.items() if key not in harmless)
            (output,) = growth.outputs
            levels = [f"{growth.fixed[output][step - 1]:.1f}" for step in STEPS]
            lost, allowed = growth.losses(output)
            rows.append([name, "held" if hold else "as any network", *levels, f"{lost:.1f}",
                         f"{most:.4%}"])  # fmt: skip
        levels = [f"{growth.float32[output][step - 1]:.1f}" for step in STEPS]
        rows.append([name, "float32", *levels, f"{allowed:.1f}", ""])
        print(*rows[-3:], sep="\n", flush=True)
    header = ("network", "states", *(f"step {step}" for step in STEPS), "lost dB", "clipped")
    body = (
        f"SQNR in dB of the picture after so many steps, against the same network in float64. Real "
        f'events, {SHOWN} steps of calibration, `effort="fast"`; *as any network* is '
        "`hold_states=False`. *Clipped* is the highest share of any one value over all steps, "
        f"where that changes a result.\n\n{markdown_table(header, rows)}\n\n"
        f"{environment('fxp', 'torch', 'numpy')}"
    )
    print(body)
    lost = [f"{row[6]} of {row[2]}" for row in rows if row[1] == "held"]
    summary = [("dB of SQNR lost from step 1 to 200, FireNet twice and CISTA-TC", ", ".join(lost))]
    print(f"wrote {publish('recurrent', 'Errors over many steps', body, summary=summary)}")


if __name__ == "__main__":
    main()
