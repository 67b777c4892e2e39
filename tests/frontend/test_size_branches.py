"""A model that behaves otherwise at another image size is never converted for all sizes."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from frontend_checks import OneInput
from torch import nn

from fxp.executors.torch_forward import run
from fxp.frontend import from_torch

EXAMPLE = torch.zeros(1, 1, 16, 16)
DIFFERENT: dict[str, Callable] = {
    "above a width": lambda m, x: x * 2 if x.shape[3] > 20 else x,
    "below a height": lambda m, x: x * 2 if x.shape[2] < 8 else x,
    "of so many pixels": lambda m, x: x * 2 if x.shape[2] * x.shape[3] >= 1000 else x,
    "of the shorter side": lambda m, x: x * 2 if min(x.shape[2:]) < 8 else x,
    "of one width": lambda m, x: x * 2 if x.shape[3] == 23 else x,
    "of a remainder": lambda m, x: x * 2 if x.shape[3] % 4 == 1 else x,
    "of some widths": lambda m, x: x * 2 if x.shape[3] in (23, 24) else x,
    "of a quotient": lambda m, x: x * (1 + x.shape[3] // 20) if x.shape[3] // 20 else x,
    "of elements": lambda m, x: x * 2 if x.numel() > 400 else x,
    "of the orientation": lambda m, x: x if x.shape[2] >= x.shape[3] else x * 2,
}
ALIKE: dict[str, Callable] = {
    "an equal result": lambda m, x: x * 2 if x.shape[3] > 20 else x + x,
    "a cut that removes nothing": lambda m, x: (x * 2)[:, :, : x.shape[2], : x.shape[3]],
    "no comparison": lambda m, x: x * 2,
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_a_branch_fixes_the_size_and_is_told(name: str) -> None:
    with pytest.warns(UserWarning, match=r"fixed .*compares a size at .*test_size_branches\.py"):
        graph = from_torch(OneInput(DIFFERENT[name]).eval(), [EXAMPLE])
    assert graph.inputs[0].shape == (1, 16, 16)


@pytest.mark.parametrize("name", ALIKE)
def test_what_computes_alike_stays_free(name: str) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*image sizes are fixed.*")
        graph = from_torch(OneInput(ALIKE[name]).eval(), [EXAMPLE])
    assert [str(size) for size in graph.inputs[0].shape] == ["1", "H", "W"]


def test_a_size_that_the_model_itself_refuses_is_no_branch() -> None:
    def function(m, x):
        if x.shape[3] > 100:
            raise ValueError("too large")
        return x * 2

    graph = from_torch(OneInput(function).eval(), [EXAMPLE])
    assert [str(size) for size in graph.inputs[0].shape] == ["1", "H", "W"]


def real_sizes(model: torch.nn.Module, size: int, smallest: int = 1) -> list[tuple[int, int]]:
    """Convert a model by a square example, and return the sizes that it was called with.

    Parameters
    ----------
    model
        Takes an image of one channel.
    size
        Of the example.
    smallest
        The model refuses smaller images, and torch.export does not see why.
    """
    found = []

    def note(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if type(inputs[0]) is torch.Tensor:
            if inputs[0].shape[2] < smallest:
                raise ValueError("too small")
            found.append(tuple(inputs[0].shape[2:]))

    model.register_forward_pre_hook(note)
    from_torch(model, [torch.zeros(1, 1, size, size)])
    return found


def test_large_examples_are_checked_at_small_sizes() -> None:
    found = real_sizes(torch.nn.Conv2d(1, 1, 3).eval(), 256)
    # Once as it is, in search of products of values; then halved until there are 64 x 64 pixels at
    # most, and the odd sizes beside it.
    assert found[0] == (256, 256)
    assert sorted(found[1:]) == [(64, 64), (64, 65), (65, 64)]


def test_small_examples_are_checked_as_they_are() -> None:
    found = real_sizes(torch.nn.Conv2d(1, 1, 3).eval(), 33)
    assert sorted(found) == [(33, 33), (33, 33), (33, 34), (34, 33)]


def test_large_examples_stay_as_large_as_the_model_needs() -> None:
    assert min(real_sizes(torch.nn.Conv2d(1, 1, 70).eval(), 128)) == (70, 70)
    assert min(real_sizes(torch.nn.Conv2d(1, 1, 3).eval(), 128, smallest=100)) == (128, 128)


@pytest.mark.parametrize("name", ["above a width", "of so many pixels", "of elements"])
def test_large_examples_do_not_leave_their_path(name: str) -> None:
    with pytest.warns(UserWarning, match=r"fixed .*compares a size at .*test_size_branches\.py"):
        graph = from_torch(OneInput(DIFFERENT[name]).eval(), [torch.zeros(1, 1, 100, 100)])
    assert graph.inputs[0].shape == (1, 100, 100)


def test_rounding_errors_of_float32_are_no_difference() -> None:
    """Deep networks amplify them; here they are half as large as the result at once."""

    class Amplifies(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x + 1e7) - 1e7

    image = torch.rand(1, 2, 5, 6)
    model = Amplifies().eval()
    assert (model(image) - image).abs().max() > 0.4
    graph = from_torch(model, [image])
    (found,) = run(graph, [image]).outputs
    assert (found - image.double()).abs().max() < 1e-8
