"""The benchmark of the family, on small pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.family import __main__ as command
from benchmarks.family import inputs, members, page
from benchmarks.psnr.methods import ByQuality, for_real_input, shipped_methods, shipped_names
from fxp.models import sr
from fxp.models.common.measure import FixedPixels
from fxp.models.sr.fixed import COMPARED, SHIPPED


def picture() -> np.ndarray:
    generator = np.random.default_rng(2)
    return np.kron(generator.integers(20, 230, (8, 8)), np.ones((6, 6))).astype(np.uint8)


def row(network: str, psnr: float, cost: float) -> dict[str, Any]:
    return {
        "network": network, "bits": "8/10", "parameters": 352, "psnr": {"Set5": psnr},
        "multiplier_bits": int(cost), "adders": 10.0, "luts": cost, "line_memory": 2000.0,
    }  # fmt: skip


def test_front_by_hand() -> None:
    points = [(3.0, 30.0), (1.0, 20.0), (2.0, 19.0), (3.0, 31.0), (4.0, 31.0)]
    assert page.front(points) == [(1.0, 20.0), (3.0, 31.0)]


def test_page_and_picture(tmp_path: Path) -> None:
    record = {
        "members": {"A 8/10": row("A", 35.0, 1000), "B 8/10": row("B", 36.0, 2000)},
        "cores": {"A 8/10": {"luts": 1234, "registers": 5, "block_rams": 6}},
        "factors": {"3": {key: {"Set5": value} for key, value in
                          (("bicubic", 30.0), ("float", 32.5), ("fixed", 32.0))}},
        "qualities": {"Set5 50": {"bicubic": 30.0, "kimsr_x2_bicubic": 29.5}},
        "flicker": {"1.0": {"input": 1.0, "bicubic": 0.75}},
    }  # fmt: skip
    text = page.write(record, tmp_path / "benchmarks").read_text()
    assert "| A | 8/10 | 352 | 35.000 | 1,000 | 10 | 1,000 | 1,234 | 2 |" in text
    assert "| ×3, fixed | 32.000 | +2.00 |" in text
    assert "| Set5, `kimsr_x2_bicubic` | 29.500 |" in text
    assert "| bicubic | 0.75 |" in text
    image = (tmp_path / "pictures" / page.PICTURE).read_bytes()
    assert image[:4] == b"\x89PNG"


def test_page_says_what_the_networks_for_shared_adders_save(tmp_path: Path) -> None:
    hardware = next(item for item in members.MEMBERS if item.searched)
    rows = {members.PLAIN.name: row("A", 35.0, 1000), hardware.name: row("B", 34.98, 750)}
    rows[hardware.name]["adders"] = 8.0
    text = page.write({"members": rows}, tmp_path / "benchmarks").read_text()
    assert (
        "`B`, 8/10, needs 25.0% fewer adder bits, which are the counted LUTs, than `A`, 8/10, and "
        "20.0% fewer adders, and changes the PSNR by -0.020 dB."
    ) in text.splitlines()


def test_members_are_shipped() -> None:
    assert {member.weights for member in members.MEMBERS} <= {*SHIPPED, *COMPARED.values()}
    assert len({member.name for member in members.MEMBERS}) == len(members.MEMBERS)
    assert command.SYNTHESIZED


def test_smallest_member() -> None:
    member = next(item for item in members.MEMBERS if item.weights == "kimsr8_x2_8_10")
    found = members.measured(member, {"one": [picture()]})
    assert found["parameters"] == 352
    # 72 weights of the head see 8 bits, the other 280 at most 10.
    most = 8 * (72 * 8 + 280 * 10)
    assert 0.95 * most < found["multiplier_bits"] <= most
    # Two lines of 8-bit pixels, of 8 maps and of 4 maps, of at most 10 bits each.
    most = 2 * 1920 * (8 + 8 * 10 + 4 * 10)
    assert 0.95 * most < found["line_memory"] <= most
    assert found["luts"] > found["adders"] > 0
    assert found["psnr"]["one"] > 15


def test_still_scene(monkeypatch: pytest.MonkeyPatch) -> None:
    methods = {"same": lambda plane: plane, "black": lambda plane: 0 * plane}
    monkeypatch.setattr(inputs, "upscalers", lambda: methods)
    monkeypatch.setattr(inputs, "FRAMES", 4)
    found = inputs.still_scene(2.0)
    assert found["input"] == found["same"] == pytest.approx(2.0, rel=0.03)
    assert found["black"] == 0.0


def test_command_measures_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "read_benchmark", lambda folder, name: {"a.png": picture()})
    monkeypatch.setattr(inputs, "still_scene", lambda noise: {"input": noise})
    arguments: dict[str, Any] = {
        "data": tmp_path, "part": [command.Part.FLICKER], "out": tmp_path / "pages"
    }  # fmt: skip
    command.main(**arguments, only="0.5", missing=False)
    command.main(**arguments, only="", missing=True)
    done = [line.split(":")[0] for line in capsys.readouterr().out.splitlines()]
    assert done.count("flicker 0.5") == 1
    assert done.count("flicker 4.0") == 1
    assert "| input | 0.50 | 1.00 | 2.00 | 4.00 |" in (tmp_path / "pages/family.md").read_text()


def test_psnr_compares_the_models_of_full_size() -> None:
    names = shipped_names()
    assert names == ["kimsr_x2_bicubic", "kimsr_x2_compressed", "kimsr_x2_noisy"]


def test_psnr_takes_the_quality_of_each_picture() -> None:
    real, fixed = shipped_methods("kimsr_x2_compressed")
    assert isinstance(fixed.run, ByQuality)
    large = np.kron(picture(), np.ones((2, 2), np.uint8))
    clean = large.astype(np.float64)
    wanted = sr.upscale(large, sr.load("kimsr_x2_bicubic"))
    assert np.array_equal(fixed.run(clean), wanted)
    model = sr.at_quality(sr.load("kimsr_x2_compressed"), 70)
    assert not np.array_equal(fixed.run.of(70)(clean), wanted)
    assert np.abs(real.run(clean) - fixed.run(clean)).max() < 2
    assert isinstance(for_real_input(fixed).run, FixedPixels)
    assert model.metadata["biases_for_jpeg_quality"] == "70"
