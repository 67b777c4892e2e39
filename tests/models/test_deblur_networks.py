"""The generator and discriminator of DeepDeblur, by the counts and orders of the paper."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fxp.models.common.weights import WeightsError
from fxp.models.deblur.losses import content_loss
from fxp.models.deblur.networks import Discriminator, Generator, preset
from fxp.models.deblur.release import from_release, load_release


def parameters(network: nn.Module) -> int:
    return sum(item.numel() for item in network.parameters())


@pytest.mark.parametrize(
    ("scales", "blocks", "count"), [(1, 59, 12_100_419), (2, 29, 11_910_870), (3, 19, 11_721_321)]
)
def test_120_convolutions_for_any_number_of_scales(scales: int, blocks: int, count: int):
    with torch.device("meta"):
        network = Generator(scales)
    assert parameters(network) == count
    assert network.options()["blocks"] == [blocks] * scales
    convolutions = [item for item in network.modules() if isinstance(item, nn.Conv2d)]
    assert len(convolutions) == 120 + scales - 1
    assert {item.kernel_size for item in convolutions} == {(5, 5)}
    assert all(item.bias is not None for item in convolutions)


@pytest.mark.parametrize(("extra", "count"), [(False, 10_699_617), (True, 10_725_217)])
def test_the_discriminator_of_table_1(extra: bool, count: int):
    with torch.device("meta"):
        network = Discriminator(extra=extra)
        assert network(torch.empty(2, 3, 256, 256)).shape == (2, 1)
    assert parameters(network) == count
    layers = [item for item in network.modules() if isinstance(item, nn.Conv2d)]
    strides = [item.stride[0] for item in layers]
    assert strides == [*([1] if extra else []), 2, 1, 2, 1, 4, 1, 4, 1, 1]
    assert layers[-1].kernel_size == (4, 4)


def test_the_preset_of_the_paper_is_its_network():
    with torch.device("meta"):
        assert preset("paper").options() == Generator().options()
    with pytest.raises(ValueError, match="no network 'large', only paper, small"):
        preset("large")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scales": 0}, "scales must be at least 1, not 0"),
        ({"width": 0}, "width must be at least 1, not 0"),
        ({"blocks": (1, 2)}, "a number for each of the 3 scales"),
        ({"blocks": -1}, "a number for each of the 3 scales"),
    ],
)
def test_options_that_do_not_fit(options: dict, message: str):
    with pytest.raises(ValueError, match=message):
        Generator(**options)


def test_the_pyramid_is_a_gaussian_of_whole_numbers():
    network = Generator(2, 1, 0)
    image = torch.zeros(1, 3, 4, 6)
    image[:, :, 2, 2] = 1.0
    image[:, :, 0, 5] = 1.0
    whole, half = network.pyramid(image)
    assert whole is image
    # Even rows and columns are kept; at the corner the edge is repeated beyond the border.
    expected = np.array([[0, 0, 127 + 52], [0, 308, 0]]) / 1024
    assert half.shape == (1, 3, 2, 3)
    for channel in range(3):
        assert np.array_equal(half[0, channel].numpy(), expected.astype(np.float32))
    flat = network.pyramid(torch.full((1, 3, 5, 7), 0.25))[1]
    assert flat.shape == (1, 3, 3, 4)
    assert (flat == 0.25).all()


def test_the_blurred_image_comes_first_and_the_enlarged_one_behind():
    network = Generator(2, 1, 0)
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.zero_()
        weights = dict(network.named_parameters())
        weights["scales.1.head.weight"][0, 1, 2, 2] = 1.0  # green
        weights["scales.1.tail.weight"][:, 0, 2, 2] = 1.0
        weights["enlarge.0.weight"][4:8, 2, 2, 2] = torch.tensor([1.0, 2.0, 3.0, 4.0])
        weights["scales.0.head.weight"][0, 0, 2, 2] = 1.0  # red of the blurred image
        weights["scales.0.head.weight"][0, 4, 2, 2] = 10.0  # green of the enlarged one
        weights["scales.0.tail.weight"][0, 0, 2, 2] = 1.0
    image = torch.full((1, 3, 2, 2), 0.5)
    image[:, 0] += 0.25
    image[:, 1] += 0.125
    sharp, smaller = network.latent(image)
    assert torch.equal(smaller, torch.full((1, 3, 1, 1), 0.625))
    # red - 1/2, ten times 1 to 4 eighths by the pixel shuffle, and 1/2 on top
    assert torch.equal(sharp[0, 0], torch.tensor([[2.0, 3.25], [4.5, 5.75]]))
    assert torch.equal(sharp[0, 1:], torch.full((2, 2, 2), 0.5))


def test_a_residual_block_has_no_relu_behind_the_sum():
    network = Generator(1, 1, 1)
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.zero_()
                layer.weight[0, 0, 2, 2] = 1.0
    image = torch.full((1, 3, 1, 1), 0.25)  # -1/4: the ReLU leaves 0, the sum -1/4
    assert network.latent(image)[0].flatten().tolist() == [0.25, 0.5, 0.5]


def test_a_residual_network_begins_near_its_input():
    torch.manual_seed(0)
    network = Generator(2, 4, 1, residual=True).eval()
    image = torch.rand(1, 3, 8, 12)
    assert (network(image) - image).abs().mean() < 0.05
    assert network(2 * image).max() == 1.0


def test_corrections_of_a_coarser_scale_are_enlarged_bilinearly_and_added():
    network = Generator(2, 1, 0, residual=True, corrections=True)
    with torch.no_grad():
        for scale in network.scales:
            for item in scale.parameters():
                item.zero_()
        # The coarser scale adds 1/4 to red wherever it is; the finer one adds nothing.
        network.scales[1].tail.bias[0] = 0.25  # type: ignore[index,union-attr]
    image = torch.full((1, 3, 16, 16), 0.5)
    sharp, smaller = network.latent(image)
    assert torch.equal(smaller[0, :, 0, 0], torch.tensor([0.75, 0.5, 0.5]))
    # Beyond the border there are zeros, so only the inside has all of it.
    assert torch.equal(sharp[0, :, 8, 8], torch.tensor([0.75, 0.5, 0.5]))
    assert sharp[0, 0, 0, 8].item() == 0.5 + 0.25 * 0.75
    with pytest.raises(ValueError, match="corrections need residual"):
        Generator(2, 1, 0, corrections=True)


def test_the_content_loss_is_the_mean_over_scales_halved():
    network = Generator(2, 1, 0)
    sharp = torch.full((2, 3, 4, 4), 0.5)
    latent = [sharp + 0.5, torch.full((2, 3, 2, 2), 0.25)]
    # (1/4 + 1/16) / (2 * 2)
    assert content_loss(network, latent, sharp).item() == 0.078125
    # By the logarithm: ln(1/4 + 1e-3) and ln(1/16 + 1e-3), over 2 * 2.
    logarithmic = content_loss(network, latent, sharp, logarithmic=True).item()
    assert logarithmic == pytest.approx((-1.382302 - 2.756715) / 4)


def released(network: Generator) -> dict[str, torch.Tensor]:
    """Return made-up weights of a network of two scales and one block, by the release's names."""
    torch.manual_seed(3)
    shapes = {
        "body_models.0.body.0": (2, 6), "body_models.0.body.1.body.0": (2, 2),
        "body_models.0.body.1.body.2": (2, 2), "body_models.0.body.2": (3, 2),
        "body_models.1.body.0": (2, 3), "body_models.1.body.1.body.0": (2, 2),
        "body_models.1.body.1.body.2": (2, 2), "body_models.1.body.2": (3, 2),
        "conv_end_models.1.uppath.0": (12, 3),
    }  # fmt: skip
    state = {}
    for name, (outputs, inputs) in shapes.items():
        state[f"{name}.weight"] = torch.randn(outputs, inputs, 5, 5)
        state[f"{name}.bias"] = torch.randn(outputs)
    assert sum(item.numel() for item in state.values()) == parameters(network)
    return state


def test_weights_of_the_release_by_their_names(tmp_path: Path):
    state = released(Generator(2, 2, 1))
    torch.save({"G": state, "D": {"dense.weight": torch.zeros(1)}}, tmp_path / "model-9.pt")
    network = load_release(tmp_path / "model-9.pt")
    assert network.options() == {"scales": 2, "width": 2, "blocks": [1, 1], "residual": False,
                                 "corrections": False}  # fmt: skip
    assert not network.training
    for ours, theirs in (
        ("scales.0.head", "body_models.0.body.0"),
        ("scales.1.blocks.0.first", "body_models.1.body.1.body.0"),
        ("scales.1.blocks.0.second", "body_models.1.body.1.body.2"),
        ("scales.0.tail", "body_models.0.body.2"),
        ("enlarge.0", "conv_end_models.1.uppath.0"),
    ):
        layer = network.get_submodule(ours)
        assert isinstance(layer, nn.Conv2d)
        assert layer.bias is not None
        assert torch.equal(layer.weight, state[f"{theirs}.weight"])
        # The release has pixels of 0 to 255.
        assert torch.equal(layer.bias, state[f"{theirs}.bias"] / 255)


def test_weights_that_are_not_of_the_release(tmp_path: Path):
    state = released(Generator(2, 2, 1))
    with pytest.raises(ValueError, match=r"body_models\.0\.norm is not of the network"):
        from_release({**state, "body_models.0.norm": torch.zeros(1)})
    del state["body_models.1.body.2.bias"]
    torch.save(state, tmp_path / "part.pt")
    with pytest.raises(WeightsError, match=r"part\.pt: 'body_models\.1\.body\.2\.bias'"):
        load_release(tmp_path / "part.pt")
    torch.save({"G": {"layer.weight": torch.zeros(1)}}, tmp_path / "other.pt")
    with pytest.raises(WeightsError, match=r"other\.pt: it has no body_models\.0\.body\.0\.bias"):
        load_release(tmp_path / "other.pt")
    torch.save(torch.zeros(2), tmp_path / "tensor.pt")
    with pytest.raises(WeightsError, match=r"tensor\.pt: it holds no weights by name but a Tensor"):
        load_release(tmp_path / "tensor.pt")
    (tmp_path / "junk.pt").write_bytes(b"junk")
    with pytest.raises(WeightsError, match=r"cannot read weights .*junk\.pt"):
        load_release(tmp_path / "junk.pt")
    with pytest.raises(WeightsError, match=r"weights not found: .*none\.pt"):
        load_release(tmp_path / "none.pt")
