"""Damage to an emitted core: every co-simulation must fail, and name the layer that was damaged."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from simulations import SIMULATIONS, frames, graph

from fxp.hls import Core, emit_rtl
from fxp.model import FixedModel
from fxp.rtl_sim import Stalls, cosim

SIZE = 9, 7


def _instance(text: str, wire: str) -> tuple[int, int]:
    """Return where the instance that drives a wire begins and ends."""
    name = text.index(f" u_{wire} (")
    return text.rindex("\n  fxp_", 0, name), text.index(");", name)


def _in_instance(wire: str, change: Callable[[str], str]) -> Callable[[str, Path], str]:
    def mutate(text: str, library: Path) -> str:
        begin, end = _instance(text, wire)
        return text[:begin] + change(text[begin:end]) + text[end:]

    return mutate


def _replaced(
    pattern: str, replacement: str | Callable[[re.Match[str]], str]
) -> Callable[[str], str]:
    def change(text: str) -> str:
        changed, count = re.subn(pattern, replacement, text, count=1)
        assert count == 1, f"no {pattern} in {text}"
        assert changed != text
        return changed

    return change


def _with_other_module(
    wire: str, module: str, change: Callable[[str], str]
) -> Callable[[str, Path], str]:
    """Let one instance be of a damaged copy of its module."""

    def mutate(text: str, library: Path) -> str:
        begin, end = _instance(text, wire)
        instance = _replaced(rf"\b{module}\b", f"{module}_damaged")(text[begin:end])
        copy = _replaced(rf"module {module}\b", f"module {module}_damaged")(
            change((library / f"{module}.sv").read_text())
        )
        return text[:begin] + instance + text[end:] + "\n" + copy

    return mutate


def _flip_lowest_weight_bit(found: re.Match[str]) -> str:
    return f"{found[1]}{int(found[2], 16) ^ 1:x})"


def _swap_first_taps(found: re.Match[str]) -> str:
    weights = int(found[2], 16)
    first, second = weights & 63, weights >> 6 & 63
    assert first != second
    return f"{found[1]}{weights & ~4095 | first << 6 | second:x})"


TO_ZERO = (r"Rounding\(fxp_pkg::\w+\)", "Rounding(fxp_pkg::ToZero)")
WEIGHTS = r"(\.Weights\(\d+'h)([0-9a-f]+)\)"
MUTATIONS: dict[str, tuple[str, Callable[[str, Path], str]]] = {
    "lowest bit of a weight": (
        "conv3", _in_instance("v4_conv3_sums", _replaced(WEIGHTS, _flip_lowest_weight_bit)),
    ),
    "lowest bit of a weight of the first layer": (
        "conv0", _in_instance("v1_conv0_sums", _replaced(WEIGHTS, _flip_lowest_weight_bit)),
    ),
    "two taps swapped": (
        "conv2", _in_instance("v3_conv2_sums", _replaced(WEIGHTS, _swap_first_taps)),
    ),
    "another rounding": (
        "relu1", _in_instance("v2_relu1_requantized", _replaced(*TO_ZERO)),
    ),
    "another rounding of signed values": (
        "conv2", _in_instance("v3_conv2_requantized", _replaced(*TO_ZERO)),
    ),
    "another rounding of the output": (
        "clamp17",
        _in_instance("v18_clamp17_requantized", _replaced(*TO_ZERO)),
    ),
    "a row of padding is not zero": (
        "conv9",
        _with_other_module(
            "v10_conv9_taps", "fxp_window",
            _replaced(r"\{KernelColumns\{centre\[3\+r\]\}\} & ", ""),
        ),
    ),
    "a column of padding is not zero": (
        "conv2",
        _with_other_module(
            "v3_conv2_taps", "fxp_window", _replaced(r" & columns_inside;", ";"),
        ),
    ),
    "one pixel of padding is not zero": (
        "conv9",
        _with_other_module(
            "v10_conv9_taps", "fxp_window",
            _replaced(
                r"!keep\[Index\]", "!(keep[Index] || Index == KernelRows * KernelColumns - 1)"
            ),
        ),
    ),
    "a residual one pixel late": (
        "add7",
        _with_other_module(
            "v8_add7_waited", "fxp_lag_buffer",
            _replaced(r"      read_address <= '0;", "      read_address <= AddressBits'(1);"),
        ),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> tuple[FixedModel, Path]:
    model = FixedModel(graph("kimsr_shaped"))
    folder = tmp_path_factory.mktemp("sound") / "core"
    emit_rtl(model, folder, max_width=SIZE[0], max_height=SIZE[1])
    return model, folder


@pytest.mark.parametrize("name", MUTATIONS)
def test_damage_is_found_and_placed(name, sound, tmp_path):
    model, folder = sound
    layer, mutate = MUTATIONS[name]
    damaged = tmp_path / "core"
    shutil.copytree(folder, damaged)
    core = Core.read(damaged)
    top = next(damaged / path for path in core.sources if Path(path).stem == core.top)
    top.write_text(mutate(top.read_text(), top.parent))
    images = frames(model, [SIZE], ("random", "photo"))
    # Small damage to an early layer may be lost on the way to the outputs, so look at every layer.
    result = cosim(model, images, simulator="icarus", core=damaged, taps=True)
    SIMULATIONS["icarus"] += 1
    assert not result.bit_exact
    difference = result.difference
    assert difference is not None
    assert difference.layer == layer, str(result)
    if "unknown bits" in difference.detail:
        # What lies beside and above the first pixel of all was never written.
        assert name in ("a column of padding is not zero", "a row of padding is not zero")
    else:
        places = (difference.frame, difference.channel, difference.row, difference.column)
        assert None not in places
        assert difference.expected != difference.got


def test_the_sound_core_passes(sound):
    model, folder = sound
    images = frames(model, [SIZE], ("random", "photo"))
    result = cosim(model, images, simulator="icarus", core=folder, taps=True, stalls=Stalls())
    SIMULATIONS["icarus"] += 1
    assert result.bit_exact, str(result)


def test_the_core_of_another_model_is_refused(sound):
    _, folder = sound
    other = FixedModel(graph("espcn_shaped"))
    with pytest.raises(ValueError, match="core of another model"):
        cosim(other, frames(other, [SIZE], ["random"]), simulator="icarus", core=folder)
