"""``fxp events``: recordings to frames, and what is wrong with them."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import event_files
import numpy as np
import pytest
import torch
from cli_checks import error_of
from numpy.typing import NDArray
from PIL import Image

import fxp
from fxp import Extent, FixedModel, Graph, Node, Quantization, Value
from fxp.cli import main
from fxp.executors import oracle
from fxp.formats import Format
from fxp.graph.ops import Relu
from fxp.imaging import video
from fxp.imaging.files import read_image, write_image
from fxp.models.events import command
from fxp.models.events.events import Events
from fxp.models.events.networks import Cista
from fxp.models.events.preview import MOST_FRAMES, MOST_PIXELS, Preview
from fxp.models.events.reconstruct import Reconstructor
from fxp.models.events.voxel import fixed_grid
from fxp.support.errors import ArgumentError

SIZE = (11, 7)
COUNT = 90


def recorded() -> Events:
    random = np.random.default_rng(5)
    times = np.sort(random.integers(0, 100_000, COUNT))
    return Events.of(times, *(random.integers(0, side, COUNT) for side in (*SIZE, 2)))


def lines(events: Events) -> bytes:
    columns = zip(*(getattr(events, name).tolist() for name in "txyp"), strict=True)
    return b"11 7\n" + event_files.text(list(columns))


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that takes even sizes, and remembers its last picture."""
    torch.manual_seed(3)
    network = Cista(2, iterations=1).eval()
    model = fxp.quantize(
        network,
        [torch.randn(3, 5, 8, 12)],
        states=network.state_pairs(),
        initial_states=network.initial_states(8, 12),
        effort="fast",
        hold_states=False,
    )
    path = tmp_path_factory.mktemp("models") / "cista.fxp"
    model.save(path)
    return path


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("cista.fxp").symlink_to(model_path)
    Path("events.txt").write_bytes(lines(recorded()))


def frames_of(path: str) -> list[NDArray[np.uint8]]:
    with open(path, "rb") as stream:
        form = video.read_header(stream)
        assert (form.width, form.height) == SIZE
        return [frame[0] for frame in video.read_frames(stream, form)]


def expected_frames(windows: list[Events]) -> list[NDArray[np.uint8]]:
    """Run the oracle on grids that are reflected to 8 rows and 12 columns."""
    graph = fxp.load("cista.fxp").graph
    (source,), result = graph.inputs, graph.values[graph.outputs[0]]
    assert source.format is not None
    assert result.format is not None
    states, frames = None, []
    for window in windows:
        grid = fixed_grid(window, SIZE, source.format)
        # Row 1 is repeated before row 0, and column 1 before column 0.
        larger = np.concatenate([grid[:, 1:2], grid], 1)
        larger = np.concatenate([larger[:, :, 1:2], larger], 2)
        found = oracle.run(graph, [larger.astype(np.int64)], states)
        states = found.states
        value = found.outputs[0][0, 1:, 1:] / 2**result.format.frac
        frames.append(np.clip(np.floor(255 * value + 0.5), 0, 255).astype(np.uint8))
    return frames


def run(*arguments: object) -> None:
    assert main(["events", *map(str, arguments), "--model", "cista.fxp"]) == 0


def test_frames_are_those_of_the_oracle(capsys: pytest.CaptureFixture[str]):
    run("events.txt", "out.y4m", "--window", 40)
    events = recorded()
    expected = expected_frames([events[:40], events[40:80]])
    assert all(map(np.array_equal, frames_of("out.y4m"), expected))
    assert len(frames_of("out.y4m")) == 2
    assert expected[0].std() > 0
    assert Path("out.y4m").read_bytes().startswith(b"YUV4MPEG2 W11 H7 F30:1 Ip A1:1 Cmono\n")
    assert "wrote out.y4m: 2 frames from 80 events" in capsys.readouterr().out


def test_a_folder_of_frames_with_their_times():
    run("events.txt", "frames", "--window", "20ms")
    events = recorded()
    first = int(events.t[0])
    ends = [first + 20_000 * number for number in range(1, 5)]
    starts = [int(np.searchsorted(events.t, end)) for end in [first, *ends]]
    windows = [events[a:b] for a, b in pairwise(starts)]
    names = [f"frame_{number:07d}.png" for number in range(4)]
    assert sorted(path.name for path in Path("frames").iterdir()) == [*names, "timestamps.txt"]
    for name, frame in zip(names, expected_frames(windows), strict=True):
        assert np.array_equal(read_image(f"frames/{name}"), frame)
    listed = Path("frames/timestamps.txt").read_text().splitlines()
    assert listed == [f"{end} {name}" for end, name in zip(ends, names, strict=True)]


def test_frames_of_an_earlier_run_do_not_stay():
    run("events.txt", "frames", "--window", "20")
    assert len(list(Path("frames").glob("*.png"))) == 4
    run("events.txt", "frames", "--window", "40")
    names = sorted(path.name for path in Path("frames").iterdir())
    assert names == ["frame_0000000.png", "frame_0000001.png", "timestamps.txt"]


def contents(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


@pytest.mark.parametrize("fault", ["short", "outside", "interrupt"])
def test_a_run_without_a_frame_changes_nothing(fault: str, monkeypatch: pytest.MonkeyPatch):
    run("events.txt", "frames", "--window", "20")
    Path("frames/frame_0000004.png").write_bytes(b"of somebody else")
    before = contents("frames")
    Path("outside.txt").write_bytes(b"11 7\n10 11 0 1\n")
    source = "outside.txt" if fault == "outside" else "events.txt"
    if fault == "interrupt":

        def interrupted(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(Reconstructor, "frame", interrupted)
    window = "1000" if fault == "short" else "20"
    for folder in ("frames", "new"):
        arguments = ["events", source, folder, "--model", "cista.fxp", "--window", window]
        assert main(arguments) != 0
    assert contents("frames") == before
    assert not Path("new").exists()


def test_a_run_that_ends_early_lists_its_frames(monkeypatch: pytest.MonkeyPatch):
    run("events.txt", "frames", "--window", "20")
    made = []

    def interrupted(path: Path, image: NDArray[np.uint8]) -> None:
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(image)
        write_image(path, image)

    monkeypatch.setattr(command, "write_image", interrupted)
    assert main(["events", "events.txt", "frames", "--model", "cista.fxp", "--window", "20"]) != 0
    ends = recorded().t[[19, 39]].tolist()
    names = ["frame_0000000.png", "frame_0000001.png"]
    listed = [f"{end} {name}\n" for end, name in zip(ends, names, strict=True)]
    assert Path("frames/timestamps.txt").read_text() == "".join(listed)
    assert sorted(contents("frames")) == [*names, "timestamps.txt"]


def test_a_first_frame_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    run("events.txt", "frames", "--window", "20")
    before = contents("frames")
    monkeypatch.setattr(command, "write_image", full)
    for folder in ("frames", "new"):
        assert main(["events", "events.txt", folder, "--model", "cista.fxp", "--window", "20"]) == 1
    assert contents("frames") == before
    assert not Path("new").exists()


@pytest.mark.parametrize(
    ("options", "rate", "count"),
    [
        (["--fps", "50"], b"F50:1", 4),
        (["--window", "0.02s"], b"F50:1", 4),
        (["--window", "20000us", "--fps", "12.5"], b"F25:2", 4),
        (["--window", "30", "--fps", "7"], b"F7:1", 3),
    ],
)
def test_windows_and_rates(options: list[str], rate: bytes, count: int):
    run("events.txt", "out.y4m", *options)
    assert rate in Path("out.y4m").read_bytes().split(b"\n")[0].split(b" ")
    assert len(frames_of("out.y4m")) == count


def test_a_pipe_from_end_to_end_without_pytorch():
    code = "import sys; sys.modules['torch'] = None; from fxp.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "events", "-", "-", "--model", "cista.fxp",
               "--window", "40"]  # fmt: skip
    done = subprocess.run(command, input=lines(recorded()), capture_output=True, check=True)
    run("events.txt", "out.y4m", "--window", 40)
    assert done.stdout == Path("out.y4m").read_bytes()
    assert b"wrote standard output: 2 frames" in done.stderr


def test_what_is_broken_gives_the_frames_before_it(capsys: pytest.CaptureFixture[str]):
    events = recorded()
    Path("cut.txt").write_bytes(lines(events)[:-3])
    assert main(["events", "cut.txt", "out.y4m", "--model", "cista.fxp", "--window", "40"]) == 1
    written = capsys.readouterr()
    assert written.err.startswith("error: line 91 is cut short")
    assert "2 frames before that are written" in written.err
    assert len(frames_of("out.y4m")) == 2
    Path("back.txt").write_bytes(lines(Events.joined([events, events])))
    arguments = ["events", "back.txt", "back", "--model", "cista.fxp", "--window", "40", "--json"]
    assert main(arguments) == 1
    written = capsys.readouterr()
    assert "the time goes back" in written.err
    figures = json.loads(written.out)
    assert (figures["frames"], figures["events"]) == (2, 80)
    assert "the time goes back" in figures["error"]
    assert len(list(Path("back").glob("*.png"))) == 2


def test_what_cannot_be_done(capsys: pytest.CaptureFixture[str]):
    def refused(*arguments: object) -> str:
        return error_of(capsys, "events", *arguments, "--model", "cista.fxp")

    assert "one window; see --window" in refused("events.txt", "out.y4m", "--window", 1000)
    assert not Path("out.y4m").exists()
    assert "| ffmpeg -i - out.mp4" in refused("events.txt", "out.mp4")
    assert "give a folder" in refused("events.txt", "out.png")
    assert "cannot read missing" in refused("missing", "out.y4m")
    assert "--window must be" in refused("events.txt", "out.y4m", "--window", "20min")
    assert "--window must be" in refused("events.txt", "out.y4m", "--window", "0")
    assert "--window must be" in refused("events.txt", "out.y4m", "--window", "1.5")
    assert "--fps must be a number" in refused("events.txt", "out.y4m", "--fps", "inf")
    assert "WIDTHxHEIGHT" in refused("events.txt", "out.y4m", "--size", "11")
    assert "--json writes" in refused("events.txt", "-", "--json")
    Path("none.txt").write_bytes(b"10 0 0 1\n")
    assert "give its size" in refused("none.txt", "out.y4m")
    outside = "outside the sensor of 5x5"
    assert outside in refused("events.txt", "out.y4m", "--size", "5x5")
    assert "which is read" in refused("events.txt", ".")


@pytest.mark.parametrize(
    ("module", "start"),
    [("h5py", b"\x89HDF"), ("aedat", b"#!AER-DAT4.0"), ("rosbags.typesys", b"#ROSBAG V2.0")],
)
def test_a_missing_library_is_named(
    module: str,
    start: bytes,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setitem(sys.modules, module, None)
    Path("recording").write_bytes(start + bytes(99))
    error = error_of(capsys, "events", "recording", "out.y4m", "--model", "cista.fxp")
    assert f"this needs {module}; install it with: pip install" in error
    assert "[events]" in error


@pytest.mark.parametrize("name", ["small.gif", "small.webp", "small.apng"])
def test_a_preview_shows_the_same_frames(name: str):
    run("events.txt", "out.y4m", "--window", 40, "--fps", 10, "--preview", name)
    frames = frames_of("out.y4m")
    with Image.open(name) as animation:
        assert (animation.size, getattr(animation, "n_frames", 1)) == (SIZE, len(frames))
        for number, frame in enumerate(frames):
            animation.seek(number)
            assert np.array_equal(np.asarray(animation.convert("L")), frame)
            assert animation.info["duration"] == 100


def test_a_long_preview_leaves_frames_out():
    preview = Preview(Fraction(50))
    for number in range(2 * MOST_FRAMES + 1):
        preview.add(np.full((2, MOST_PIXELS + 10), number % 250, np.uint8))
    # Of 241 frames there are 0, 4, 8 ... 240, each shown for four fiftieths of a second.
    assert preview.milliseconds == 80
    preview.write("long.webp")
    with Image.open("long.webp") as animation:
        assert (animation.size, getattr(animation, "n_frames", 1)) == ((165, 1), 61)
        animation.seek(60)
        assert np.asarray(animation.convert("L")).tolist() == [[240] * 165]


def test_previews_that_cannot_be(capsys: pytest.CaptureFixture[str]):
    arguments = ("events", "events.txt", "out.y4m", "--model", "cista.fxp", "--preview")
    assert "must end in .apng, .gif or .webp" in error_of(capsys, *arguments, "small.png")
    assert "no folder missing" in error_of(capsys, *arguments, "missing/small.gif")
    Path("linked.gif").symlink_to("cista.fxp")
    assert "is read; give another name" in error_of(capsys, *arguments, "linked.gif")
    assert not Path("out.y4m").exists()


def test_events_outside_can_be_dropped():
    events = recorded()
    run("events.txt", "out.y4m", "--size", "6x7", "--drop-outside", "--window", 30)
    inside = int((events.x < 6).sum())
    with open("out.y4m", "rb") as stream:
        form = video.read_header(stream)
        assert len(list(video.read_frames(stream, form))) == inside // 30
    assert (form.width, form.height) == (6, 7)


def identity(shape: tuple[int | Extent, ...]) -> FixedModel:
    form = Format(8, 4)
    value = Value("grid", shape, form)
    node = Node("result", Relu(), ("grid",), Quantization(form))
    return FixedModel(Graph("identity", (value,), (node,), ("result",)))


def test_pixels_of_any_picture():
    """Three bins that pass through: their mean is the picture, and 1 is white."""
    events = Events.of([0, 0, 0, 10], [0, 0, 1, 1], [0, 0, 0, 0], [1, 1, 1, 1])
    work = Reconstructor(identity((3, Extent("H"), Extent("W"))), (2, 1))
    # Sums of 2, 1 and 1 have the mean 4/3 and the deviation sqrt(2)/3: 1.41, -0.71 and -0.71.
    # 1.4142 is 23 sixteenths; a third of it times 255 is 122.19.
    assert work.frame(events).tolist() == [[122, 0]]
    stretched = Reconstructor(identity((3, Extent("H"), Extent("W"))), (2, 1), stretch=True)
    assert stretched.frame(events).tolist() == [[255, 0]]
    assert work.frame(events[:0]).tolist() == [[0, 0]]


def test_models_that_take_no_grid():
    fixed = identity((5, 4, 6))
    assert Reconstructor(fixed, (5, 4)).frame(recorded()[:0]).shape == (4, 5)
    with pytest.raises(ArgumentError, match="takes 6 columns, but the sensor has 7"):
        Reconstructor(fixed, (7, 4))
    with pytest.raises(ArgumentError, match="a sensor of 1 columns is too small"):
        Reconstructor(fixed, (1, 4))
    with pytest.raises(ArgumentError, match="must take one voxel grid"):
        Reconstructor(identity((7,)), (7, 4))


def test_a_state_goes_through_a_file_and_not_to_another_model(tmp_path: Path):
    model = fxp.load("cista.fxp")
    events = recorded()
    first = Reconstructor(model, SIZE)
    first.frame(events[:40])
    first.stream.save_state(tmp_path / "state")
    second = Reconstructor(model, SIZE)
    second.stream.load_state(tmp_path / "state")
    assert np.array_equal(first.frame(events[40:80]), second.frame(events[40:80]))
    other = Reconstructor(identity((5, Extent("H"), Extent("W"))), SIZE)
    with pytest.raises(fxp.FormatError, match="the state of another model"):
        other.stream.load_state(tmp_path / "state")
