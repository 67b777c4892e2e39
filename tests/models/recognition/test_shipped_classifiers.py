"""The classifiers that come with the package."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fxp.models.recognition import load, load_float
from fxp.models.recognition.fixed import SHIPPED, WEIGHTS_FOLDER, calibration_images

CLASSES = "airplane automobile bird cat deer dog frog horse ship truck"


def test_every_weights_file_has_its_model():
    assert "cifar_resnet20" in SHIPPED
    for name in SHIPPED:
        assert (WEIGHTS_FOLDER / f"{name}.fxp").is_file()
        assert (WEIGHTS_FOLDER / f"{name}.log").is_file()


@pytest.mark.parametrize("name", SHIPPED)
def test_fixed_point_agrees_with_the_weights(name: str):
    model, network = load(name), load_float(name)
    assert model.metadata["classes"].split("\n") == CLASSES.split()
    assert (model.metadata["weights"], model.metadata["side"]) == (name, "32")
    pictures = calibration_images()
    assert pictures.shape == (98, 3, 32, 32)
    with torch.inference_mode():
        wanted = network(torch.from_numpy(pictures)).numpy().argmax(1)
    assert (np.asarray(model(pictures)).argmax(1) == wanted).sum() >= 95
    assert np.array_equal(model(pictures[:1]), model.oracle(pictures[:1]))
