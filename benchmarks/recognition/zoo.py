"""The networks of `fxp.models.recognition.zoo`: their size, their sums and their speed."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any

import torch

from benchmarks.report import markdown_table
from benchmarks.speed.machine import describe
from benchmarks.speed.timing import Settings, load_text
from benchmarks.zoo.measure import Record, measure_network
from fxp.models.recognition.zoo import ZOO
from fxp.quantization.options import Effort

PACKAGES = ("fxp", "numpy", "numba", "torch", "onnxruntime")
METHOD = (
    "The networks of the zoo for ImageNet, with 10-bit weights and 14-bit values. They are not "
    "trained: weights and normalizations are drawn at random and scaled as for [torchvision's "
    "networks](zoo.md), so there is no accuracy here. Every value of every layer was compared with "
    "the oracle's, on the smallest picture from 64×64 that the network takes, and is equal. "
    "*Accumulator*: bits of the widest sum, as proved from the weights. *Effort* `balanced` is the "
    "default, `fast` skips the refinements. *Quantized*: processor time of `fxp.quantize`, and the "
    "most memory that its process took until then, with PyTorch, the float network and its run on "
    "the photographs. Times are of one picture and one thread, raw integers in and out."
)


def measured(name: str, *, side: int | None, rounds: int, effort: Effort = "balanced") -> Record:
    """Return the figures of one network, as `json.dumps` takes them.

    Parameters
    ----------
    name
        One of `fxp.models.recognition.zoo.ZOO`.
    side
        Height and width of the pictures; by default those that the network is made for.
    rounds
        How often each program has its turn.
    effort
        Of `fxp.quantize`.
    """
    # A process of its own, for the most memory that it takes.
    with ProcessPoolExecutor(1, get_context("spawn")) as processes:
        return processes.submit(_measured, name, side, rounds, effort).result()


def _measured(name: str, side: int | None, rounds: int, effort: Effort) -> Record:
    torch.manual_seed(0)
    network = ZOO[name]().eval()
    settings = Settings(rounds=rounds, threads=(1,))
    say = partial(print, f"{name}:", flush=True)
    record = measure_network(network, side or network.side, settings, say, effort)
    return record | {"processor": describe(PACKAGES)["processor"]}


def body(networks: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the section of the page.

    Parameters
    ----------
    networks
        What `measured` found, by name.
    """
    rows = []
    for name, record in networks.items():
        if "refused" in record:
            rows.append([name, *[""] * 10, record["refused"]])
            continue
        seconds = record["seconds"]["1"]
        side = record["side"]
        rows.append(
            [
                name, f"{record['parameters']:,}", f"{record['macs'] / 1e9:.3f}",
                str(record["accumulator_bits"]), f"{record['equal_values']:,}",
                record["effort"], f"{record['quantize_processor_seconds']:.0f}",
                f"{record['bytes_peak'] / 2**30:.1f}", f"{side}×{side}",
                f"{seconds['fxp'] * 1e3:.1f}", f"{seconds['onnxruntime'] * 1e3:.1f}",
                f"{seconds['onnxruntime'] / seconds['fxp']:.2f}×",
            ]
        )  # fmt: skip
    header = ("network", "parameters", "GMAC", "accumulator", "values compared", "effort",
              "quantized, s", "memory, GiB", "picture", "fxp ms",
              "ONNX Runtime float32 ms", "faster than ONNX Runtime")  # fmt: skip
    loads = [record["load"] for record in networks.values() if "load" in record]
    processors = dict.fromkeys(record["processor"] for record in networks.values())
    remarks = f"{load_text(loads)} {'; '.join(processors)}." if loads else ""
    return "\n\n".join(filter(None, (METHOD, markdown_table(header, rows), remarks)))


def summary(networks: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return the row of the README: the speeds against ONNX Runtime.

    Parameters
    ----------
    networks
        As for `body`.
    """
    ratios = [
        record["seconds"]["1"]["onnxruntime"] / record["seconds"]["1"]["fxp"]
        for record in networks.values()
        if "seconds" in record
    ]
    if not ratios:
        return []
    return [
        (
            f"{len(ratios)} classifiers of ImageNet against ONNX Runtime float32, 1 thread",
            f"{min(ratios):.1f} to {max(ratios):.1f} times as fast",
        )
    ]
