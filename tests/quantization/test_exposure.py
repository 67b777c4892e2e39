"""Calibration data that shows too little: dark photographs, one black picture."""

import warnings

import pytest
import torch
from torch import nn

import fxp
from fxp.formats import Format
from fxp.frontend import from_torch
from fxp.imaging.metrics import sqnr
from fxp.quantization.exposure import exposed

BYTES = Format(8, 8, signed=False)  # ap_ufixed<8,0>
PLAIN = fxp.QuantizeOptions()


def network(channels: int = 1) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 3, padding=1)
    ).eval()


def photograph() -> torch.Tensor:
    """Pixels of 8 bits from 0 to 1."""
    generator = torch.Generator().manual_seed(1)
    waves = 0.5 + 0.35 * torch.sin(torch.arange(24) / 3).expand(1, 1, 16, 24)
    noise = 0.15 * torch.rand(1, 1, 16, 24, generator=generator)
    return ((waves + noise) * 255).round().clamp(0, 255) / 255


@pytest.mark.parametrize("case", ["dark", "black", "format"])
def test_bright_pictures_after_faint_calibration(case):
    bright = photograph()
    images = {
        "dark": (bright * 12).round() / 255,
        "black": torch.zeros_like(bright),
        "format": bright * 0.05,
    }[case]
    form = BYTES if case == "format" else None
    with pytest.warns(fxp.PrecisionWarning, match="of what pictures from 0 to 1 can hold"):
        model = fxp.quantize(network(), [images], input_format=form)
    with torch.no_grad():
        wanted = network()(bright).numpy()
        bound = sqnr(wanted, fxp.quantize(network(), [bright], input_format=form)(bright).numpy())
    assert sqnr(wanted, model(bright).numpy()) > bound - 6


def said(images: torch.Tensor, **keywords) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", fxp.PrecisionWarning)
        fxp.quantize(network(images.shape[1]), [images], effort="fast", **keywords)
    texts = [str(item.message) for item in caught if item.category is fxp.PrecisionWarning]
    return [text for text in texts if "calibration data of input" in text]


def test_what_is_said():
    bright = photograph()
    assert said(bright) == []
    assert said(bright / 4, headroom=0) == []
    (text,) = said(bright * 0.0501)
    assert "If these are pictures" in text
    # Two channels are no picture, and small whole numbers may count something.
    assert said((bright * 0.0501).expand(1, 2, 16, 24).contiguous()) == []
    assert said((bright * 5).round()) == []
    (text,) = said(torch.full((1, 1, 16, 24), -2.1))
    assert "is -2.1 everywhere, which says nothing of other values" in text


def test_stretching_by_hand():
    images = torch.tensor([[51.0, 51.0, 102.0, 76.5]])[None, None].round() / 255
    graph = from_torch(network(), [images])
    ((stretched,),), texts = exposed(graph, [[images]], PLAIN)
    assert stretched.flatten().tolist() == pytest.approx([0, 0, 1, 25 / 51], abs=1e-6)
    assert "lies from 0.2 to 0.4, 20% of what pictures" in texts[0]


def test_one_factor_for_all_and_six_pictures_for_a_flat_one():
    dark, darker = (torch.tensor([[[[0.0, level]]]]) / 255 for level in (50.0, 25.0))
    graph = from_torch(network(), [dark])
    calls, _ = exposed(graph, [[dark], [darker]], PLAIN)
    assert [call[0].flatten().tolist() for call in calls] == [[0, 1], [0, 0.5]]
    flat, _ = exposed(graph, [[torch.zeros(2, 1, 6, 6)]], PLAIN)
    assert [float(call[0].mean()) for call in flat] == [0, 1, 0.5, 0.5, 0, 1]


def test_features_and_wide_formats_are_left_alone():
    features = torch.rand(1, 4, 6, 6) * 0.1
    graph = from_torch(network(4), [features])
    wide = fxp.QuantizeOptions(input_format=Format(16, 6, signed=True))
    for options in (PLAIN, wide):
        calls, texts = exposed(graph, [[features]], options)
        assert calls == [[features]]
        assert texts == ()


def test_training_and_mixed_widths_begin_with_the_same_formats():
    dark = (photograph() * 12).round() / 255
    with pytest.warns(fxp.PrecisionWarning, match="of what pictures from 0 to 1 can hold") as told:
        training = fxp.prepare_qat(network(), [dark])
    with pytest.warns(fxp.PrecisionWarning, match="of what pictures from 0 to 1 can hold") as again:
        found = fxp.quantize_mixed(
            network(), [dark], floor=10, max_trials=1, weight_widths=[8], activation_widths=[14]
        )
    assert {item.filename for item in (*told, *again)} == {__file__}
    for model in (fxp.convert(training), found.model):
        form = model.graph.inputs[0].format
        assert form is not None
        assert form.max > 0.99


def test_a_level_beside_pictures_is_no_picture():
    class Denoiser(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(2, 1, 3, padding=1)

        def forward(self, x: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
            return self.layer(torch.cat([x, noise], 1))

    call = [photograph(), torch.full((1, 1, 16, 24), 25 / 255)]
    graph = from_torch(Denoiser().eval(), call)
    assert exposed(graph, [call], PLAIN) == ([call], ())
