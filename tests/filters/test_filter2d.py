"""filter2d against SciPy, integer by integer, and its refusals."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import pytest
import scipy.ndimage as ndimage
from hypothesis import given, settings
from hypothesis import strategies as st

import fxp
from fxp.filters import Taps, filter2d, filter_graph, gaussian, laplacian, prewitt, sobel
from fxp.filters.filtering import Border
from fxp.formats import Format, Overflow, Rounding, requantize
from fxp.graph import Graph

SCIPY_MODES: dict[str, Any] = {
    "zero": "constant",
    "replicate": "nearest",
    "reflect": "reflect",
    "reflect101": "mirror",
}
DTYPES = (np.uint8, np.int8, np.uint16, np.int16, np.int32)


def expected_sums(
    image: np.ndarray, taps: np.ndarray, mode: str, border: str, anchor: tuple[int, int] | None
) -> np.ndarray:
    """Exact sums by SciPy, which adds in float64."""
    origin: Any = 0
    if anchor is not None:
        origin = [a - size // 2 for a, size in zip(anchor, taps.shape, strict=True)]
    function = ndimage.correlate if mode == "correlation" else ndimage.convolve
    planes = image.reshape((-1, *image.shape[-2:])).astype(np.int64)
    return np.stack(
        [function(plane, taps, mode=SCIPY_MODES[border], origin=origin) for plane in planes]
    ).reshape(image.shape)


@settings(max_examples=300)
@given(
    seed=st.integers(0, 2**32 - 1),
    kernel=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    channels=st.sampled_from((None, 1, 3)),
    dtype=st.sampled_from(DTYPES),
    mode=st.sampled_from(("correlation", "convolution")),
    border=st.sampled_from(get_args(Border)),
    anchored=st.booleans(),
    frac=st.integers(0, 9),
    rounding=st.sampled_from(Rounding),
    output=st.sampled_from((None, 5, 9, Format(8, 0, False), Format(12, 3))),
)
def test_equals_scipy(
    seed: int,
    kernel: tuple[int, int],
    size: tuple[int, int],
    channels: int | None,
    dtype: type,
    mode: Literal["correlation", "convolution"],
    border: Border,
    anchored: bool,
    frac: int,
    rounding: Rounding,
    output: Format | int | None,
) -> None:
    generator = np.random.default_rng(seed)
    shape = size if channels is None else (channels, *size)
    limits = np.iinfo(dtype)
    image = generator.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    taps = generator.integers(-40, 40, kernel, endpoint=True)
    anchor = tuple(int(generator.integers(length)) for length in kernel) if anchored else None
    assert anchor is None or len(anchor) == 2
    call = {"mode": mode, "border": border, "anchor": anchor, "rounding": rounding}
    row, column = anchor or (kernel[0] // 2, kernel[1] // 2)
    reaches = max(row, kernel[0] - 1 - row), max(column, kernel[1] - 1 - column)
    if border == "reflect101" and any(r >= s for r, s in zip(reaches, size, strict=True)):
        with pytest.raises(ValueError, match="border 'reflect101' cannot reflect"):
            filter2d(image, taps, frac, **call)
        return
    exact = expected_sums(image, taps, mode, border, anchor)
    result = filter2d(image, taps, frac, output=output, **call)
    assert result.shape == image.shape
    if isinstance(output, Format):
        form = output
    else:
        graph = filter_graph(
            taps, frac, rounding=rounding, output=output, image_format=format_of(dtype)
        )
        chosen = graph.values["filtered"].format
        assert chosen is not None
        assert chosen.frac == 0
        assert output is None or chosen.width == output
        form = chosen if output is not None else Format(62, 0)
    assert np.array_equal(result, requantize(exact, frac, form, rounding))


def format_of(dtype: type) -> Format:
    limits = np.iinfo(dtype)
    return Format(limits.bits, 0, limits.min < 0)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    dtype=st.sampled_from(DTYPES),
    frac=st.integers(0, 9),
    rounding=st.sampled_from(Rounding),
)
def test_the_default_format_is_the_narrowest_that_never_overflows(
    seed: int, kernel: tuple[int, int], dtype: type, frac: int, rounding: Rounding
) -> None:
    """Pixels at their limits reach both ends of the results."""
    taps = np.random.default_rng(seed).integers(-40, 40, kernel, endpoint=True)
    source = format_of(dtype)
    graph = filter_graph(taps, frac, rounding=rounding, image_format=source, border="zero")
    form = graph.values["filtered"].format
    assert form is not None
    low = np.where(taps > 0, source.min_raw, source.max_raw)
    high = np.where(taps > 0, source.max_raw, source.min_raw)
    ends = [int((taps * pixels).sum()) for pixels in (low, high)]
    first, last = requantize(ends, frac, Format(62, 0), rounding).tolist()
    assert form == Format.for_range(first, last, 0)
    for pixels, end in ((low, first), (high, last)):
        result = filter2d(pixels.astype(dtype), taps, frac, rounding=rounding, border="zero",
                          threads=1)  # fmt: skip
        assert int(result[kernel[0] // 2, kernel[1] // 2]) == end


def test_directions() -> None:
    """The signs that the documentation promises."""
    ramp = np.tile(np.arange(6, dtype=np.uint8), (6, 1))
    inside = (slice(1, -1), slice(1, -1))
    assert (filter2d(ramp, sobel("x"), mode="convolution")[inside] == 8).all()
    assert (filter2d(ramp, sobel("x"))[inside] == -8).all()
    assert (filter2d(ramp.T, prewitt("y"), mode="convolution")[inside] == 6).all()
    assert (filter2d(ramp.T, sobel("x")) == 0).all()
    point = np.zeros((5, 5), np.uint8)
    point[2, 2] = 255
    response = filter2d(point, laplacian())
    assert response[2, 2] == 1020
    assert response.dtype == np.int16


@pytest.mark.parametrize("taps", [sobel("x"), sobel("y"), prewitt("x"), laplacian()])
def test_eight_bits_become_eleven(taps: Taps) -> None:
    assert filter_graph(taps).values["filtered"].format == Format(11, 0)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.5])
@pytest.mark.parametrize("border", [name for name in get_args(Border) if name != "zero"])
def test_gaussian_keeps_constant_images_and_eight_bits(sigma: float, border: Border) -> None:
    for level in (0, 1, 100, 255):
        image = np.full((20, 20), level, np.uint8)
        result = filter2d(image, gaussian(sigma), border=border)
        assert result.dtype == np.uint8
        assert np.array_equal(result, image)


def test_formats_of_the_image() -> None:
    image = np.array([[1, 2], [3, 4000]])
    taps = [[1]]
    form = Format(12, 4, False)
    result = filter2d(image, taps, image_format=form)
    assert result.dtype == np.uint16
    assert np.array_equal(result, image)
    graph = filter_graph(taps, image_format=form)
    assert graph.values["filtered"].format == form
    with pytest.raises(fxp.FormatError, match=r"raw 4000 at index \(1, 1\) does not fit"):
        filter2d(image, taps, image_format=Format(11, 0, False))
    for dtype in (np.int64, np.uint64):
        with pytest.raises(ValueError, match=r"say which bits of the u?int64 image count"):
            filter2d(image.astype(dtype), taps)


def test_overflow_modes() -> None:
    image = np.array([[200]], np.uint8)
    byte = Format(8, 0, False)
    assert filter2d(image, [[2]], output=byte).tolist() == [[255]]
    assert filter2d(image, [[2]], output=byte, overflow=Overflow.WRAP).tolist() == [[144]]
    assert filter2d(image, [[2]]).tolist() == [[400]]
    assert filter2d(image, [[2]], output=9).tolist() == [[400]]
    with pytest.raises(fxp.FormatError, match="WRAP_SIGN_MAGNITUDE needs a signed format"):
        filter2d(image, [[2]], output=byte, overflow=Overflow.WRAP_SIGN_MAGNITUDE)


IMAGE = np.zeros((4, 4), np.uint8)


@pytest.mark.parametrize(("arguments", "error", "message"), [
    ({"taps": [1, 2, 1]}, ValueError, r"taps must be \(rows, columns\)"),
    ({"taps": [[0.5]]}, TypeError, "taps must be integers, got float64"),
    ({"taps": gaussian(1.0), "frac": 8}, ValueError, "frac is 8, but the taps have 14"),
    ({"mode": "same"}, ValueError, "mode must be 'correlation' or 'convolution', got 'same'"),
    ({"border": "mirror"}, ValueError, "border must be one of .* got 'mirror'"),
    ({"border": "symmetric"}, ValueError, "border must be one of"),
    ({"anchor": (3, 0)}, ValueError, r"one of 3 by 3 taps, got \(3, 0\)"),
    ({"anchor": (0, -1)}, ValueError, r"one of 3 by 3 taps, got \(0, -1\)"),
    ({"anchor": (1,)}, ValueError, "anchor must be the row and column"),
    ({"anchor": (1.0, 1.0)}, ValueError, "anchor must be the row and column"),
    ({"anchor": 1}, ValueError, "anchor must be the row and column"),
    ({"output": 0}, fxp.FormatError, "width must be 1 to 63"),
    ({"output": 8.0}, fxp.FormatError, "width must be an integer"),
    ({"output": "uint8"}, fxp.FormatError, "cannot read 'uint8' as a fixed-point type name"),
    ({"rounding": "half"}, fxp.FormatError, "rounding must be"),
    ({"overflow": None}, fxp.FormatError, "overflow must be"),
    ({"taps": [[2**61, 2**61]]}, fxp.GraphError, "accumulator needs 71 bits"),
    ({"threads": 0}, ValueError, "threads must be"),
])  # fmt: skip
def test_refusals(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        filter2d(IMAGE, **{"taps": sobel("x"), **arguments})


REAL = st.one_of(
    st.floats(width=64), st.complex_numbers(), st.text(max_size=3), st.none(), st.booleans()
)


@given(values=st.lists(st.lists(REAL, min_size=2, max_size=2), min_size=1, max_size=3))
def test_images_that_are_not_integers_are_refused(values: list[list[Any]]) -> None:
    """Floats, NaN, infinity, complex numbers, text, None and truth values."""
    for image in (values, np.array(values, dtype=object)):
        with pytest.raises(TypeError, match="the image must hold integers, got"):
            filter2d(image, laplacian())


@given(
    shape=st.lists(st.integers(0, 3), max_size=5).filter(
        lambda shape: len(shape) not in (2, 3) or 0 in shape
    ),
    dtype=st.sampled_from((*DTYPES, np.int64)),
)
def test_images_of_other_shapes_are_refused(shape: list[int], dtype: type) -> None:
    with pytest.raises(ValueError, match=r"must be \(H, W\) or \(C, H, W\) and not empty"):
        filter2d(np.zeros(shape, dtype), laplacian())


def test_the_graph_is_a_model(tmp_path) -> None:
    graph = fxp.filter_graph(gaussian(1.0), channels=3)
    assert isinstance(graph, Graph)
    model = fxp.FixedModel(graph)
    model.save(tmp_path / "gaussian.fxp")
    image = np.random.default_rng(0).integers(0, 256, (3, 12, 10), np.uint8)
    loaded = fxp.load(tmp_path / "gaussian.fxp")
    assert np.array_equal(loaded.run_raw(image), fxp.filter2d(image, gaussian(1.0)))
    with pytest.raises(fxp.GraphError):
        filter_graph(sobel("x"), channels=0)


def test_formats_may_be_given_as_text():
    image = np.array([[1, 2, 3]], np.uint8)
    taps = np.array([[2]])
    wanted = filter2d(image, taps, output=Format(12, 0), image_format=Format(8, 0, signed=False))
    found = filter2d(image, taps, output="ap_fixed<12,12>", image_format="ap_ufixed<8,8>")
    assert found.tolist() == wanted.tolist() == [[2, 4, 6]]
    assert found.dtype == wanted.dtype
