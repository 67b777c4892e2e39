"""Every refusal names the op, the module and what to do instead."""

import pytest
import torch
from frontend_checks import OneInput, TwoInputs
from torch import nn
from torch.nn import functional

from fxp.frontend import FrontendError, from_torch

IMAGE = (1, 4, 8, 8)

FUNCTIONS = {
    "write": (lambda m, x: _written(x), r"aten\.(fill|copy|slice_scatter) .*torch\.cat"),
    "celu_zero": (lambda m, x: torch.celu(x, -1.0), r"aten\.celu .*give an alpha above zero"),
    "softmax_batch": (lambda m, x: x.softmax(0), r"aten\._?softmax.*axis 0; normalize channels"),
    "softmax_type": (
        lambda m, x: x.softmax(1, torch.float64).float(), r"aten\._?softmax.*changes the type"
    ),
    "average_volume": (
        lambda m, x: functional.avg_pool3d(x, (3, 1, 1), 1),
        r"aten\.avg_pool3d .*nn\.LocalResponseNorm as it is",
    ),
    "log_softmax": (lambda m, x: x.log_softmax(1), r"aten\._?log_softmax.*return the logits"),
    "pad_infinite": (
        lambda m, x: functional.pad(x, (1, 1), value=-torch.inf), r"pads with -inf; .*max pooling"
    ),
    "pad_channels_value": (
        lambda m, x: functional.pad(x, (0, 0, 0, 0, 1, 1), value=2.0),
        r"pads channels or features with 2\.0; pad rows and columns alone",
    ),
    "divide_rounding": (lambda m, x: torch.div(x, 2, rounding_mode="floor"), r"rounds the quot"),
    "divide_by_zero": (lambda m, x: x / 0, r"aten\.div .*divides by zero"),
    "ranks": (lambda m, x: x + x.mean((2, 3)).view(1, 4)[:, :1], r"combines shapes .*keepdim=True"),
    "to_integer": (lambda m, x: x.to(torch.int32), r"aten\.(to|_to_copy) .*"),
    "constants": (
        lambda m, x: x + torch.quantize_per_tensor(torch.ones(4), 1, 0, torch.quint8)
        .dequantize().view(1, 4, 1, 1),
        r"torch cannot compute it from constants \(.*; store its result as a constant",
    ),
    "to_half": (lambda m, x: x.half(), r"changes the type .*one floating-point type"),
    "compare": (lambda m, x: (x > 0) + x, r"aten\.add .*a comparison; choose by it"),
    "compare_infinity": (lambda m, x: (x > torch.inf) * x, r"aten\.gt .*compare with a finite"),
    "choose_infinity": (lambda m, x: torch.where(x > 0, x, -torch.inf), r"choose a finite number"),
    "random": (lambda m, x: x + torch.rand(1), r"aten\.rand .*draws random numbers"),
    "dropout": (lambda m, x: functional.dropout(x), r"drops values at random|not supported"),
    "dilated_indices": (
        lambda m, x: x.relu() + functional.max_pool2d(x, 1, dilation=2, return_indices=True)[1],
        r"its result 1 is not supported",
    ),
    "indices": (
        lambda m, x: x[:, :, :4, :4] * functional.max_pool2d(x, 2, return_indices=True)[1],
        r"aten\.mul .*reads the indices of a pooling; only max_unpool2d takes them",
    ),
    "indices_out": (
        lambda m, x: functional.max_pool2d(x, 2, return_indices=True),
        r"output 1 of the model holds the indices of a pooling",
    ),
    "unpool_constant": (
        lambda m, x: functional.max_unpool2d(x, torch.arange(64 * 4).reshape(1, 4, 8, 8) * 4, 2),
        r"aten\.max_unpool2d .*its indices come from elsewhere",
    ),
    "unpool_size": (
        lambda m, x: functional.max_unpool2d(
            *functional.max_pool2d(x, 3, return_indices=True), 3
        ),
        r"aten\.max_unpool2d .*indices of another size; pass output_size",
    ),
    "unpool_overlap": (
        lambda m, x: functional.max_unpool2d(
            *functional.max_pool2d(x, 3, 2, 1, return_indices=True), 3, 2, 1, (8, 8)
        ),
        r"aten\.max_unpool2d .*windows of \(3, 3\) at a stride of \(2, 2\) overlap",
    ),
    "irrational_factor": (
        lambda m, x: functional.interpolate(x, scale_factor=3**0.5, mode="bilinear"),
        r"aten\.upsample_bilinear2d .*scale factors .*recompute_scale_factor=True",
    ),
    "bicubic_antialias": (
        lambda m, x: functional.interpolate(x, scale_factor=2, mode="bicubic", antialias=True),
        r"set antialias=False",
    ),
    "unbatched": (lambda m, x: x.mean((0, 2, 3)), r"reduces the batch axis"),
    "batch_lost": (lambda m, x: x.mean((2, 3)).squeeze(0).relu(), r"batch axis included"),
    "batch_cut": (lambda m, x: x[0:0], r"cuts the batch axis"),
    "empty": (lambda m, x: x[:, 4:], r"its result is empty"),
    "constant_output": (lambda m, x: (x, torch.ones(2)), r"output 1 of the model is constant"),
    "number_output": (lambda m, x: (x, 3), r"output 1 of the model is 3"),
    "none_output": (lambda m, x: (x, None), r"output 1 of the model is None"),
}  # fmt: skip


def _written(x):
    y = x.relu()
    y[:, 0:1] = 0
    return y


@pytest.mark.filterwarnings("ignore:the image sizes are fixed")
@pytest.mark.parametrize(("function", "message"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_function(function, message):
    with pytest.raises(FrontendError, match=message):
        from_torch(OneInput(function).eval(), [torch.randn(IMAGE)])


LAYERS = {
    "log_softmax": (nn.LogSoftmax(1), r"aten\.log_softmax .*return the logits"),
    "unfold": (nn.Unfold(3), r"a tensor of shape \(1, 36, .*keep images"),
}


@pytest.mark.filterwarnings("ignore:the image sizes are fixed")
@pytest.mark.parametrize(("layer", "message"), LAYERS.values(), ids=LAYERS)
def test_layer(layer, message):
    with pytest.raises(FrontendError, match=message):
        from_torch(nn.Sequential(layer).eval(), [torch.randn(IMAGE)])


def test_message_names_module_and_line():
    class Inner(nn.Module):
        def forward(self, x):
            return torch.atan(x)

    model = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ModuleDict({"deep": Inner()})["deep"]).eval()
    with pytest.raises(FrontendError) as caught:
        from_torch(model, [torch.randn(IMAGE)])
    message = str(caught.value)
    assert "aten.atan in module '1'" in message
    assert "Inner" in message
    assert "test_refusals.py:" in message
    assert "return torch.atan(x)" in message


def test_two_values_are_not_weights():
    model = TwoInputs(lambda m, x, y: functional.conv2d(x, y)).eval()
    with pytest.raises(FrontendError, match="'weight' is computed from the input"):
        from_torch(model, [torch.randn(1, 4, 8, 8), torch.randn(1, 4, 3, 3)])


def test_one_dimensional_convolution():
    model = OneInput(lambda m, x: m.conv(x.unsqueeze(1)), conv=nn.Conv1d(1, 2, 3)).eval()
    with pytest.raises(FrontendError, match=r"aten\.|batch axis"):
        from_torch(model, [torch.randn(1, 6)])


def test_branch_on_values():
    def function(m, x):
        return x if x.sum() > 0 else -x

    with pytest.raises(FrontendError, match=r"torch\.export cannot trace .*branches on pixel") as e:
        from_torch(OneInput(function).eval(), [torch.randn(IMAGE)])
    assert e.value.__cause__ is not None


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: x + x.tolist()[0][0][0][0],
        lambda m, x: x + x.mean((2, 3))[0, 0].item(),
        lambda m, x: x * m.layer.weight[0].item(),
    ],
    ids=["tolist", "item", "weight"],
)
def test_numbers_read_out_of_tensors(function):
    model = OneInput(function, layer=nn.PReLU()).eval()
    message = r"reads a number out of a tensor.*; compute with the tensor itself.*\n.*function\("
    with pytest.raises(FrontendError, match=message):
        from_torch(model, [torch.randn(1, 4, 2, 2)])


def test_statistics_of_the_batch():
    def function(m, x):
        return functional.batch_norm(x, torch.zeros(4), torch.ones(4), training=True)

    with pytest.raises(FrontendError, match="call batch_norm with training=False"):
        from_torch(OneInput(function).eval(), [torch.randn(IMAGE)])


def test_examples_that_do_not_fit():
    with pytest.raises(FrontendError, match="call the model on them first"):
        from_torch(nn.Conv2d(3, 4, 3).eval(), [torch.randn(IMAGE)])


class Counter(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("last", torch.zeros(1, 4, 8, 8))

    def forward(self, x):
        y = x + self.last
        self.last.copy_(x)
        return y


def test_a_model_that_fails_is_reported():
    """A graph that cannot be compared with its model is not returned."""

    class Fails(nn.Module):
        def forward(self, x):
            if not torch.compiler.is_exporting():
                raise RuntimeError("no power")
            return x.relu()

    with pytest.raises(FrontendError, match=r"cannot be checked.*RuntimeError: no power"):
        from_torch(Fails().eval(), [torch.randn(IMAGE)])


def test_a_model_that_refuses_random_numbers_is_checked_on_the_examples():
    values = iter(range(100))

    class Positive(nn.Module):
        def forward(self, x):
            if not torch.compiler.is_exporting() and bool((x < 0).any()):
                raise ValueError("negative light")
            return x + next(values)

    with pytest.raises(FrontendError, match="differs from the model's at the example's sizes"):
        from_torch(Positive().eval(), [torch.rand(IMAGE)])


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: torch.sqrt(x + 0.5),
        lambda m, x: torch.log(x + 0.1).mean((2, 3), keepdim=True),
        lambda m, x: torch.rsqrt(x),
        lambda m, x: (x + 0.25) ** 1.5,
    ],
)
def test_functions_of_positive_numbers_are_checked_on_the_examples(function):
    """Of random numbers, some of which are negative, their results are no numbers."""
    graph = from_torch(OneInput(function).eval(), [torch.rand(IMAGE) + 0.01])
    assert graph.nodes


def test_results_that_are_no_numbers_still_have_to_agree():
    values = iter(range(100))
    model = OneInput(lambda m, x: torch.sqrt(x) + next(values)).eval()
    with pytest.raises(FrontendError, match="differs from the model's at the example's sizes"):
        from_torch(model, [torch.rand(IMAGE) - 0.5])


def test_module_with_memory():
    with pytest.raises(FrontendError, match=r"changes 'last' while it runs.*`states`"):
        from_torch(Counter().eval(), [torch.randn(IMAGE)])


def test_model_with_a_secret():
    values = iter(range(100))
    model = OneInput(lambda m, x: x + next(values)).eval()
    with pytest.raises(FrontendError, match="differs from the model's at the example's sizes"):
        from_torch(model, [torch.randn(IMAGE)])


def test_input_changed_in_place():
    with pytest.raises(FrontendError, match="in place; set inplace=False"):
        from_torch(nn.ReLU(inplace=True).eval(), [torch.randn(IMAGE)])


def test_training_mode():
    with pytest.raises(FrontendError, match=r"call model\.eval\(\)"):
        from_torch(nn.ReLU(), [torch.randn(IMAGE)])
    model = nn.Sequential(nn.ReLU(), nn.Dropout()).eval()
    model[1].train()
    with pytest.raises(FrontendError, match="module '1' is in training mode"):
        from_torch(model, [torch.randn(IMAGE)])


def test_scripts():
    scripted = torch.jit.trace(nn.ReLU().eval(), torch.randn(IMAGE))
    with pytest.raises(FrontendError, match=r"code is lost; give the module .* calling eval\(\)"):
        from_torch(scripted, [torch.randn(IMAGE)])


def test_functions_are_no_modules():
    with pytest.raises(FrontendError, match=r"is a function; it must be a torch\.nn\.Module"):
        from_torch(lambda x: x, [torch.randn(IMAGE)])


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ([], "at least one example"),
        ([3.0], "example input 0 is a float"),
        ([torch.randn(3, 8, 8)], r"shape \(3, 8, 8\); it must be a batch"),
        ([torch.randn(2, 3, 20)], r"sequences \(N, C, L\) as images of one row"),
        ([torch.zeros(1, 3, 4, 8, 8)], r"use nn\.Conv2d on single frames.*states"),
        ([torch.zeros(1, 3, 8, 8, dtype=torch.int64)], "must be floating point"),
        ([torch.zeros(0, 3, 8, 8)], "it must be a batch"),
    ],
)
def test_examples(examples, message):
    with pytest.raises(FrontendError, match=message):
        from_torch(nn.ReLU().eval(), examples)


@pytest.mark.parametrize("states", [[(2, 0)], [(0, 2)], [(-1, 0)], [(0, 0), (0, 1)]])
def test_states_must_be_pairs_of_positions(states):
    model = TwoInputs(lambda m, x, y: (x + y, x - y)).eval()
    with pytest.raises(FrontendError, match=r"must be pairs \(input position, output position\)"):
        from_torch(model, [torch.randn(IMAGE)] * 2, states=states)


def test_states_are_not_everything():
    model = TwoInputs(lambda m, x, y: (x + y, x - y)).eval()
    with pytest.raises(FrontendError, match="besides the states"):
        from_torch(model, [torch.randn(IMAGE)] * 2, states=[(0, 0), (1, 1)])


def test_state_of_another_shape():
    model = TwoInputs(lambda m, x, y: (x + y, x[:, :2])).eval()
    with pytest.raises(FrontendError, match="must be equal"):
        from_torch(model, [torch.randn(IMAGE)] * 2, states=[(1, 1)])
