"""JPEG quality: found from pixels, and as an input of a network."""

from __future__ import annotations

import io
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import fxp
from fxp.cli import main
from fxp.formats import Format
from fxp.graph import Constant
from fxp.imaging.files import write_image
from fxp.models import sr
from fxp.models.common.settings import Precision
from fxp.models.sr import fixed
from fxp.models.sr.fixed import CLEAN_WEIGHTS, TAKES_QUALITY, at_quality
from fxp.models.sr.jpeg import estimated_quality, jpeg_level, quantizer_steps
from fxp.models.sr.networks import KimSR
from fxp.models.sr.settings import KimSRSettings
from fxp.models.sr.train import mixed, mixed_level, mixed_quality
from fxp.support.errors import ArgumentError


def photograph(seed: int, channels: int = 3) -> np.ndarray:
    """Smooth structures and a little noise, ``(96, 120, channels)`` or ``(96, 120)``."""
    generator = np.random.default_rng(seed)
    coarse = generator.uniform(30, 220, (12, 15, channels))
    image = np.kron(coarse, np.ones((8, 8, 1)))
    image = (image + np.roll(image, 3, 0) + np.roll(image, 5, 1)) / 3
    image = np.clip(image + generator.normal(0, 4, image.shape), 1, 254).astype(np.uint8)
    return image if channels == 3 else image[..., 0]


def through_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=quality)
    return np.array(Image.open(stream))


def small_network(*, quality_input: bool = True) -> KimSR:
    torch.manual_seed(3)
    network = KimSR(features=4, skip_from="pre_relu", quality_input=quality_input)
    with torch.no_grad():
        torch.nn.init.normal_(network.tail.pointwise.weight, 0, 0.2)
        for biases in [] if network.quality is None else network.quality.parameters():
            torch.nn.init.normal_(biases, 0, 0.2)
    return network.eval()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> fxp.FixedModel:
    """A model whose biases follow the quality, made as the shipped one is."""
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    sr.save_weights(path, small_network())
    pictures = [photograph(seed, 1)[None, None, :32, :40] / 256.0 for seed in (8, 9)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fixed, "calibration_images", lambda scale: pictures)
        return fixed.quantize_shipped(str(path))


class TestQuality:
    def test_levels_and_steps_by_hand(self) -> None:
        assert [jpeg_level(quality) for quality in (100, 75, 50, 25)] == [0.0, 0.5, 1.0, 2.0]
        assert quantizer_steps(50)[0].tolist() == [16, 11, 10, 16, 24]
        # 20 percent of the table, rounded half up.
        assert quantizer_steps(90)[0].tolist() == [3, 2, 2, 3, 5]
        assert quantizer_steps(100).tolist() == [[1.0] * 5] * 5
        assert quantizer_steps(25)[0].tolist() == [32, 22, 20, 32, 48]

    @pytest.mark.parametrize("quality", [30, 50, 75, 90, 95])
    def test_found_in_grey_and_colour(self, quality: int) -> None:
        for channels in (1, 3):
            found = estimated_quality(through_jpeg(photograph(1, channels), quality))
            # Qualities beside each other have most of their steps in common.
            assert abs(found - quality) <= 1

    def test_clean_flat_and_tiny_images_are_clean(self) -> None:
        assert estimated_quality(photograph(2)) == 100
        assert estimated_quality(through_jpeg(photograph(2), 100)) == 100
        assert estimated_quality(np.full((64, 64), 255, np.uint8)) == 100
        assert estimated_quality(np.full((5, 5), 7, np.uint8)) == 100

    def test_saturated_pixels_do_not_hide_it(self) -> None:
        image = photograph(3)
        image[:32] = 255
        image[10:20, 20:90] = 0
        assert abs(estimated_quality(through_jpeg(image, 60)) - 60) <= 1


class TestNetwork:
    def test_at_level_is_the_network_with_that_level(self) -> None:
        network = small_network()
        luma = torch.rand(2, 1, 12, 20)
        wanted = network(luma, torch.full((2, 1, 1, 1), 0.6))
        fixed_level = network.at_level(0.6)
        torch.testing.assert_close(fixed_level(luma), wanted)
        fixed_level.merge()
        torch.testing.assert_close(fixed_level(luma), wanted)
        assert not torch.allclose(network.at_level(0.0)(luma), wanted)

    def test_level_zero_has_no_biases(self) -> None:
        network, plain = small_network(), small_network(quality_input=False)
        plain.load_state_dict({name: network.state_dict()[name] for name in plain.state_dict()})
        luma = torch.rand(1, 1, 9, 9)
        torch.testing.assert_close(network.at_level(0.0)(luma), plain(luma))
        with pytest.raises(ArgumentError, match="takes no level"):
            plain.at_level(0.0)

    def test_half_of_the_training_images_are_grey_and_some_are_clean(self) -> None:
        qualities = [mixed_quality(seed) for seed in range(200)]
        clean = qualities.count(None)
        assert 25 <= clean <= 55
        compressed = [quality for quality in qualities if quality is not None]
        assert min(compressed) < 55
        assert max(compressed) > 95
        seed = next(seed for seed, quality in enumerate(qualities) if quality and seed % 2)
        assert mixed_level(seed) == (100 - compressed_quality(seed)) / 50
        assert abs(estimated_quality(mixed(photograph(4), 1, seed)) - compressed_quality(seed)) <= 1


def compressed_quality(seed: int) -> int:
    quality = mixed_quality(seed)
    assert quality is not None
    return quality


class TestFixedPoint:
    def test_biases_by_hand(self, model: fxp.FixedModel) -> None:
        bias = next(item for item in model.graph.constants if item.name == "head.bias")
        data = np.array([7, -7, 100, 0])
        formats = tuple(Format(16, item.frac) for item in bias.formats)
        constants = tuple(
            Constant("head.bias", data, formats) if item is bias else item
            for item in model.graph.constants
        )
        changed = fxp.FixedModel(replace(model.graph, constants=constants), metadata=model.metadata)

        def found(quality: int) -> list[int]:
            graph = at_quality(changed, quality).graph
            return graph.constants_by_name["head.bias"].data.tolist()

        assert found(50) == found(10) == [7, -7, 100, 0]
        assert found(75) == [4, -3, 50, 0]
        assert found(99) == [0, 0, 2, 0]
        assert found(100) == [0, 0, 0, 0]

    def test_close_to_the_float_network(self, model: fxp.FixedModel) -> None:
        image = photograph(5, 1)
        luma = torch.from_numpy(image / 256.0).float()[None, None]
        for quality in (50, 80, 100):
            wanted = small_network().at_level(jpeg_level(quality))(luma)[0, 0].detach().numpy()
            given = at_quality(model, quality)(image[None] / 256.0)[0]
            assert np.abs(given - wanted).max() < 2 / 256

    @pytest.mark.parametrize("channels", [1, 3])
    def test_every_image_gets_its_quality(self, model: fxp.FixedModel, channels: int) -> None:
        image = through_jpeg(photograph(6, channels), 60)
        upscaler = pickle.loads(pickle.dumps(sr.Upscaler(model)))
        found = upscaler(image)
        quality = estimated_quality(image)
        assert abs(quality - 60) <= 1
        assert np.array_equal(found, sr.upscale(image, model, quality=quality))
        assert not np.array_equal(found, sr.upscale(image, model, quality=100))
        small = image[:48, :56]
        assert np.array_equal(upscaler(small), upscaler.oracle(small))
        clean = photograph(6, channels)
        assert np.array_equal(upscaler(clean), sr.upscale(clean, model, quality=100))

    def test_given_quality_survives_a_pickle(self, model: fxp.FixedModel) -> None:
        image = photograph(7, 1)
        upscaler = sr.Upscaler(model, quality=60)
        again = pickle.loads(pickle.dumps(upscaler))
        assert np.array_equal(again(image), upscaler(image))
        assert not np.array_equal(again(image), sr.Upscaler(model)(image))

    def test_errors(self, model: fxp.FixedModel) -> None:
        with pytest.raises(ArgumentError, match="1 to 100, not 0"):
            at_quality(model, 0)
        with pytest.raises(ArgumentError, match="takes no JPEG quality"):
            sr.Upscaler(sr.load("kimsr_x2"), quality=50)

    def test_command(self, model: fxp.FixedModel, tmp_path: Path) -> None:
        image = through_jpeg(photograph(8, 1), 60)
        model.save(tmp_path / "small.fxp")
        write_image(tmp_path / "in.png", image)
        common = ["upscale", str(tmp_path / "in.png"), "--model", str(tmp_path / "small.fxp")]
        quality = str(estimated_quality(image))
        for name, options in (("estimated", []), ("given", ["--quality", quality])):
            target = str(tmp_path / f"{name}.png")
            assert main([*common[:2], target, *common[2:], *options]) == 0
        assert (tmp_path / "estimated.png").read_bytes() == (tmp_path / "given.png").read_bytes()

    def test_clean_images_may_have_weights_of_their_own(self, model: fxp.FixedModel) -> None:
        metadata = {**model.metadata, CLEAN_WEIGHTS: "kimsr_x2_bicubic"}
        named = fxp.FixedModel(model.graph, metadata=metadata)
        clean = sr.load("kimsr_x2_bicubic")
        assert at_quality(named, 96).graph == clean.graph
        assert at_quality(named, 95).graph == at_quality(model, 95).graph
        image = photograph(9, 1)
        assert np.array_equal(sr.upscale(image, named), sr.upscale(image, clean))

    def test_metadata_says_the_quality(self, model: fxp.FixedModel) -> None:
        assert model.metadata[TAKES_QUALITY] == "50"
        assert at_quality(model, 73).metadata[TAKES_QUALITY] == "73"


def test_quality_input_needs_floating_point() -> None:
    with pytest.raises(ValueError, match="--quality-input"):
        KimSRSettings(
            quality_input=True, weight_bits=8, activation_bits=8, precision=Precision.FLOAT32
        )
