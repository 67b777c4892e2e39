"""Calibration data of every usual kind is understood, and what is not is said in one line."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from small_graphs import graph, image, node, vector
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from fxp.executors.calls import calibration_calls
from fxp.graph.ops import Relu
from fxp.support.errors import ArgumentError

IMAGES = torch.rand(4, 3, 5, 6, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([1, 0, 2, 1])


class Two(nn.Module):
    def forward(self, image: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
        return image * vector[:, :, None, None]


ONE_CALL: dict[str, Callable[[], Any]] = {
    "loader of pairs": lambda: DataLoader(TensorDataset(IMAGES, LABELS), batch_size=4),
    "loader of images": lambda: DataLoader(TensorDataset(IMAGES), batch_size=4),
    "pair": lambda: [(IMAGES, LABELS)],
    "list as pair": lambda: [[IMAGES.numpy(), LABELS.numpy()]],
    "dictionary": lambda: [{"input": IMAGES, "name": LABELS}],
    "dictionary of one image": lambda: [{"picture": IMAGES, "label": LABELS}],
    "dictionary with a name": lambda: [{"image": IMAGES, "label": LABELS, "name": "cat"}],
    "dictionary with names": lambda: [{"image": IMAGES, "label": LABELS, "name": list("abcd")}],
    "triple with a name": lambda: [(IMAGES, LABELS, "cat")],
    "other data": lambda: [(IMAGES, {"id": 3}, None, np.array(["cat"]))],
    "generator": lambda: (item for item in [IMAGES]),
}


@pytest.mark.parametrize("kind", ONE_CALL)
def test_one_batch(kind: str):
    (call,) = calibration_calls(ONE_CALL[kind](), nn.ReLU())
    assert len(call) == 1
    assert torch.equal(call[0], IMAGES)


FOUR_CALLS: dict[str, Callable[[], Any]] = {
    "array": IMAGES.numpy,
    "tensor": lambda: IMAGES,
    "data set of pairs": lambda: [(image, 3) for image in IMAGES],
    "NumPy labels": lambda: [(image, np.int64(3)) for image in IMAGES.numpy()],
}


@pytest.mark.parametrize("kind", FOUR_CALLS)
def test_one_image_each(kind: str):
    calls = calibration_calls(FOUR_CALLS[kind](), nn.ReLU())
    assert [len(call) for call in calls] == [1, 1, 1, 1]
    assert torch.equal(torch.cat([call[0] for call in calls]), IMAGES)


def test_one_image_alone():
    ((found,),) = calibration_calls(IMAGES[0].numpy(), nn.ReLU())
    assert torch.equal(found, IMAGES[:1])


def test_several_inputs_by_name():
    vectors = torch.rand(4, 3)
    nodes = [node("one", Relu(), "image"), node("two", Relu(), "vector")]
    source = graph([image("image", 3), vector("vector", 3)], nodes, outputs=("one", "two"))
    for model in (Two(), source):
        item = {"vector": vectors, "label": LABELS, "image": IMAGES}
        ((pixels, numbers),) = calibration_calls([item], model)
        assert torch.equal(pixels, IMAGES)
        assert torch.equal(numbers, vectors)


def test_whole_numbers_of_two_axes_are_an_input():
    vectors = torch.ones(4, 3, dtype=torch.int64)
    ((_, numbers),) = calibration_calls([(IMAGES, vectors)], Two())
    assert torch.equal(numbers, vectors)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("photos", "calibration data is a str"),
        (None, "calibration data is a NoneType"),
        ({"image": IMAGES}, "calibration data is a dict"),
        ([], "is empty"),
        (["photo.png"], "item 0 holds a value of type str; give tensors or arrays"),
        ([IMAGES, object()], "item 1 holds a value of type object; give tensors or arrays"),
        ([IMAGES, Fraction(1, 2)], "item 1 holds a value of type fractions.Fraction; give tensors"),
        ([0.5, 0.25], "item 0 holds a single number, which is no input; give tensors or arrays"),
        ([(IMAGES, IMAGES[:2])], r"of shape \(4, 3, 5, 6\) and \(2, 3, 5, 6\); the first axis is"),
        ([IMAGES[:0]], r"inputs of shape \(0, 3, 5, 6\); the first axis is the batch"),
        ([("photo.png", IMAGES)], "item 0 holds a value of type str"),
        ([(IMAGES, IMAGES)], r"item 0 holds 2 tensors, but the network takes 1 \(input\)"),
        ([{"a": IMAGES, "b": IMAGES}], "dictionary of a, b, but the network takes input"),
    ],
)
def test_what_is_not_understood_is_said_in_one_line(data: Any, message: str):
    with pytest.raises(ArgumentError, match=message) as caught:
        calibration_calls(data, nn.ReLU())
    assert "\n" not in str(caught.value)
