"""Reading of an ONNX file as a torch module, checked against ONNX Runtime."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from fxp.frontend.errors import FrontendError
from fxp.frontend.onnx.call import refused
from fxp.frontend.onnx.file import read_model
from fxp.frontend.onnx.limits import (
    FREE_ELEMENTS,
    MAX_ELEMENTS,
    MAX_GROWTH,
    MAX_TOTAL_ELEMENTS,
)
from fxp.frontend.onnx.module import ImageInput, OnnxModule, Operator, build
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import onnx
    import onnxruntime
else:
    onnx = lazy_import("onnx", "onnx")
    onnxruntime = lazy_import("onnxruntime", "onnx")

FREE_SIZES: Final = (64, 32, 48, 128, 224, 256)
"""Heights and widths to try where a file leaves them free."""
SMALL_SIZES: Final = (8, 16)
"""Those to try first where the sizes that the file fixes are large."""
SMALL_ELEMENTS: Final = 1 << 20
"""Numbers in an input that are not too many to compute with, if the file leaves a size free."""
LARGE_SIZES: Final = (64, 256)
"""Those of the first input to try where the others may have other sizes."""
RATIOS: Final = (1, 0.5, 0.25, 0.125, 2, 4, 8)
"""Sizes of further inputs to try, in proportion to the first."""
MAX_TRIES: Final = 100
"""Combinations of sizes to try for small networks, each of which is run without data."""
MAX_TRIED_NODES: Final = 30_000
"""Nodes to run in all these; large networks have fewer tries, but all of those with equal sizes."""
TOLERANCE: Final = 1e-3
"""Largest difference from ONNX Runtime, relative to the largest output."""
SMALLEST_DIFFERENCE: Final = 1e-6
"""Differences below this do not count: sigmoids of very negative numbers are approximations."""


def load_onnx(
    source: str | PathLike[str] | onnx.ModelProto,
    shapes: Sequence[Sequence[int]] | None = None,
) -> OnnxModule:
    """Read a float ONNX network as a torch module.

    The module is run beside ONNX Runtime on random numbers and must give the same up to the
    rounding of float32. It can be quantized, compressed and trained like any other.

    Parameters
    ----------
    source
        A file, with its external data in the same folder, or a model in memory. Operator sets 7
        to 23. Images may be ``(N, C, H, W)`` or ``(N, H, W, C)`` in the file.
    shapes
        Of the inputs, ``(1, C, H, W)`` or ``(1, F)``, with which the network runs. They are needed
        if the file leaves the sizes of several inputs free, and these fit each other at certain
        sizes alone; halves, quarters, eighths and their inverses are found without.

    Returns
    -------
    OnnxModule
        In eval mode. It takes images ``(N, C, H, W)`` and returns a dictionary of the outputs by
        name: images ``(N, C, H, W)``, vectors ``(N, F)``, and tensors ``(N, A, B)`` as images
        ``(N, A, 1, B)`` of one row.

    Raises
    ------
    FrontendError
        If the file is damaged, asks for too much memory, or holds something that is not supported;
        the message names the node and its operation.
    """
    with naming_file(source):
        model = read_model(source)
        module = build(model)
        given = _checked_shapes(module, shapes)
        module.runnable_shapes = _runnable_shapes(module, given)
        _compare(module, model)
    return module


@contextmanager
def naming_file(source: object) -> Iterator[None]:
    """Name a file in the errors of a block, if the source is one."""
    try:
        yield
    except FrontendError as error:
        if isinstance(source, str | PathLike):
            raise FrontendError(f"{Path(fspath(source)).name}: {error}") from error
        raise


class _Measured(fx.Interpreter):
    """Runs a module without data, and refuses one that would need too much memory.

    Parameters
    ----------
    module
        The module.
    given
        Numbers in its inputs. A file of a few bytes may ask for any stride or padding, but what it
        computes has to stay in proportion to what it reads and holds.
    """

    def __init__(self, module: OnnxModule, given: int) -> None:
        super().__init__(module)
        weights = (*module.parameters(), *module.buffers())
        held = given + sum(weight.numel() for weight in weights)
        self._sizes = _Sizes(min(max(FREE_ELEMENTS, MAX_GROWTH * held), MAX_ELEMENTS))
        # The text of torch.fx about its own graph would become part of the messages.
        self.extra_traceback = False

    def run_node(self, n: fx.Node) -> Any:
        """Run one node; an error names the ONNX node."""
        operator = self.fetch_attr(str(n.target)) if n.op == "call_module" else None
        node = operator.node if isinstance(operator, Operator) else None
        try:
            with self._sizes:
                return super().run_node(n)
        except FrontendError:
            raise
        except _TooLargeError as error:
            where = "an input" if node is None else str(node)
            raise FrontendError(
                f"{where}: a tensor of shape {error.shape} needs too much memory; export the "
                "network for smaller images"
            ) from None
        except Exception as error:
            # torch and NumPy raise many unrelated types for operands that do not fit.
            summary = str(error).strip().partition("\n")[0]
            if node is not None:
                raise refused(
                    node, f"torch cannot compute it ({type(error).__name__}: {summary})",
                    "check the sizes of the input, and the model in ONNX Runtime",
                ) from error  # fmt: skip
            raise FrontendError(f"{type(error).__name__}: {summary}") from error


class _TooLargeError(Exception):
    """A tensor has more numbers than are allowed."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(shape)


class _Sizes(TorchDispatchMode):
    """Measures the results of all operations of torch, also those inside of an ONNX node."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most, self._total = most, 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operation, and count the numbers in what it computes."""
        result = func(*args, **(kwargs or {}))
        for item in result if isinstance(result, tuple | list) else (result,):
            if isinstance(item, torch.Tensor):
                count = math.prod(item.shape)
                self._total += count
                if count > self._most or self._total > MAX_TOTAL_ELEMENTS:
                    raise _TooLargeError(item.shape)
        return result


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back torch's log of operands that do not fit; the error says it."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")

    def none(record: logging.LogRecord) -> bool:
        return False

    logger.addFilter(none)
    try:
        yield
    finally:
        logger.removeFilter(none)


def _candidates(
    inputs: Sequence[ImageInput], given: Sequence[tuple[int, ...]] | None
) -> Iterator[list[tuple[int, ...]]]:
    """Yield shapes of all inputs to try, the likeliest first."""
    free = [item for item in inputs if None in item.shape[1:]]
    usual = [item.module_shape(FREE_SIZES[0]) for item in inputs]
    is_large = any(math.prod(shape) > SMALL_ELEMENTS for shape in usual)
    for size in (*SMALL_SIZES * is_large, *FREE_SIZES) if free else FREE_SIZES[:1]:
        yield [item.module_shape(size) for item in inputs]
    if given is not None:
        fitted = [item.fitted(shape) for item, shape in zip(inputs, given, strict=True)]
        yield [shape for shape in fitted if shape is not None]
    if len(free) < 2:
        return
    for size in LARGE_SIZES:
        for ratios in itertools.product(RATIOS, repeat=len(free) - 1):
            sizes = iter([size, *(int(size * ratio) for ratio in ratios)])
            if set(ratios) != {1}:
                yield [
                    item.module_shape(next(sizes) if None in item.shape[1:] else 0)
                    for item in inputs
                ]


def _runnable_shapes(
    module: OnnxModule, given: Sequence[tuple[int, ...]] | None = None
) -> list[tuple[int, ...]]:
    """Return shapes of the inputs with which the module runs.

    Parameters
    ----------
    module
        The module.
    given
        Shapes that are said to fit.
    """
    inputs = module.image_inputs
    failure: FrontendError | None = None
    tries = min(MAX_TRIES, MAX_TRIED_NODES // len(module.graph.nodes))
    tries = max(tries, len(SMALL_SIZES + FREE_SIZES) + 1)
    for shapes in itertools.islice(_candidates(inputs, given), tries):
        for item, sizes in zip(inputs, shapes, strict=True):
            if math.prod(sizes) > MAX_ELEMENTS:
                raise FrontendError(f"input {item.name!r} of shape {sizes} needs too much memory")
        try:
            count = sum(math.prod(sizes) for sizes in shapes)
            with torch.no_grad(), _quiet(), FakeTensorMode(allow_non_fake_inputs=True):
                empty = (torch.empty(sizes, dtype=module.dtype) for sizes in shapes)
                _Measured(module, count).run(*empty)
        except FrontendError as error:
            failure = failure or error
        else:
            return shapes
    assert failure is not None
    if sum(None in item.shape[1:] for item in inputs) > 1 and given is None:
        raise FrontendError(
            f"{failure}; if its inputs fit each other at certain sizes alone, give these as "
            "`shapes` to fxp.frontend.load_onnx"
        ) from failure
    raise failure


def _checked_shapes(
    module: OnnxModule, shapes: Sequence[Sequence[int]] | None
) -> list[tuple[int, ...]] | None:
    """Return shapes that a caller gives, with batch 1, if they fit the inputs."""
    if shapes is None:
        return None
    inputs = module.image_inputs
    if len(shapes) != len(inputs):
        raise FrontendError(f"it has {len(inputs)} inputs, and {len(shapes)} shapes are given")
    for item, shape in zip(inputs, shapes, strict=True):
        if item.fitted(shape) is None or not all(
            isinstance(size, int) and size > 0 for size in shape
        ):
            raise FrontendError(
                f"its input {item.name!r} has the shape {item.module_shape(0)}, with 0 for a free "
                f"size, and {tuple(shape)} is given"
            )
    return [(1, *shape[1:]) for shape in shapes]


def example_inputs(module: OnnxModule) -> list[torch.Tensor]:
    """Return normally distributed inputs of sizes at which a module runs."""
    shapes = module.runnable_shapes
    if shapes is None:
        shapes = module.runnable_shapes = _runnable_shapes(module)
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator, dtype=module.dtype) for shape in shapes]


def _compare(module: OnnxModule, model: onnx.ModelProto) -> None:
    """Run a module beside ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    inputs = example_inputs(module)
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        kinds = {given.name: given.type for given in session.get_inputs()}
        feed = {
            given.name: _in_file_layout(tensor, given).astype(_DTYPES[kinds[given.name]])
            for given, tensor in zip(module.image_inputs, inputs, strict=True)
        }
        names = [output.name for output in session.get_outputs()]
        wanted = dict(zip(names, session.run(names, feed), strict=True))
    except Exception as error:
        # ONNX Runtime raises a type of its own for each kind of failure.
        summary = str(error).strip().partition("\n")[0]
        raise FrontendError(f"ONNX Runtime cannot run it ({summary})") from error
    with torch.no_grad():
        found = module(*inputs)
    for name, expected in wanted.items():
        ours = found[name].numpy()
        theirs = _in_module_layout(np.asarray(expected), name in module.channels_last)
        if not np.isfinite(theirs).all():
            raise FrontendError(
                f"output {name!r} is not finite in ONNX Runtime for normally distributed inputs, "
                "so that it cannot be compared; leave the square root, logarithm or division that "
                "makes it so outside of the network, or clamp what it reads"
            )
        if ours.shape != theirs.shape or not _close(ours, theirs):
            raise FrontendError(
                f"output {name!r} differs from that of ONNX Runtime; please report this with the "
                "file"
            )


def _close(ours: NDArray[Any], theirs: NDArray[Any]) -> bool:
    """Compare results, which may be large, without copies of them; NaN is close to nothing."""
    difference = np.subtract(ours, theirs, dtype=np.result_type(ours, np.float32))
    np.abs(difference, out=difference)
    largest = max(float(theirs.max(initial=0)), -float(theirs.min(initial=0)))
    return bool(difference.max(initial=0) <= TOLERANCE * largest + SMALLEST_DIFFERENCE)


_DTYPES: Final = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
}


def _in_file_layout(tensor: torch.Tensor, given: ImageInput) -> NDArray[Any]:
    if given.channels_last:
        tensor = tensor.permute(0, 2, 3, 1)
    elif len(given.shape) == 3:
        tensor = tensor.squeeze(2)
    return tensor.numpy()


def _in_module_layout(array: NDArray[Any], channels_last: bool) -> NDArray[Any]:
    if array.ndim == 4 and channels_last:
        return array.transpose(0, 3, 1, 2)
    if array.ndim == 3:
        return array[:, :, None]
    return array[:, None] if array.ndim == 1 else array
