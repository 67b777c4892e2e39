"""The networks of flash to ambient: their sizes, their shapes, and that they quantize."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import fxp
from fxp.models.common.weights import WeightsError
from fxp.models.flash.guidance import (
    Discriminator,
    attention_map,
    load_encoder,
)
from fxp.models.flash.networks import (
    NETWORKS,
    DeepFlash,
    FlashGenerator,
    LightField,
    UNet,
    fitted,
    preset,
)
from fxp.support.errors import ArgumentError


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameters_are_those_of_the_paper():
    with torch.device("meta"):
        network = FlashGenerator()
        assert count(Discriminator()) == 6_283_649
        assert count(UNet()) == 7_760_163
        assert count(DeepFlash()) == 30_387_011
    assert count(network) == 30_387_011
    assert count(network.encoder) == 14_714_688
    assert network.levels[0][0].weight.shape == (512, 1024, 3, 3)


def test_encoder_takes_the_weights_of_vgg16():
    # 3-64-64, 64-128-128, 128-256-256-256, 256-512-512-512, 512-512-512-512.
    with torch.device("meta"):
        shapes = [tuple(item.shape) for item in FlashGenerator().encoder.parameters()]
    ends = [(3, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 256),
            (256, 512), (512, 512), (512, 512), (512, 512), (512, 512), (512, 512)]  # fmt: skip
    expected = [shape for a, b in ends for shape in ((b, a, 3, 3), (b,))]
    assert shapes == expected


def test_unpooling_quantizes_and_equals_the_oracle():
    # The transposed decoder has its turn in test_flash_pipeline.
    torch.manual_seed(0)
    network = FlashGenerator(2, decoder="unpool").eval()
    assert FlashGenerator(**network.options()).state_dict().keys() == network.state_dict().keys()
    flash = torch.rand(2, 3, 32, 48)
    result = network(flash)
    assert result.shape == flash.shape
    assert result.min() > 0
    assert result.max() < 1
    model = fxp.quantize(network, [flash], effort="fast")
    found = model(flash)
    assert torch.equal(found, model.oracle(flash))
    # Unpooling puts a value elsewhere where rounding makes two neighbours equal.
    error = np.abs((found - result).detach().numpy())
    assert error.mean() < 0.005


def test_tanh_gives_both_signs():
    torch.manual_seed(0)
    result = FlashGenerator(2, activation="tanh")(torch.rand(1, 3, 16, 16))
    assert result.min() < 0 < result.max()


def test_what_is_joined_loses_its_last_row_or_column():
    doubled = torch.arange(16.0).reshape(1, 1, 4, 4)
    joined = fitted(doubled, torch.zeros(1, 2, 3, 4))
    assert joined.tolist() == [[[[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]]]
    assert fitted(doubled, torch.zeros(1, 2, 4, 3))[0, 0, 0].tolist() == [0, 1, 2]
    assert torch.equal(fitted(doubled, doubled), doubled)


@pytest.mark.parametrize("name", list(NETWORKS))
@pytest.mark.parametrize("size", [(16, 32), (1, 1), (15, 18)])
def test_every_preset_keeps_the_size_and_the_range(name: str, size: tuple[int, int]):
    torch.manual_seed(0)
    network = preset(name, 2)
    assert network.multiple == 1
    flash = torch.rand(1, 3, *size)
    result = network(flash)
    assert result.shape == flash.shape
    assert result.min() >= 0
    assert result.max() <= 1
    assert type(network)(**network.options()).state_dict().keys() == network.state_dict().keys()


def test_a_new_light_field_changes_nothing():
    flash = torch.rand(1, 3, 31, 22)
    assert torch.equal(LightField(2)(flash), flash)


def test_light_fields_add_a_curve_and_a_field():
    network = LightField(1, grid=2)
    with torch.no_grad():
        # Half of red is taken off blue; the left half gets 1/4 of green.
        network.tone[0].weight[:] = torch.tensor([1.0, 0.0, 0.0]).reshape(1, 3, 1, 1)
        network.tone[0].bias[:] = 0
        network.tone[2].weight[2] = -0.5
        network.place[0, 1, :, 0] = 0.25
    result = network(torch.full((1, 3, 12, 16), 0.5))[0]
    assert torch.equal(result[:, 5, 0], torch.tensor([0.5, 0.75, 0.25]))
    assert torch.equal(result[:, 5, 15], torch.tensor([0.5, 0.5, 0.25]))
    # Halfway between the cells there is half of it.
    assert result[1, 5, 7:9].mean().item() == pytest.approx(0.625)
    with torch.no_grad():
        network.place[:] = 1
    assert network.unclamped(torch.full((1, 3, 6, 6), 0.5))[0, 0, 0, 0] == 1.5
    assert network(torch.full((1, 3, 6, 6), 0.5))[0, 0, 0, 0] == 1


def test_light_fields_see_the_colours_of_cells():
    network = LightField(1, grid=2)
    with torch.no_grad():
        network.field.weight[0] = 1
    flash = torch.zeros(1, 3, 8, 8)
    flash[:, 0, :, :4] = 1
    result = network.unclamped(flash)[0, 0]
    # Cells of 1 and 0 add what they have beyond one half.
    assert result[0, 0] == 1.5
    assert result[0, 7] == -0.5


def test_deep_flash_takes_the_flash_off():
    network = DeepFlash(1)
    network.generator.output.weight = torch.nn.Parameter(torch.zeros(3, 1, 3, 3))
    network.generator.output.bias = torch.nn.Parameter(torch.atanh(torch.tensor([0.25, 0.0, 0.9])))
    result = network(torch.full((1, 3, 16, 16), 0.5))[0, :, 5, 6]
    assert torch.allclose(result, torch.tensor([0.25, 0.5, 0.0]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width must be at least 1, not 0"),
        ({"outputs": 0}, "outputs must be at least 1, not 0"),
        ({"decoder": "nearest"}, "decoder must be one of transposed, unpool, not 'nearest'"),
        ({"activation": "relu"}, "activation must be one of sigmoid, tanh, none, not 'relu'"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ArgumentError, match=message):
        FlashGenerator(**options)


def test_wrong_grids():
    with pytest.raises(ArgumentError, match="grid must be at least 1, not 0"):
        LightField(grid=0)


def test_wrong_presets():
    with pytest.raises(ArgumentError, match="no network 'large', only small, paper, unet, deepf"):
        preset("large")
    with pytest.raises(ArgumentError, match="width must be at least 1, not -1"):
        preset("unet", -1)


def test_attention_is_low_where_the_light_changes():
    flash = torch.zeros(1, 3, 1, 2)
    ambient = torch.tensor([[[[0.0, 0.3]], [[0.0, 0.6]], [[0.0, 0.9]]]])
    assert torch.allclose(attention_map(flash, ambient), torch.tensor([[[[1.0, 0.4]]]]))


def test_discriminator_gives_logits_of_regions():
    assert Discriminator(1)(torch.rand(1, 3, 224, 224)).shape == (1, 1, 7, 7)


def made_up_vgg16(path, width: int) -> list[torch.Tensor]:
    """Write layers of VGG-16's names and kinds, and return their weights."""
    state, given, place = {}, [], 0
    for parameter in FlashGenerator(width).encoder.parameters():
        kind = "weight" if parameter.ndim == 4 else "bias"
        value = torch.full(parameter.shape, float(len(given)))
        state[f"features.{place}.{kind}"] = value
        given.append(value)
        place += kind == "bias"
    state["classifier.0.weight"] = torch.zeros(2, 2)
    torch.save(state, path)
    return given


def test_encoder_from_a_file(tmp_path):
    given = made_up_vgg16(tmp_path / "vgg16.pth", 2)
    for network in (FlashGenerator(2), DeepFlash(2)):
        load_encoder(network, tmp_path / "vgg16.pth")
        encoder = getattr(network, "generator", network).encoder
        for own, value in zip(encoder.parameters(), given, strict=True):
            assert torch.equal(own, value)


def test_encoders_that_do_not_fit(tmp_path):
    made_up_vgg16(tmp_path / "vgg16.pth", 2)
    (tmp_path / "text.pth").write_text("no weights")
    for name, content in (
        ("list", ["features.0.weight"]), ("number", 3), ("tensor", torch.zeros(2)),
        ("text", {"features.0.weight": "no tensor"}), ("none", None),
    ):  # fmt: skip
        torch.save(content, tmp_path / f"{name}_saved.pth")
        with pytest.raises(WeightsError, match=f"{name}_saved.pth does not hold the 13 conv"):
            load_encoder(FlashGenerator(2), tmp_path / f"{name}_saved.pth")
    with pytest.raises(WeightsError, match=r"encoder weights not found: .*none.pth"):
        load_encoder(FlashGenerator(2), tmp_path / "none.pth")
    with pytest.raises(WeightsError, match=r"cannot read encoder weights .*text.pth"):
        load_encoder(FlashGenerator(2), tmp_path / "text.pth")
    for network, name in ((FlashGenerator(3), "vgg16.pth"),):
        with pytest.raises(WeightsError, match="does not hold the 13 convolutions of VGG-16"):
            load_encoder(network, tmp_path / name)
    with pytest.raises(WeightsError, match="encoder of a UNet is not that of VGG-16"):
        load_encoder(UNet(2), tmp_path / "vgg16.pth")
