"""One network: quantized, compared with the oracle and the float network, and timed."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

import fxp
from benchmarks.speed.peers import Peers, torch_threads
from benchmarks.speed.process import resident_bytes
from benchmarks.speed.timing import Settings, best_times, load_per_processor
from benchmarks.speed.versus import count_macs, fastest, raw_input, smallest_side
from benchmarks.zoo.networks import (
    CALIBRATION,
    CROPS,
    LEFT_OUT,
    build,
    photographs,
    random_crops,
    settle,
)
from fxp.executors import oracle
from fxp.frontend import FrontendError, from_torch
from fxp.imaging.metrics import sqnr
from fxp.quantization.options import Effort

PEERS: Final = ("onnxruntime", "torch")
"""What a network is timed against."""

Record = dict[str, Any]


def measure(
    name: str,
    side: int,
    settings: Settings,
    say: Callable[[str], None],
    effort: Effort = "balanced",
) -> Record:
    """Return what is found out about one network.

    Parameters
    ----------
    name
        One of `benchmarks.zoo.networks.names`.
    side
        Height and width of the photographs it is quantized, judged and timed on.
    settings
        Rounds and numbers of threads.
    say
        Called with what is being done.
    effort
        Of `fxp.quantize`.

    Returns
    -------
    dict
        ``parameters``, and why it is ``refused``; or what it needs and gives.
    """
    say("building")
    return measure_network(build(name), side, settings, say, effort)


def measure_network(
    network: torch.nn.Module,
    side: int,
    settings: Settings,
    say: Callable[[str], None],
    effort: Effort = "balanced",
) -> Record:
    """Return what is found out about an untrained network; takes and returns what `measure` does.

    Parameters
    ----------
    network
        In eval mode; its weights are changed, see `benchmarks.zoo.networks.settle`.
    side, settings, say, effort
        As for `measure`.
    """
    record: Record = {"parameters": sum(item.numel() for item in network.parameters())}
    calibration = photographs(CALIBRATION, side)
    try:
        # Before the hours that large networks take.
        from_torch(network, [torch.from_numpy(calibration[:1])])
    except FrontendError as error:
        return record | {"refused": str(error).splitlines()[0]}
    say("settling")
    # Training shows a network pictures of every kind. Settled on those of the calibration alone,
    # channels that these leave flat would get large gains, and others make them a hundredfold.
    settle(network, random_crops((*CALIBRATION, *LEFT_OUT), CROPS, side))
    say("quantizing")
    started, processor = time.perf_counter(), time.process_time()
    model = fxp.quantize(network, calibration, weight_bits=10, activation_bits=14, effort=effort)
    record["effort"] = effort
    record["quantize_seconds"] = time.perf_counter() - started
    record["quantize_processor_seconds"] = time.process_time() - processor
    record["bytes_peak"] = resident_bytes()
    accumulators = [node.accumulator for node in model.graph.nodes if node.accumulator]
    record["accumulator_bits"] = max(accumulator.bits for accumulator in accumulators)
    say("comparing with the float network")
    images = photographs(LEFT_OUT, side)
    with torch.inference_mode():
        expected = network(torch.from_numpy(images)).numpy()
    record["sqnr"] = float(sqnr(expected, model(images)))
    with torch.inference_mode():
        expected = network(torch.from_numpy(calibration)).numpy()
    record["sqnr_of_calibration"] = float(sqnr(expected, model(calibration)))
    say("comparing with the oracle")
    oracle_side = smallest_side(model.graph, 3, from_side=64)
    record["oracle_side"] = oracle_side
    record["equal_values"] = compare(model, photographs(LEFT_OUT[:1], oracle_side)[:1])
    say("timing")
    frame = images[:1]
    raw = raw_input(model, frame)
    record["portable_stages"] = len(model.plan(side, side).portable)
    record |= {"side": side, "macs": count_macs(model.graph, raw.shape), "seconds": {}}
    record["load"] = load_per_processor()
    peers = Peers(network, [frame])
    for threads in settings.threads:
        with torch_threads(threads), torch.inference_mode():
            calls: dict[str, Callable[[], object]] = {**peers.calls(threads, PEERS)}
            calls["fxp"] = fastest(model, raw, threads)
            calls["fxp_real"] = partial(model, frame, threads=threads)
            record["seconds"][str(threads)] = best_times(calls, settings)
    return record


def compare(model: fxp.FixedModel, frame: NDArray[np.float32]) -> int:
    """Compare every value of a run with the oracle's.

    Parameters
    ----------
    model
        What to run.
    frame
        Its input, ``(1, C, H, W)``.

    Returns
    -------
    int
        How many numbers were compared.

    Raises
    ------
    RuntimeError
        If any differs.
    """
    raw = raw_input(model, frame)
    expected = oracle.run(model.graph, [raw])
    found = model.run(raw, keep_values=True)
    pairs = [(expected.values[name], value) for name, value in found.values.items()]
    pairs += zip(expected.outputs, found.outputs, strict=True)
    pairs += zip(expected.outputs, model.run(raw).outputs, strict=True)
    if not all(np.array_equal(one, other) for one, other in pairs):
        raise RuntimeError("the engine and the oracle differ")
    return sum(value.size for value in expected.values.values())
