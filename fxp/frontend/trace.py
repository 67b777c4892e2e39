"""The call of torch.export: a model and example inputs to a functional graph of aten ops."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from sympy import Basic, Eq
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from torch.fx import Node as FxNode
from torch.utils import _pytree

from fxp.frontend.errors import FrontendError
from fxp.frontend.expand import composed, expand
from fxp.frontend.unwrap import is_exported, sequence_advice
from fxp.frontend.whole_image_pools import WholeImagePools
from fxp.frontend.whole_image_pools import __file__ as calling_file
from fxp.graph.extents import Dimension, Extent

Size = int | torch.SymInt
_TORCH: Final = Path(torch.__file__).parent
_CALLING: Final = Path(calling_file)
_BATCH_STATISTICS: Final = frozenset({"running_mean", "running_var", "num_batches_tracked"})
_CHATTY: Final = {
    "fx.experimental.symbolic_shapes": "Failed to reduce inequalities",
    "_export.non_strict_utils": "dimension inputs",
}
"""Loggers of torch, and how their messages begin that no user can do anything about."""
_DRAWING: Final = frozenset({"rich", "tqdm"})
"""Libraries whose threads redraw progress bars, and call no torch module."""


@dataclass(frozen=True)
class SizeBranch:
    """A comparison of image sizes in the model's own code.

    Attributes
    ----------
    place
        File, line and function.
    condition
        What held for the example, a SymPy relation of torch's symbols; the export followed the
        path on which it holds.
    """

    place: str
    condition: Basic


@dataclass(frozen=True)
class Trace:
    """An exported model.

    Attributes
    ----------
    nodes
        The aten ops in execution order, without placeholders and output.
    constants
        Placeholders of parameters, buffers and lifted tensors: state-dict key and tensor.
    inputs
        Placeholders of the user's inputs, in the order of the arguments.
    outputs
        What the model returns, flattened.
    sizes
        Height and width symbols of torch, as text, with their example sizes.
    lowest
        Smallest size of each symbol that keeps to the traced path.
    output_names
        For every output its key in the dictionary that the model returns, else None.
    size_branches
        Where the model's own code compares image sizes.
    gives_sizes
        Whether the model gives a size to an op that takes it as a fixed number.
    """

    nodes: tuple[FxNode, ...]
    constants: dict[FxNode, tuple[str, torch.Tensor]]
    inputs: tuple[FxNode, ...]
    outputs: tuple[object, ...]
    sizes: dict[str, int]
    lowest: dict[str, int]
    output_names: tuple[str | None, ...]
    size_branches: tuple[SizeBranch, ...]
    gives_sizes: bool


def check_examples(examples: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """Return the examples with batch 1.

    Raises
    ------
    FrontendError
        If one is not a float image ``(N, C, H, W)`` or vector batch ``(N, F)``.
    """
    checked = []
    for position, example in enumerate(examples):
        if not isinstance(example, torch.Tensor):
            raise FrontendError(
                f"example input {position} is a {type(example).__name__}; every input must be a "
                "tensor, so wrap the model in a module that takes tensors alone"
            )
        if example.ndim == 3:
            raise FrontendError(
                f"example input {position} has shape {tuple(example.shape)}; it must be a batch of "
                "images (N, C, H, W) or of vectors (N, F): give one image as image[None], and "
                "sequences (N, C, L) as images of one row, (N, C, 1, L), to a module around the "
                "model whose forward(x) returns network(x.squeeze(2)).unsqueeze(2)"
            )
        if example.ndim == 5:
            raise FrontendError(
                f"example input {position} has shape {tuple(example.shape)}; frames of a video are "
                "images (N, C, H, W) that come one after the other: use nn.Conv2d on single "
                "frames, or on frames joined as channels, and states for what is kept between them"
            )
        if example.ndim not in (2, 4) or 0 in example.shape:
            raise FrontendError(
                f"example input {position} has shape {tuple(example.shape)}; it must be a batch of "
                "images (N, C, H, W) or of vectors (N, F)"
            )
        if not example.is_floating_point():
            raise FrontendError(
                f"example input {position} has dtype {example.dtype}; it must be floating point, "
                "so convert integers to numbers before the model"
            )
        checked.append(example[:1].detach())
    if not checked:
        raise FrontendError("the model needs at least one example input")
    return tuple(checked)


def trace(
    model: torch.nn.Module,
    examples: tuple[torch.Tensor, ...],
    *,
    free_sizes: bool,
    known: Container[str],
) -> Trace:
    """Export a model in eval mode.

    Parameters
    ----------
    model
        Left as it is.
    examples
        Inputs with batch 1.
    known
        Ops, with their overloads, that need not be decomposed.
    free_sizes
        Keep heights and widths symbolic where the model allows it; otherwise fix all of them.

    Raises
    ------
    FrontendError
        If torch.export fails, or the model changes its buffers or inputs.
    """
    free = {2: Dim.AUTO, 3: Dim.AUTO} if free_sizes else {}
    shapes = tuple(free if example.ndim == 4 else {} for example in examples)
    try:
        with torch.no_grad(), _no_messages_of_torch(), WholeImagePools():
            program = torch.export.export(model, examples, dynamic_shapes=_by_name(model, shapes))
            if not all(_is_plain(node, known) for node in program.graph.nodes):
                # This makes in-place ops functional as well.
                program = program.run_decompositions(composed())
    except Exception as error:
        # torch.export raises many unrelated types, and a model's own forward may raise anything.
        summary = str(error).strip().partition("\n")[0]
        advice = sequence_advice(model)
        if advice and all(example.ndim == 4 for example in examples):
            raise FrontendError(f"{advice} ({type(error).__name__}: {summary})") from error
        if is_exported(model):
            raise FrontendError(
                "the exported program does not take one image of the examples' size "
                f"({type(error).__name__}: {summary}); export it "
                "for one such image, torch.export.export(model, (images[:1],)), or with dynamic "
                "shapes"
            ) from error
        raise FrontendError(
            f"torch.export cannot trace the model ({type(error).__name__}: {summary}); usual "
            "causes are branches on pixel values, calls to NumPy, .item() or float(), and examples "
            "that do not fit the model: call the model on them first, and move such code out of it"
            f"{_other_threads()}",
            size_dependent=free_sizes,
        ) from error
    return _read(program, examples)


@contextmanager
def _no_messages_of_torch() -> Iterator[None]:
    """Keep back what torch.export says of its own affairs, which no user can change."""
    loggers = [logging.getLogger(f"torch.{name}") for name in _CHATTY]

    def is_for_users(record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith(tuple(_CHATTY.values()))

    for logger in loggers:
        logger.addFilter(is_for_users)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r".*LeafSpec.* is deprecated", FutureWarning)
            yield
    finally:
        for logger in loggers:
            logger.removeFilter(is_for_users)


def _other_threads() -> str:
    """Advice for the case that another thread has disturbed the trace; empty if there is none."""
    own = threading.current_thread()
    others = [
        thread.name
        for thread in threading.enumerate()
        if thread is not own
        and type(thread).__module__.partition(".")[0] not in _DRAWING
        and not thread.name.startswith("fxp_")  # the engine's, which run no torch
    ]
    if not others:
        return ""
    return (
        f". Or another thread ({', '.join(others[:4])}{', ...' if len(others) > 4 else ''}) has "
        "called or copied a torch module meanwhile, which torch.export does not allow: let it wait "
        "until this call returns"
    )


def _is_plain(node: FxNode, known: Container[str]) -> bool:
    """Whether a node is not an aten op, or a known one that changes none of its arguments."""
    target = node.target
    if not isinstance(target, torch._ops.OpOverload):
        return True
    # An op that writes to its argument counts even if nothing reads its result.
    return not target._schema.is_mutable and (str(target) in known or not node.users)


def _by_name(model: torch.nn.Module, shapes: tuple[dict, ...]) -> tuple | dict:
    """Nest the shapes as export wants them when ``forward`` takes ``*args``."""
    code = getattr(model.forward, "__code__", None)
    if code is None or not code.co_flags & 0x04:
        return shapes
    named = code.co_argcount - 1
    return (*shapes[:named], shapes[named:]) if len(shapes) > named else shapes


def _read(program: ExportedProgram, examples: tuple[torch.Tensor, ...]) -> Trace:
    signature = program.graph_signature
    placeholders = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    constants: dict[FxNode, tuple[str, torch.Tensor]] = {}
    inputs: list[FxNode] = []
    for spec in signature.input_specs:
        node = placeholders[spec.arg.name]
        if spec.kind is InputKind.USER_INPUT:
            inputs.append(node)
        elif spec.kind in (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR):
            assert spec.target is not None
            held = program.state_dict.get(spec.target, program.constants.get(spec.target))
            assert isinstance(held, torch.Tensor)
            constants[node] = spec.target, held
        else:
            raise FrontendError(f"the model holds {spec.target!r}, which is not a tensor")
    for output in signature.output_specs:
        if output.kind is OutputKind.USER_INPUT_MUTATION:
            raise FrontendError(
                f"the model changes its input {output.target!r} in place; set inplace=False in the "
                "first layer, or compute a new tensor"
            )
        if str(output.target).rpartition(".")[2] in _BATCH_STATISTICS:
            raise FrontendError(
                f"the model updates the statistics {output.target!r} of a batch normalization, as "
                "it does in training mode; call model.eval(), and export an exported one again"
            )
        if output.kind is not OutputKind.USER_OUTPUT:
            raise FrontendError(
                f"the model changes {output.target!r} while it runs; make it an input and an output"
                " of forward, and name the pair in `states`"
            )
    sizes: dict[str, int] = {}
    for node, example in zip(inputs, examples, strict=True):
        for size, count in zip(sizes_of(node.meta["val"]), example.shape, strict=True):
            if isinstance(size, torch.SymInt):
                sizes.setdefault(str(size), count)
    expand(list(program.graph.nodes), inputs)
    nodes = tuple(node for node in program.graph.nodes if node.op not in ("placeholder", "output"))
    (returned,) = program.graph.output_node().args
    assert isinstance(returned, Sequence)
    # Numbers that the model reads out of tensors have ranges too, which may be infinite.
    ranges = {str(symbol): found for symbol, found in program.range_constraints.items()}
    lowest = {symbol: int(ranges[symbol].lower) for symbol in sizes if symbol in ranges}
    names = _output_names(program)
    return Trace(
        nodes, constants, tuple(inputs), tuple(returned), sizes, lowest, names, *_branches(inputs)
    )


def _output_names(program: ExportedProgram) -> tuple[str | None, ...]:
    """Name outputs by their place in what the model returns, as far as it has keys."""
    spec = program.call_spec.out_spec
    assert spec is not None
    returned = _pytree.tree_unflatten(list(range(spec.num_leaves)), spec)
    names = []
    for path, _ in _pytree.tree_flatten_with_path(returned)[0]:
        keys = [key.key if isinstance(key, _pytree.MappingKey) else key.idx for key in path
                if isinstance(key, _pytree.MappingKey | _pytree.SequenceKey)]  # fmt: skip
        keyed = any(isinstance(key, _pytree.MappingKey) for key in path)
        names.append("_".join(map(str, keys)) if keyed else None)
    return tuple(names)


def _branches(inputs: Sequence[FxNode]) -> tuple[tuple[SizeBranch, ...], bool]:
    """Where the model itself asked for the value of a free size, and whether it gave one to an op.

    What ops of torch ask for by themselves, to check the shapes that they get, is neither.
    """
    found: dict[SizeBranch, None] = {}
    given = False
    for node in inputs:
        environment = getattr(node.meta["val"], "fake_mode", None)
        environment = getattr(environment, "shape_env", None)
        for guard in getattr(environment, "guards", ()):
            frame = getattr(guard.sloc, "framework_loc", None)
            if frame is None or Path(frame.filename).is_relative_to(_TORCH):
                continue
            if Path(frame.filename) == _CALLING:  # the op is called there
                given = given or isinstance(guard.expr, Eq)
                continue
            place = f"{frame.filename}:{frame.lineno} in {frame.name}"
            found[SizeBranch(place, guard.expr)] = None
    return tuple(found), given


class Symbols:
    """Names ``H``, ``W``, ``H2``, ``W2`` ... for the sizes that the export left free.

    Parameters
    ----------
    solved
        Names that follow from others.
    factors
        Names that stand for a multiple: with 4, the size is ``4*H``.
    """

    def __init__(self, solved: dict[str, Extent], factors: dict[str, int]) -> None:
        self._solved = solved
        self._factors = factors
        self.extents: dict[str, Extent] = {}
        self.by_name: dict[str, str] = {}
        self._counts = {"H": 0, "W": 0}
        self.order: list[str] = []

    def shape(self, sizes: Sequence[Size]) -> tuple[Dimension, ...]:
        """Shape of an input without its batch axis."""
        names = ("C", "H", "W") if len(sizes) == 4 else ("F",)
        return tuple(
            self._extent(str(size), name) if isinstance(size, torch.SymInt) else size
            for size, name in zip(sizes[1:], names, strict=True)
        )

    def unit(self, name: str) -> Extent:
        """Size that a name stands for, a multiple of it."""
        return Extent(name) * self._factors.get(name, 1)

    def _extent(self, symbol: str, letter: str) -> Extent:
        if symbol not in self.extents:
            self._counts[letter] += 1
            count = self._counts[letter]
            name = letter if count == 1 else f"{letter}{count}"
            self.order.append(name)
            self.by_name[name] = symbol
            extent = self.unit(name)
            while extent.symbol in self._solved:
                extent = substituted(extent, self._solved)
            self.extents[symbol] = extent
        return self.extents[symbol]


def substituted(extent: Extent, solved: dict[str, Extent]) -> Extent:
    """Replace the symbol of an extent by another extent."""
    if isinstance(extent.base, Extent):
        base = substituted(extent.base, solved)
    else:
        base = solved.get(extent.base, Extent(extent.base))
    return (base * extent.scale + extent.offset) // extent.divisor


def sizes_of(tensor: torch.Tensor) -> tuple[Size, ...]:
    """Shape of a traced tensor; symbols that the export has fixed are integers."""
    return tuple(
        int(size) if isinstance(size, torch.SymInt) and size.node.expr.is_Integer else size
        for size in tensor.shape
    )


def example_size(size: Size) -> int:
    """Size in the traced example."""
    return size if isinstance(size, int) else int(size.node.hint)


def difference(left: Size, right: Size) -> int | None:
    """``left - right`` if that does not depend on the image size, else None."""
    if isinstance(left, int) and isinstance(right, int):
        return left - right
    expression = (left - right).node.expr  # type: ignore[union-attr]
    return int(expression) if expression.is_Integer else None
