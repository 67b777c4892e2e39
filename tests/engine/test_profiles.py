"""Profiles: how long every stage of a run takes."""

from __future__ import annotations

import numpy as np
import pytest
from engine_graphs import BYTE, Network

import fxp
from fxp.engine import Engine, Options, StageTime, profile
from fxp.engine.profiling import ROWS, Profile
from fxp.formats import Format
from fxp.graph.ops import Concat, Relu
from fxp.support.errors import ArgumentError


def test_every_stage_is_timed() -> None:
    network = Network()
    image = network.image(3)
    first = network.conv(image, 8)
    network.node(Relu(), network.node(Concat(), first, image, to=BYTE), to=Format(6, 3))
    graph = network.graph()
    raw = np.arange(3 * 9 * 11).reshape(3, 9, 11) % 100
    for options in (Options(), Options(kernels="portable"), Options(band_rows=1)):
        engine = Engine(graph, options)
        found = profile(engine, [raw], repeats=2)
        plan = engine.plan([raw.shape], threads=1, count_clipped=False)
        *stages, rows = found.stages
        assert [stage.value for stage in stages] == [s.result for s in plan.program.stages]
        assert rows.kernel == ROWS
        assert stages[0].macs == 3 * 8 * 9 * 9 * 11
        assert stages[0].elements == 8 * 9 * 11
        assert stages[0].seconds > 0
        assert found.seconds == pytest.approx(sum(stage.seconds for stage in found.stages))
        # The run itself is not disturbed.
        assert np.array_equal(engine.run([raw]).outputs[0], Engine(graph).run([raw]).outputs[0])


def test_the_table() -> None:
    found = Profile(
        (
            StageTime("a", ("conv2d", "relu"), "pair tiles", 3e-6, 6000, 10),
            StageTime("b", ("add",), "combine", 1e-6, 0, 2000),
        )
    )
    assert str(found) == (
        " µs  share         speed  kernel      nodes        value\n"
        "3.0  75.0%   2.00 GMAC/s  pair tiles  conv2d relu  a\n"
        "1.0  25.0%  2.00 Gelem/s  combine     add          b\n"
        "4.0 µs in 2 stages"
    )


def test_a_model_profiles_raw_integers() -> None:
    network = Network()
    network.conv(network.image(2), 4)
    found = fxp.FixedModel(network.graph()).profile(np.ones((2, 4, 4), np.int64), repeats=1)
    assert [stage.nodes for stage in found.stages] == [("conv2d",), ()]


def test_it_runs_at_least_once() -> None:
    network = Network()
    network.conv(network.image(2), 4)
    with pytest.raises(ArgumentError, match="at least 1, got 0"):
        profile(Engine(network.graph()), [np.ones((2, 4, 4), np.int64)], repeats=0)
