"""The commands on small networks and pictures: results, errors, exit codes, whole files."""

import json
import subprocess
import sys
import textwrap
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image

import fxp
from fxp.cli import catalogue, main
from fxp.imaging.files import read_image, write_image
from fxp.imaging.quality import to_codes

NETWORKS = """
    import torch
    from torch import nn

    class Twice(nn.Module):
        def __init__(self, bias="0"):
            super().__init__()
            torch.manual_seed(1)
            self.conv = nn.Conv2d(1, 4, 3, padding=1)
            self.bias = float(bias)

        def forward(self, x):
            detail = nn.functional.pixel_shuffle(self.conv(x), 2) * 0.01
            return nn.functional.interpolate(x, scale_factor=2) + detail + self.bias

    same = nn.Conv2d(3, 3, 1, bias=False)
    nothing = 3

    linear = nn.Linear(4, 2)

    class Halving(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 1, bias=False)
            nn.init.ones_(self.conv.weight)

        def forward(self, x):
            small = nn.functional.max_pool2d(self.conv(x), 4)
            return nn.functional.interpolate(small, scale_factor=4)

    def text():
        return "text"

    def raises():
        return {}["missing"]

    def exported():
        return torch.export.export(linear.eval(), (torch.zeros(1, 4),)).module()
"""


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a module of networks, pictures, and a quantized model."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "networks_of_a_user.py").write_text(textwrap.dedent(NETWORKS))
    (folder / "photos").mkdir()
    rng = np.random.default_rng(0)
    for name in ("one.png", "two.png"):
        coarse = rng.integers(0, 256, (4, 5, 3), np.uint8)
        smooth = Image.fromarray(coarse).resize((40, 32), Image.Resampling.BICUBIC)
        smooth.save(folder / "photos" / name)
    write_image(folder / "grey.png", read_image(folder / "photos" / "one.png")[..., 0].copy())
    return folder


@pytest.fixture(autouse=True)
def _in_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    monkeypatch.setattr(sys, "path", [str(home), *sys.path])


@pytest.fixture(scope="session")
def model(home: Path) -> Path:
    """Path of a doubling luma model, written by the command."""
    sys.path.insert(0, str(home))
    path = home / "twice.fxp"
    arguments = ["--calibration", str(home / "photos"), "--out", str(path), "--divide-by", "256"]
    source = ["quantize", "networks_of_a_user:Twice"]
    assert main([*source, *arguments, "--input-format", "ap_ufixed<8,0>", "--limit", "1"]) == 0
    return path


def fails(capsys: pytest.CaptureFixture[str], match: str, *arguments: object) -> None:
    """Check that a command ends with code 1 and one line on standard error."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("error: ")
    assert match in lines[-1]
    assert "Traceback" not in "\n".join(lines)


def test_quantize_keeps_what_was_asked_for(model: Path):
    loaded = fxp.load(model)
    assert loaded.metadata["divide_by"] == "256"
    assert str(loaded.graph.inputs[0].format) == "ap_ufixed<8,0>"
    assert set(loaded.calibration_clipped) >= {"conv"}


def test_quantize_options(home: Path, capsys: pytest.CaptureFixture[str]):
    out = home / "options.fxp"
    arguments = ["networks_of_a_user:Twice", "--arg", "0.25", "--calibration", "photos", "--crop",
                 "12", "--weight-bits", "6", "--activation-bits", "9", "--method", "search",
                 "--rounding", "AP_RND_CONV", "--out", str(out)]  # fmt: skip
    assert main(["quantize", *arguments]) == 0
    assert "AP_RND_CONV" in capsys.readouterr().out
    graph = fxp.load(out).graph
    assert graph.constants_by_name["conv.weight"].formats[0].width == 6


def test_quantize_refinements(home: Path):
    tail = ["--calibration", "photos", "--weight-bits", "4", "--out"]
    graphs = {}
    for name, given in {
        "plain": [],
        "all": ["--equalization", "--bias-correction", "--weight-rounding", "learned"],
        "without biases": ["--bias-correction", "--no-add-biases"],
    }.items():
        out = str(home / f"{name}.fxp")
        assert main(["quantize", "networks_of_a_user:Halving", *given, *tail, out]) == 0
        graphs[name] = fxp.load(out).graph
    assert "conv.bias" in graphs["all"].constants_by_name
    assert graphs["without biases"] == graphs["plain"]


def test_quantize_colour_network_and_weights(home: Path):
    import torch

    torch.save({"weight": torch.full((3, 3, 1, 1), 0.25)}, home / "weights.pt")
    out = home / "same.fxp"
    # A file may lie anywhere, beside what it imports, and have the name of a package.
    (home / "sub").mkdir()
    (home / "sub" / "beside.py").write_text("from networks_of_a_user import same\n")
    (home / "sub" / "json.py").write_text("from beside import same\n")
    arguments = ["sub/json.py:same", "--weights", "weights.pt", "--calibration", "photos"]
    assert main(["quantize", *arguments, "--out", str(out)]) == 0
    image = np.full((3, 4, 4), 0.5, np.float32)
    assert np.array_equal(fxp.load(out)(image), np.full((3, 4, 4), 0.375, np.float32))
    assert main(["psnr", str(out), "photos"]) == 0


def test_quantize_on_arrays_needs_no_count_of_channels(home: Path):
    np.save(home / "vectors.npy", np.linspace(-1, 1, 8).reshape(2, 4))
    arguments = ["--calibration", "vectors.npy", "--out", "linear.fxp"]
    assert main(["quantize", "networks_of_a_user:linear", *arguments]) == 0


def test_quantize_errors(home: Path, capsys: pytest.CaptureFixture[str]):
    import torch

    tail = ("--calibration", "photos", "--out", "never.fxp")
    for match, source in (
        ("package.module:name", "networks_of_a_user"),
        ("cannot import 'missing_module'", "missing_module:x"),
        ("there is no file missing.py", "missing.py:x"),
        ("has no 'Thrice'", "networks_of_a_user:Thrice"),
        ("is a int, not a network", "networks_of_a_user:nothing"),
        ("gives a str", "networks_of_a_user:text"),
    ):
        fails(capsys, match, "quantize", source, *tail)
    twice = ("quantize", "networks_of_a_user:Twice")
    fails(capsys, "failed: ValueError: could not convert", *twice, "--arg", "x", *tail)
    fails(capsys, "failed: KeyError in", "quantize", "networks_of_a_user:raises", *tail)
    (home / "unreadable_code.py").write_text("def broken(:")
    fails(capsys, "SyntaxError: invalid syntax", "quantize", "unreadable_code:x", *tail)
    exported = ("quantize", "networks_of_a_user:exported", *tail)
    fails(capsys, "give the module that it was made from", *exported)
    torch.save({"other": torch.zeros(1)}, home / "other.pt")
    fails(capsys, "other.pt do not fit", *twice, "--weights", "other.pt", *tail)
    fails(capsys, "is a folder", *twice, *tail[:2], "--out", "photos")
    fails(capsys, "see --arg", *twice, "--arg", "1", "--arg", "2", *tail)
    fails(capsys, "no weights file", *twice, "--weights", "none.pt", *tail)
    (home / "broken.pt").write_bytes(b"broken")
    fails(capsys, "cannot read weights", *twice, "--weights", "broken.pt", *tail)
    fails(capsys, "no such file", *twice, "--calibration", "none", "--out", "never.fxp")
    fails(capsys, "cannot read", *twice, "--calibration", "broken.pt", "--out", "never.fxp")
    fails(capsys, "no folder", *twice, "--calibration", "photos", "--out", "none/never.fxp")
    fails(capsys, "fixed-point type name", *twice, "--input-format", "8 bit", *tail)
    assert not list(home.glob("**/never*"))


def test_usage_errors_give_two(capsys: pytest.CaptureFixture[str]):
    assert main(["quantize"]) == 2
    assert main(["no-such-command"]) == 2
    assert main(["quantize", "a:b", "--calibration", "x", "--out", "y", "--headroom", "-1"]) == 2


def test_info(model: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["info", str(model), "--graph"]) == 0
    output = capsys.readouterr().out
    for part in ("divide_by: 256", "conv2d", "bit", "parameters", "graph Twice (integer)"):
        assert part in output
    loaded = fxp.load(model)
    loaded.metadata["note"] = "\x1b[31mred"
    loaded.save(model.with_name("escape.fxp"))
    assert main(["info", str(model.with_name("escape.fxp"))]) == 0
    assert "note: \\x1b[31mred" in capsys.readouterr().out
    fails(capsys, "", "info", "photos/one.png")
    fails(capsys, "none.fxp", "info", "none.fxp")


def test_profile(model: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["info", str(model), "--profile", "--height", "6", "--width", "10"]) == 0
    output = capsys.readouterr().out
    assert "stages" in output
    assert "µs" in output
    assert main(["info", str(model), "--profile", "--height", "6", "--json"]) == 0
    stages = json.loads(capsys.readouterr().out)["stages"]
    assert all(stage["seconds"] > 0 for stage in stages)
    assert stages


def test_run_image(model: Path, home: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["run", str(model), "grey.png", "out.png"]) == 0
    loaded = fxp.load(model)
    expected = to_codes(loaded(read_image(home / "grey.png") / 256.0) * 256.0)
    assert np.array_equal(read_image(home / "out.png"), expected)
    fails(capsys, "must end in", "run", model, "grey.png", "never.xyz")
    fails(capsys, "no folder", "run", model, "grey.png", "none/never.png")
    assert not list(home.glob("**/never*"))


def test_run_keeps_names_apart(model: Path, home: Path, capsys: pytest.CaptureFixture[str]):
    fails(capsys, "would overwrite the images", "run", model, "photos", "photos")
    fails(capsys, "is a folder", "run", model, "grey.png", "photos")
    folder = home / "mixed"
    folder.mkdir()
    write_image(folder / "a.jpg", read_image(home / "grey.png"))
    # What comes out of a JPEG is written without loss.
    assert main(["run", str(model), "mixed", "mixed_out"]) == 0
    loaded = fxp.load(model)
    expected = to_codes(loaded(read_image(folder / "a.jpg") / 256.0) * 256.0)
    assert np.array_equal(read_image(home / "mixed_out" / "a.png"), expected)
    write_image(folder / "a.png", read_image(home / "grey.png"))
    fails(capsys, "2 images of mixed would be written to", "run", model, "mixed", "never")
    assert not list(home.glob("**/never*"))


def test_run_folder_and_array(model: Path, home: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["run", str(model), "photos", "enlarged", "--threads", "1"]) == 0
    assert sorted(path.name for path in (home / "enlarged").iterdir()) == ["one.png", "two.png"]
    np.save(home / "values.npy", np.full((5, 6), 0.5))
    assert main(["run", str(model), "values.npy", "result.npy"]) == 0
    assert np.load(home / "result.npy").shape == (10, 12)
    np.save(home / "text.npy", np.array(["text"]))
    fails(capsys, "real numbers", "run", model, "text.npy", "never.npy")
    # A header that announces more memory than there is.
    announced = {"descr": "<f8", "fortran_order": False, "shape": (10**14,)}
    with (home / "huge.npy").open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, announced)
    fails(capsys, "cannot read array huge.npy", "run", model, "huge.npy", "never.npy")
    np.save(home / "nan.npy", np.full((5, 6), np.nan))
    fails(capsys, "nan", "run", model, "nan.npy", "never.npy")
    assert not list(home.glob("**/never*"))


def test_psnr(model: Path, home: Path, capsys: pytest.CaptureFixture[str]):
    arguments = ["psnr", str(model), "photos", "--float", "networks_of_a_user:Twice"]
    assert main([*arguments, "--out", "figures.json"]) == 0
    output = capsys.readouterr().out
    assert "mean" in output
    assert "one.png" in output
    figures = json.loads((home / "figures.json").read_text())
    assert set(figures["mean"]) == {"bicubic", "float", "fixed"}
    assert abs(figures["mean"]["fixed"]["psnr"] - figures["mean"]["float"]["psnr"]) < 1
    fails(capsys, "", *arguments[:2], "photos", "--input", "none")


def test_psnr_table_and_figures_of_odd_cases(home: Path, capsys: pytest.CaptureFixture[str]):
    arguments = ["--calibration", "photos", "--crop", "8", "--divide-by", "256"]
    fixed = ["--input-format", "ap_ufixed<8,0>", "--output-format", "ap_ufixed<8,0>"]
    source = "networks_of_a_user:Halving"
    assert main(["quantize", source, *arguments, *fixed, "--out", "halving.fxp"]) == 0
    # The model takes multiples of four alone, and a name in brackets is no markup.
    write_image(home / "[red]odd.png", np.full((33, 46), 77, np.uint8))
    capsys.readouterr()
    assert main(["psnr", "halving.fxp", "[red]odd.png", "--out", "odd.json"]) == 0
    assert "[red]odd.png" in capsys.readouterr().out
    figures = json.loads((home / "odd.json").read_text(), parse_constant=pytest.fail)
    assert figures["scale"] == 1
    assert figures["border"] == 0
    # Equal images: the infinite PSNR is null, as JSON has no infinity.
    assert figures["mean"]["fixed"] == {"psnr": None, "ssim": 1.0}
    # Given inputs are of the whole image's size, and cut as it is.
    (home / "same").mkdir()
    write_image(home / "same" / "[red]odd.png", np.full((33, 46), 77, np.uint8))
    assert main(["psnr", "halving.fxp", "[red]odd.png", "--input", "same"]) == 0
    write_image(home / "same" / "[red]odd.png", np.full((32, 46), 77, np.uint8))
    arguments = ["halving.fxp", "[red]odd.png", "--input", "same"]
    fails(capsys, "is 46x32 pixels, not 46x33", "psnr", *arguments)
    fails(capsys, "no folder", "psnr", "halving.fxp", "grey.png", "--out", "none/never.json")
    write_image(home / "dot.png", np.zeros((3, 3), np.uint8))
    fails(capsys, "too small", "psnr", "halving.fxp", "dot.png")


def test_psnr_reads_given_inputs(model: Path, home: Path):
    (home / "small").mkdir()
    for path in (home / "photos").iterdir():
        write_image(home / "small" / path.name, np.zeros((16, 20), np.uint8))
    assert main(["psnr", str(model), "photos", "--input", "small", "--out", "dark.json"]) == 0
    assert json.loads((home / "dark.json").read_text())["mean"]["fixed"]["psnr"] < 15


def test_plugins(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    group = catalogue.PLUGIN_GROUP
    plugins = EntryPoints(
        [
            EntryPoint("greet", "plugged_in:greet", group),
            EntryPoint("broken", "no_such_package:command", group),
        ]
    )
    module = type(sys)("plugged_in")

    def greet(name: str = "you") -> None:
        """Say hello."""
        print(f"hello {name}")

    module.greet = greet  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "plugged_in", module)
    monkeypatch.setattr(catalogue, "entry_points", plugins.select)
    assert main(["--help"]) == 0
    listing = capsys.readouterr().out
    assert "greet" in listing
    assert "broken" in listing
    assert main(["greet", "--name", "all"]) == 0
    assert capsys.readouterr().out == "hello all\n"
    reason = "cannot be loaded: No module named 'no_such_package'"
    fails(capsys, reason, "broken")
    fails(capsys, reason, "broken", "--an-option", "1", "more")


def test_a_plugin_that_ends_the_process_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "plugged_in_to_exit.py").write_text("raise SystemExit('no licence')")
    monkeypatch.syspath_prepend(tmp_path)
    entry = EntryPoint("leave", "plugged_in_to_exit:leave", catalogue.PLUGIN_GROUP)
    monkeypatch.setattr(catalogue, "entry_points", EntryPoints([entry]).select)
    fails(capsys, "'leave' cannot be loaded: SystemExit: no licence", "leave")


def test_a_command_that_exits_with_a_text_shows_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    module = type(sys)("plugged_in")

    def leave() -> None:
        """Leave."""
        raise SystemExit("no licence")

    module.leave = leave  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "plugged_in", module)
    entry = EntryPoint("leave", "plugged_in:leave", catalogue.PLUGIN_GROUP)
    monkeypatch.setattr(catalogue, "entry_points", EntryPoints([entry]).select)
    fails(capsys, "no licence", "leave")


def test_a_plugin_may_hold_commands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    tools = typer.Typer()
    tools.command("one")(lambda: print("first"))
    tools.command("two")(lambda: print("second"))
    module = type(sys)("plugged_in")
    module.tools = tools  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "plugged_in", module)
    plugins = EntryPoints([EntryPoint("tools", "plugged_in:tools", catalogue.PLUGIN_GROUP)])
    monkeypatch.setattr(catalogue, "entry_points", plugins.select)
    assert main(["tools", "two"]) == 0
    assert capsys.readouterr().out == "second\n"


def test_an_interrupt_gives_130(model: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupt(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fxp, "load", interrupt)
    assert main(["info", str(model)]) == 130


def test_the_process(model: Path):
    command = [sys.executable, "-c", "import sys; from fxp.cli import main; sys.exit(main())"]
    done = subprocess.run([*command, "info", str(model)], capture_output=True, text=True)
    assert done.returncode == 0
    assert "parameters" in done.stdout
    done = subprocess.run([*command, "info", "none.fxp"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1


def test_help_is_quick_and_imports_nothing_heavy():
    code = (
        "import sys, fxp.cli; code = fxp.cli.main(['--help']);"
        "heavy = {'torch', 'numba', 'skimage', 'onnx'} & set(sys.modules);"
        "sys.exit(code if not heavy else f'imported {heavy}')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "demo" in done.stdout


def test_version(capsys: pytest.CaptureFixture[str]):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("fxp ")


@pytest.mark.parametrize("options", [("--jobs", "1"), ("--jobs", "2", "--backend", "loky")])
def test_a_bad_file_does_not_stop_the_others(
    options: tuple[str, ...], home: Path, model: Path, capsys: pytest.CaptureFixture[str]
):
    given, made = f"given{options[1]}", f"made{options[1]}"
    folder = home / given
    folder.mkdir()
    grey = read_image(home / "grey.png")
    for name in ("a.png", "b.png", "c.png"):
        write_image(folder / name, grey)
    (folder / "b.png").write_text("text")
    arguments = [str(model), given, "--threads", "1", "--json", *options]
    assert main(["run", str(model), given, made, *arguments[2:]]) == 1
    printed = capsys.readouterr()
    figures = json.loads(printed.out)
    assert [item["output"] for item in figures["images"]] == [f"{made}/a.png", f"{made}/c.png"]
    assert [item["input"] for item in figures["failed"]] == [f"{given}/b.png"]
    first, last = printed.err.strip().splitlines()
    assert first.startswith(f"failed: cannot read image {given}/b.png")
    assert last == f"error: 1 of 3 images are not run: {given}/b.png"
    assert sorted(path.name for path in (home / made).iterdir()) == ["a.png", "c.png"]
    expected = to_codes(fxp.load(model)(grey / 256.0) * 256.0)
    assert np.array_equal(read_image(home / made / "c.png"), expected)

    assert main(["psnr", *arguments, "--out", "three.json"]) == 1
    printed = capsys.readouterr()
    figures = json.loads(printed.out)
    assert list(figures["images"]) == [f"{given}/a.png", f"{given}/c.png"]
    assert figures["mean"] == figures["images"][f"{given}/a.png"]
    assert list(figures["failed"]) == [f"{given}/b.png"]
    assert json.loads((home / "three.json").read_text()) == figures
    assert printed.err.strip().splitlines()[-1] == (
        f"error: 1 of 3 images are not measured: {given}/b.png"
    )
    # What only one image was asked of fails in one line.
    fails(capsys, "error: cannot read image", "psnr", model, f"{given}/b.png")


def test_a_folder_is_never_written_onto_its_input(
    home: Path, model: Path, capsys: pytest.CaptureFixture[str]
):
    (home / "in").mkdir()
    (home / "out").mkdir()
    write_image(home / "in" / "a.png", read_image(home / "grey.png"))
    (home / "out" / "a.png").hardlink_to(home / "in" / "a.png")
    before = (home / "in" / "a.png").read_bytes()
    fails(capsys, "in/a.png", "run", model, "in", "out")
    assert (home / "in" / "a.png").read_bytes() == before
