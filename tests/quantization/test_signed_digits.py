"""Signed digits counted by hand, and a penalty that leads to cheaper weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import fxp
from fxp.hls.rtl.adder_graph_search import signed_digits
from fxp.quantization.signed_digits import digit_penalty, signed_digit_count


@pytest.mark.parametrize(
    ("number", "digits"),
    [
        (0, 0), (1, 1), (2, 1), (64, 1),
        (3, 2),  # 4 - 1
        (5, 2),  # 4 + 1
        (6, 2),  # 8 - 2
        (7, 2),  # 8 - 1
        (11, 3),  # 8 + 4 - 1
        (23, 3),  # 16 + 8 - 1
        (27, 3),  # 32 - 4 - 1
        (85, 4),  # 64 + 16 + 4 + 1
        (511, 2),  # 512 - 1
        (171, 5),  # 128 + 32 + 8 + 2 + 1 = 128 + 32 + 8 + 4 - 1
    ],
)  # fmt: skip
def test_digits_by_hand(number: int, digits: int):
    both = torch.tensor([number, -number])
    assert signed_digit_count(both).tolist() == [digits, digits]


def test_digits_are_those_of_the_generator():
    numbers = np.arange(-(1 << 12), 1 << 12)
    wanted = [len(list(signed_digits(int(number)))) for number in numbers]
    assert signed_digit_count(torch.from_numpy(numbers)).tolist() == wanted


@pytest.mark.parametrize(
    ("weight", "reach", "penalty", "gradient"),
    [
        (11.0, 4, 3.0, -1.0),  # 10 and 12 have two digits; 10 is found first
        (11.25, 1, 3.0, -1 / 0.75),  # towards 12, 0.75 steps away
        (10.75, 1, 3.0, 1 / 0.75),  # towards 10
        (8.25, 4, 1.0, 0.0),  # no number from 4 to 12 is cheaper than one digit
        (7.0, 1, 2.0, -1.0),  # towards 8
        (1.0, 1, 1.0, 1.0),  # towards 0
        (85.0, 1, 4.0, 1.0),  # 84 = 64 + 16 + 4
        (-7.0, 1, 2.0, 1.0),  # towards -8
    ],
)
def test_the_penalty_of_a_weight_by_hand(weight: float, reach: int, penalty: float,
                                         gradient: float):  # fmt: skip
    tensor = torch.tensor([weight], dtype=torch.float64, requires_grad=True)
    found = digit_penalty(tensor, reach)
    found.backward()
    assert found.item() == penalty
    assert tensor.grad is not None
    assert abs(tensor.grad.item()) == pytest.approx(abs(gradient))
    if weight != 11.0:
        assert tensor.grad.item() == pytest.approx(gradient)


def prepared(**options) -> fxp.QatModel:
    torch.manual_seed(4)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()
    return fxp.prepare_qat(network, [torch.rand(1, 1, 8, 8)], **options)


def digits_of(model: fxp.QatModel) -> int:
    graph = fxp.convert(model).graph
    weights = (graph.constants_by_name[name] for name in ("0.weight", "2.weight"))
    return sum(int(signed_digit_count(torch.tensor(item.data)).sum()) for item in weights)


@pytest.mark.parametrize("per_channel", [False, True])
def test_the_penalty_is_the_mean_of_all_digits(per_channel: bool):
    model = prepared(weight_bits=8, per_channel=per_channel)
    assert model.digit_penalty().item() == pytest.approx(digits_of(model) / (4 * 9 + 2 * 4))


def test_descent_takes_digits_away():
    model = prepared(weight_bits=8)
    before = digits_of(model)
    optimizer = torch.optim.SGD(model.parameters(), 2e-2)
    for _ in range(60):
        optimizer.zero_grad()
        model.digit_penalty().backward()
        optimizer.step()
    assert digits_of(model) < 0.7 * before


@pytest.mark.parametrize(("value", "name"), [(float("nan"), "NaN"), (float("inf"), "infinity")])
def test_a_forward_names_what_is_no_number(value: float, name: str):
    # A sigmoid looks its results up in a table, where such a value has no place.
    layers = [torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.Sigmoid()]
    images = torch.rand(1, 1, 8, 8)
    for key in ("0.weight", "0.bias", "1.weight", "1.running_var"):
        model = fxp.prepare_qat(torch.nn.Sequential(*layers).eval(), images)
        model.state_dict()[key].flatten()[0] = value
        with pytest.raises(fxp.ArgumentError, match=f"^{key} holds {name}, so the training has"):
            model(images)
    model = fxp.prepare_qat(torch.nn.Sequential(*layers).eval(), images)
    with pytest.raises(fxp.ArgumentError, match=f"^input 0 holds {name}$"):
        model(images * value)


@pytest.mark.parametrize(("value", "name"), [(float("nan"), "NaN"), (float("inf"), "infinity")])
def test_weights_that_diverged_are_named(value: float, name: str):
    model = prepared()
    with torch.no_grad():
        model.get_parameter("2.weight")[0, 1] = value
    for call in (lambda: fxp.convert(model), model.requantize, model.float_graph):
        with pytest.raises(fxp.ArgumentError) as caught:
            call()
        assert str(caught.value) == (
            f"2.weight holds {name}, so the training has diverged; go on from an earlier state, "
            "with a lower learning rate"
        )
