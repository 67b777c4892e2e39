"""``fxp upscale``: images, folders and streams; errors, exit codes, whole files."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fxp import Extent, FixedModel, Graph, Node, Quantization, Value
from fxp.cli import main
from fxp.graph.ops import Nearest, Relu
from fxp.imaging.files import read_image, write_image
from fxp.imaging.video import (
    Frame,
    Layout,
    VideoFormat,
    header,
    read_frames,
    read_header,
    write_frame,
)
from fxp.models import sr
from fxp.models.common.media import DEPTH, overlapped


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with models that are ready in no time: pixels repeated, or kept at a scale of 1."""
    folder = tmp_path_factory.mktemp("models")
    luma = Value("luma", (1, Extent("H"), Extent("W")), sr.PIXEL)
    for scale in (1, 2, 3):
        op = Nearest(scale) if scale > 1 else Relu()
        node = Node("result", op, ("luma",), Quantization(sr.PIXEL))
        graph = Graph("nearest", (luma,), (node,), ("result",))
        FixedModel(graph).save(folder / f"x{scale}.fxp")
    return folder


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path in models.iterdir():
        (tmp_path / path.name).symlink_to(path)


def noise(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def video_of(form: VideoFormat, count: int) -> tuple[bytes, list[Frame]]:
    frames = [[noise(*shape) for shape in form.plane_shapes] for _ in range(count)]
    stream = io.BytesIO()
    stream.write(header(form))
    for frame in frames:
        write_frame(stream, frame, form)
    return stream.getvalue(), frames


def upscale(*arguments: object) -> int:
    return main(["upscale", *map(str, arguments)])


def fails(capsys: pytest.CaptureFixture[str], match: str, *arguments: object) -> None:
    """Check for code 1, one line on standard error, and that no file came or changed."""
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    capsys.readouterr()
    assert upscale(*arguments) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert match in lines[0]
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


def test_an_image_by_the_shipped_model(capsys: pytest.CaptureFixture[str]):
    image = noise(9, 7, 3)
    write_image("in.png", image)
    assert upscale("in.png", "out.png") == 0
    assert "wrote out.png: 1 image" in capsys.readouterr().out
    assert np.array_equal(read_image("out.png"), sr.upscale(image, sr.load("kimsr_x2")))


@pytest.mark.parametrize("channels", [(), (2,), (3,), (4,)])
def test_kinds_of_image(channels: tuple[int, ...]):
    image = noise(5, 1, *channels)
    write_image("in.png", image, alpha=True)
    assert upscale("in.png", "out.tif", "--model", "x3.fxp", "--threads", 1) == 0
    upscaled = read_image("out.tif", alpha=True)
    assert np.array_equal(upscaled, sr.upscale(image, sr.load("x3.fxp")))


def test_sixteen_bits_are_rounded_to_eight():
    image = np.random.default_rng(0).integers(0, 65536, (5, 4), np.uint16)
    for name in ("in.png", "in.tif"):
        Image.fromarray(image).save(name)
        assert upscale(name, "out.png", "--model", "x2.fxp") == 0
        assert np.array_equal(read_image("out.png"), sr.upscale(image, sr.load("x2.fxp")))


def test_a_folder():
    Path("in").mkdir()
    for index in range(5):
        write_image(f"in/{index}.png", noise(4 + index, 6))
    assert upscale("in", "new/out", "--model", "x2.fxp") == 0
    for index in range(5):
        expected = noise(4 + index, 6).repeat(2, axis=0).repeat(2, axis=1)
        assert np.array_equal(read_image(f"new/out/{index}.png"), expected)


def test_a_model_that_keeps_the_size(capsys: pytest.CaptureFixture[str]):
    write_image("in.png", noise(4, 5))
    assert upscale("in.png", "out.png", "--model", "x1.fxp", "--scale", 3) == 0
    assert read_image("out.png").shape == (12, 15)
    fails(capsys, "give the factor", "in.png", "out.png", "--model", "x1.fxp")


@pytest.mark.parametrize("scale", [2, 3])
@pytest.mark.parametrize(("width", "height"), [(7, 5), (1, 1)])
@pytest.mark.parametrize("tag", ["C420mpeg2", "C444", "Cmono"])
def test_y4m(tag: str, width: int, height: int, scale: int):
    form = read_header(io.BytesIO(f"YUV4MPEG2 W{width} H{height} F25:1 {tag}\n".encode()))
    data, frames = video_of(form, 5)
    Path("in.y4m").write_bytes(data)
    assert upscale("in.y4m", "out.y4m", "--model", f"x{scale}.fxp") == 0
    stream = io.BytesIO(Path("out.y4m").read_bytes())
    larger = read_header(stream)
    assert larger == form.upscaled(scale)
    found = list(read_frames(stream, larger))
    assert len(found) == 5
    upscaler = sr.Upscaler(sr.load(f"x{scale}.fxp"))
    for one, frame in zip(found, frames, strict=True):
        for plane, whole in zip(one, upscaler.frame(frame), strict=True):
            assert np.array_equal(plane, whole[: plane.shape[0], : plane.shape[1]])


def test_a_video_of_ten_bits_is_said_to_be_rounded(capsys: pytest.CaptureFixture[str]):
    samples = np.arange(12, dtype="<u2").tobytes()
    Path("in.y4m").write_bytes(b"YUV4MPEG2 W4 H3 F25:1 Cmono10\nFRAME\n" + samples)
    assert upscale("in.y4m", "out.y4m", "--model", "x2.fxp") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "frames of 4x3 to 8x6, 10-bit samples rounded to 8 bits" in said


@pytest.mark.parametrize("layout", list(Layout))
def test_raw_video(layout: Layout):
    form = VideoFormat(6, 4, layout)
    data, frames = video_of(form, 3)
    Path("in.raw").write_bytes(data)
    options = ("--size", "6x4", "--format", layout, "--model", "x2.fxp")
    assert upscale("in.raw", "out.raw", *options) == 0
    found = list(read_frames(io.BytesIO(Path("out.raw").read_bytes()), form.upscaled(2)))
    upscaler = sr.Upscaler(sr.load("x2.fxp"))
    if layout is Layout.RGB:
        assert np.array_equal(found[2][0], upscaler(frames[2][0]))
    else:
        assert np.array_equal(found[2][0], upscaler.frame(frames[2])[0])


def run_program(data: bytes, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    code = "import sys; from fxp.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "upscale", *arguments]
    return subprocess.run(command, input=data, capture_output=True, timeout=120)


def test_standard_streams():
    form = VideoFormat(6, 4, Layout.YUV420, ("F25:1",))
    data, _ = video_of(form, 4)
    Path("in.y4m").write_bytes(data)
    assert upscale("in.y4m", "out.y4m", "--model", "x2.fxp") == 0
    expected = Path("out.y4m").read_bytes()
    result = run_program(data, "-", "-", "--model", "x2.fxp")
    assert result.returncode == 0
    assert result.stdout == expected
    assert b"wrote standard output: 4 frames of 6x4 to 12x8" in result.stderr
    cut = run_program(data[:-3], "-", "-", "--model", "x2.fxp")
    assert cut.returncode == 1
    assert cut.stderr.strip() == b"error: the video ends within frame 4"
    assert expected.startswith(cut.stdout)


def test_a_reader_that_goes_away():
    code = "import sys; from fxp.cli import main; sys.exit(main(sys.argv[1:]))"
    data, _ = video_of(VideoFormat(400, 300, Layout.GRAY, ("Cmono",)), 40)
    Path("in.y4m").write_bytes(data)
    command = [sys.executable, "-c", code, "upscale", "in.y4m", "-", "--model", "x2.fxp"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        program.stdout.read(100)
        program.stdout.close()
        error = program.stderr.read()
        assert program.wait(60) == 1
    assert error == b""


def test_image_errors(capsys: pytest.CaptureFixture[str]):
    write_image("in.png", noise(4, 5, 3))
    write_image("out.png", noise(2, 2))
    write_image("clear.png", noise(4, 5, 4), alpha=True)
    Image.fromarray(np.zeros((2, 2), np.float32)).save("deep.tif")
    Path("damaged.png").write_bytes(Path("in.png").read_bytes()[:-30])
    Path("text.png").write_text("text")
    quick = ("--model", "x2.fxp")
    for match, *arguments in (
        ("no such file", "none.png", "out.png"),
        ("damaged.png", "damaged.png", "out.png"),
        ("text.png", "text.png", "out.png"),
        ("8 bits", "deep.tif", "out.png"),
        ("must end in", "in.png", "out.xyz"),
        ("must end in", "in.png", "-"),
        ("no folder", "in.png", "none/out.png"),
        ("is a folder", "in.png", "."),
        ("in.png is read", "in.png", "./in.png"),
        ("keeps no alpha", "clear.png", "out.jpg"),
        ("upscales by 2, not by 3", "in.png", "out.png", "--scale", 3),
        ("both --size and --format", "in.png", "out.png", "--size", "4x4"),
    ):
        fails(capsys, match, *arguments, *quick)
    fails(capsys, "x2.fxp", "in.png", "out.png", "--model", "none/x2.fxp")
    fails(capsys, "no shipped model", "in.png", "out.png", "--model", "best")


def test_folder_errors(capsys: pytest.CaptureFixture[str]):
    Path("in").mkdir()
    fails(capsys, "no images", "in", "out", "--model", "x2.fxp")
    write_image("in/1.png", noise(4, 5, 3))
    fails(capsys, "overwrite", "in", "in", "--model", "x2.fxp")
    Path("in/2.png").write_text("text")
    Path("out").mkdir()
    write_image("out/2.png", noise(3, 3))
    assert upscale("in", "out", "--model", "x2.fxp") == 1
    assert "2.png" in capsys.readouterr().err
    # What was finished before the error stays; nothing is half written.
    assert {path.name for path in Path("out").iterdir()} <= {"1.png", "2.png"}
    assert np.array_equal(read_image("out/2.png"), noise(3, 3))


@pytest.mark.parametrize("options", [("--jobs", 1), ("--jobs", 2, "--backend", "loky")])
def test_a_bad_image_does_not_stop_the_others(
    capsys: pytest.CaptureFixture[str], options: tuple[object, ...]
):
    Path("in").mkdir()
    for index in range(4):
        write_image(f"in/{index}.png", noise(4, 6))
    Path("in/1.png").write_text("text")
    command = ("in", "out", "--model", "x2.fxp", "--threads", 1, "--json", *options)
    assert upscale(*command) == 1
    printed = capsys.readouterr()
    figures = json.loads(printed.out)
    assert [item["error"] is None for item in figures["images"]] == [True, False, True, True]
    assert figures["count"] == 3
    first, last = printed.err.strip().splitlines()
    assert first.startswith("failed: cannot read image in/1.png")
    assert last == "error: 1 of 4 images are not upscaled: in/1.png"
    assert sorted(path.name for path in Path("out").iterdir()) == ["0.png", "2.png", "3.png"]
    expected = noise(4, 6).repeat(2, axis=0).repeat(2, axis=1)
    assert np.array_equal(read_image("out/3.png"), expected)


def test_results_are_never_written_onto_an_input(capsys: pytest.CaptureFixture[str]):
    Path("in").mkdir()
    Path("out").mkdir()
    write_image("in/1.png", noise(4, 6))
    Path("out/1.png").hardlink_to("in/1.png")
    fails(capsys, "in/1.png", "in", "out", "--model", "x2.fxp")
    # The model is an input as well.
    Path("out/1.png").unlink()
    Path("out/1.png").hardlink_to("x2.fxp")
    fails(capsys, "x2.fxp", "in", "out", "--model", "x2.fxp")


def test_video_errors(capsys: pytest.CaptureFixture[str]):
    data, _ = video_of(VideoFormat(6, 4, Layout.YUV420, ()), 3)
    Path("in.y4m").write_bytes(data)
    Path("cut.y4m").write_bytes(data[:-1])
    Path("empty.y4m").write_bytes(b"")
    Path("header.y4m").write_bytes(b"YUV4MPEG2 W6 H4\n")
    Path("deep.y4m").write_bytes(b"YUV4MPEG2 W6 H4 C420p11\n")
    Path("out.y4m").write_bytes(b"earlier")
    Path("out.raw").write_bytes(b"earlier")
    raw = ("--format", "gray", "--size")
    for match, *arguments in (
        ("no such video", "none.y4m", "out.y4m"),
        ("within frame 3", "cut.y4m", "out.y4m"),
        ("no YUV4MPEG2", "empty.y4m", "out.y4m"),
        ("no frame", "header.y4m", "out.y4m"),
        ("420p11", "deep.y4m", "out.y4m"),
        ("output must be too", "in.y4m", "out.raw"),
        ("output must be too", "in.y4m", "out.png"),
        ("output must be too", "in.y4m", "out.y4m", *raw, "2x2"),
        ("within frame", "in.y4m", "out.raw", *raw, "1000x1000"),
        ("WIDTHxHEIGHT", "in.y4m", "out.raw", *raw, "2x"),
        ("WIDTHxHEIGHT", "in.y4m", "out.raw", *raw, "2x-2"),
        ("empty or too large", "in.y4m", "out.raw", *raw, "0x2"),
        ("no folder", "in.y4m", "none/out.y4m"),
        ("output must be too", "in.y4m", "out.mp4", *raw, "2x2"),
        ("in.y4m is read", "in.y4m", "in.y4m"),
        ("no ordinary file", "in.y4m", os.devnull, *raw, "2x2"),
    ):
        fails(capsys, match, *arguments, "--model", "x2.fxp")


def test_reading_and_writing_overlap_with_the_work():
    """All three parts wait for each other, so that one thread alone would never finish."""
    met = threading.Barrier(3, timeout=30)
    written: list[int] = []

    def source():
        for item in range(6):
            if item == DEPTH + 2:
                met.wait()
            yield item

    def work(item: int) -> int:
        if item == 2:
            met.wait()
        return item * item

    def write(item: int) -> None:
        if item == 1:
            met.wait()
        written.append(item)

    assert len(list(overlapped(source(), work, write))) == 6
    assert written == [0, 1, 4, 9, 16, 25]


def test_only_a_few_items_are_held():
    taken, written = [], []

    def source():
        for item in range(50):
            taken.append(item)
            yield item

    def write(item: int) -> None:
        time.sleep(0.001)
        written.append(item)
        assert len(taken) - len(written) <= 2 * DEPTH + 3

    list(overlapped(source(), lambda item: item, write))
    assert written == taken == list(range(50))


@pytest.mark.parametrize("part", ["source", "work", "write"])
def test_a_failure_of_any_part_is_raised(part: str):
    def fail(where: str, item: int) -> int:
        if where == part and item == 3:
            raise ValueError(f"{where} failed")
        return item

    def write(item: int) -> None:
        fail("write", item)

    source = (fail("source", item) for item in range(9))
    steps = overlapped(source, lambda item: fail("work", item), write)
    with pytest.raises(ValueError, match=f"{part} failed"):
        list(steps)


@pytest.mark.parametrize("source", ["in.png", "in"])
@pytest.mark.parametrize(
    ("match", "options"),
    [
        ("no backend 'foo', only loky, threading", ("--backend", "foo")),
        ("--jobs 0 is no number", ("--jobs", 0)),
        ("needs the address of a scheduler", ("--backend", "dask")),
        ("needs ray; install it with: pip install ray", ("--backend", "ray")),
    ],
)
def test_workers_that_do_not_exist(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    match: str,
    options: tuple[object, ...],
):
    monkeypatch.setitem(sys.modules, "ray", None)
    Path("in").mkdir()
    write_image("in/1.png", noise(4, 5, 3))
    write_image("in.png", noise(4, 5, 3))
    out = "out.png" if source == "in.png" else "out"
    fails(capsys, match, source, out, "--model", "x2.fxp", *options)


@pytest.mark.parametrize("options", [("--backend", "foo"), ("--jobs", "0")])
def test_other_commands_refuse_such_workers_for_one_image_too(
    capsys: pytest.CaptureFixture[str], options: tuple[str, str]
):
    write_image("in.png", noise(4, 5))
    for command in (["run", "x2.fxp", "in.png", "out.png"], ["psnr", "x2.fxp", "in.png"]):
        assert main([*command, *options]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(("error: no backend 'foo', only", "error: --jobs 0 is no number"))
    assert not Path("out.png").exists()
