"""Parameter records: what a stage tells its kernel once, by names.

A record is the one definition that both sides share: the stage fills it with `filled`, the kernel
reads its fields from the address in its command (`fxp.kernels.commands.BLOCK`). Every field is an
int64, whether a count, a bound or the address of an array, so that any command can carry it.

A factory of kernels binds its record to a local name before it defines the kernel: Numba then
counts it among what a compiled kernel depends on. Numba itself looks only at the kernel's own file;
a record therefore also carries a fingerprint of the files whose functions kernels take in. So a
cached kernel has neither an older layout nor an older rounding.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from fxp.kernels import commands, compiler, requantize

_SOURCES: Final = crc32(
    b"".join(Path(str(module.__file__)).read_bytes() for module in (commands, compiler, requantize))
)


def _record(*names: str) -> np.dtype[np.void]:
    fields = np.dtype([(name, np.int64) for name in names], align=True)
    return np.dtype(fields, metadata={"sources": _SOURCES})


def filled(record: np.dtype[np.void], **values: int) -> NDArray[np.void]:
    """Return a record with every field set, as an array of one element.

    Arrays whose addresses are in it must be kept alive by the caller.

    Raises
    ------
    TypeError
        If a field of the record has no value, or a value has no field.
    """
    names = record.names or ()
    if values.keys() != set(names):
        wrong = ", ".join(sorted(values.keys() ^ set(names)))
        raise TypeError(f"fields missing from the record or unknown to it: {wrong}")
    return np.array([tuple(values[name] for name in names)], record)


FINISH_FIELDS: Final = (
    "start",  # address of what is added to every accumulator, per channel
    "own",  # address of what the sum is multiplied by, per channel
    "factor",  # address of what the other value is multiplied by, per channel
    "shift",  # address of the right shift of every channel
    "low",  # smallest result
    "high",  # largest result
    "count_low",  # rounded values below this overflow
    "count_high",  # rounded values above this overflow
)
"""How sums become results; `fxp.kernels.finish.Finish.fields` fills them."""

CONVOLUTION_FIELDS: Final = (
    *FINISH_FIELDS,
    "result_step",  # elements from one result pixel to the next
    "blocks",  # blocks of output channels
    "pairs",  # pairs of inputs in a run; depthwise: pairs of taps
    "weights",  # address of the packed int16 weights
    "taps",  # address of the int64 (row, element in the row) of each run or tap
    "input_step",  # elements from the inputs of one output to those of the next in its row
    "row_step",  # rows from the inputs of one output to those of the next below
    "channels",  # output channels in all
)

DEPTHWISE: Final = _record(*CONVOLUTION_FIELDS)
"""Of `fxp.kernels.tiles.depthwise_kernel`."""

DEPTHWISE_ROWS: Final = _record(
    *FINISH_FIELDS,
    "blocks",  # vectors of all channels of the pixels that are computed together
    "rows",  # rows of the kernel
    "weights",  # address of the packed int16 weights
    "channels",  # of a pixel
    "together",  # pixels whose channels fill vectors together
    "pixel_step",  # elements from one input pixel to the next
    "stride",  # input pixels from one result to the next
    "row_step",  # input rows from one result row to the next
    "dilation",  # input rows from one row of the kernel to the next
)
"""Of `fxp.kernels.depthwise_rows.depthwise_rows_kernel`; channels lie as often as pixels are
computed together."""

DENSE: Final = _record(
    *CONVOLUTION_FIELDS,
    "first_channel",  # first output channel
    "runs",  # runs of neighbouring inputs
    "uncounted",  # channels of a block that another block counts
)
"""Of `fxp.kernels.tiles.dense_kernel` and `dense_shuffled_kernel`."""

BINARY: Final = _record(
    *(DENSE.names or ()),
    "scale",  # address of the int32 size of the weights of every channel
    "column_step",  # columns from the inputs of one output to those of the next
    "kernel_rows",  # rows from the first tap to the last, both included
    "kernel_columns",
    "tap_rows",  # rows from one tap to the next
    "tap_columns",
)
"""Of `fxp.kernels.binary.binary_kernel`, whose `pairs` are words."""

DENSE_SUMS: Final = _record(
    *(DENSE.names or ()),
    "shuffle",  # factor of the pixel shuffle; 1 without
)
"""Of `fxp.kernels.tiles.dense_sums_kernel`."""

WIDE_FIELDS: Final = (
    "chunks",  # how many chunks
    "chunk_table",  # address of their int64 rows (pieces or pairs of taps, left shift)
)

DENSE_WIDE: Final = _record(
    *(DENSE_SUMS.names or ()),
    *WIDE_FIELDS,
    "piece_pairs",  # address of the int64 numbers of pairs of the pieces, which are the runs
    "low_starts",  # address of the int32 low part of the start per channel, if starts are cut
)
"""Of `fxp.kernels.wide_tiles.dense_wide_kernel` and `dense_wide_sums_kernel`, whose fields per
channel are int64, or int32 where starts are cut; `pairs` counts those of all pieces."""

DEPTHWISE_WIDE: Final = _record(*CONVOLUTION_FIELDS, *WIDE_FIELDS)
"""Of `fxp.kernels.wide_tiles.depthwise_wide_kernel`."""

SPLIT: Final = _record(
    "channels",
    "parts",  # int16 parts of a value
    "least",  # subtracted from every value
    "less",  # address of the int64 that is subtracted from every part
)
"""Of `fxp.kernels.split.split_kernel`."""

WINOGRAD: Final = _record(
    *FINISH_FIELDS,
    "channels_in",
    "channels_out",
    "weights",  # address of the int16 (blocks, n_y, n_x, pairs, width, 2)
    "offsets",  # address of the int64 (n_y, n_x) subtracted from inputs to fit int16
    "starts",  # address of the int32 (chunks of all products, channels_out) that undo the offsets
    "chunks",  # address of the int64 (n_y, n_x, 2): first chunk of a product, and how many
    "pieces",  # address of the int64 (first channel, pairs of channels) of every chunk
    "table",  # address of the int64 (1, 0) for every chunk of a product
    "tiles",  # most tiles that are transformed together
    "zeros",  # address of zeros, as many int64 as an axis has products
)
"""Of `fxp.kernels.winograd.winograd_kernel`."""

WINOGRAD_FOUR: Final = _record(
    *FINISH_FIELDS,
    "channels_in",
    "channels_out",
    "weights",  # address of the int16 (n_y, n_x, blocks, pairs, width, 2)
    "tiles",  # tiles that are transformed together, at most
    "zeros",  # address of zeros, as many int32 as a block has channels
)
"""Of `fxp.kernels.winograd_four.winograd_four_kernel`."""

RULE_FIELDS: Final = (
    "start",  # added to every sum: half a step, or 0
    "shift",  # right shift
    "low",  # smallest result
    "high",  # largest result
    "count_low",  # rounded values below this overflow
    "count_high",  # rounded values above this overflow
)
"""How a sum becomes a result where all channels do it alike; see `fxp.kernels.requantize.Rule`."""

COMBINE: Final = _record(
    *RULE_FIELDS,
    "left_factor",  # factor of the first operand, in a sum
    "right_factor",  # factor of the second operand, in a sum
    "channels",  # channels of the first operand
    "tile",  # elements of a tile; 0 if the second operand is as large as the first
    "repeated",  # address of the tile; 0 to make it in the scratch memory of a single pixel
    "pixel_channels",  # channels of that pixel
)
"""Of `fxp.kernels.pointwise.combine_kernel`."""

CLIP: Final = _record(
    *RULE_FIELDS,
    "smallest",  # bounds of the operand
    "largest",
    "factor",  # multiplies the clipped operand
    "channels",
)
"""Of `fxp.kernels.pointwise.clip_kernel`."""

PRELU: Final = _record(
    *RULE_FIELDS,
    "one",  # factor of elements that are not negative
    "channels",
    "tile",  # elements of the tile of slopes
    "slopes",  # address of the tile of int32 slopes
)
"""Of `fxp.kernels.pointwise.prelu_kernel`."""

SOFT_THRESHOLD: Final = _record(
    *RULE_FIELDS,
    "factor",  # that aligns the operand with the thresholds
    "channels",
    "tile",  # elements of the tile of thresholds
    "thresholds",  # address of the tile of int64 thresholds
)
"""Of `fxp.kernels.pointwise.soft_threshold_kernel`."""

LOOK_UP: Final = _record(
    "smallest",  # value of the first entry
    "entries",
    "table",  # address of the results
    "outside",  # address of a uint8 per entry, 1 where the result overflows
    "channels",
)
"""Of `fxp.kernels.pointwise.look_up_kernel`."""

POOL: Final = _record(
    *RULE_FIELDS,
    "factor",  # of the results
    "window_rows",
    "window_columns",
    "row_stride",  # rows from one window to the next
    "column_stride",
    "padding_rows",  # rows of padding above the image
    "padding_columns",  # columns of padding to the left of it
)
"""Of `fxp.kernels.resampling.pool_kernel`."""

UPSAMPLE: Final = _record(*RULE_FIELDS, "tap_0", "tap_1", "tap_2", "tap_3")
"""Of `fxp.kernels.resampling.upsample_kernel`: the taps of odd outputs; those of even outputs are
their mirror image. With two taps the last two are 0."""

PAD: Final = _record(
    "rows",  # rows above the image
    "columns",  # columns to the left of it
    "pixel",  # bytes of a pixel
)
"""Of `fxp.kernels.borders.pad_kernel`."""

TO_BYTES: Final = _record(
    "channels",
    "less",  # subtracted from every value
)
"""Of `fxp.kernels.quad_tiles.to_bytes_kernel`."""

TO_SIGNS: Final = _record("channels")
"""Of `fxp.kernels.binary.to_signs_kernel`."""

COPY: Final = _record(
    "result_step",  # bytes from one result pixel to the next
    "input_step",  # bytes from one pixel of the operand to the next
)
"""Of `fxp.kernels.moves.copy_kernel`."""

INTERLEAVE: Final = _record(
    "even",  # first channel of the run that goes to even channels
    "odd",  # first channel of the run that goes to odd channels
    "length",  # channels of a run
    "channels",  # channels of the operand
)
"""Of `fxp.kernels.moves.interleave_kernel`."""
