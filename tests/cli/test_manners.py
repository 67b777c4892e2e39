"""How the command line behaves whatever it is asked: its help, errors, figures and outputs."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from cli_checks import error_of

import fxp
from fxp import Extent, FixedModel, Format, Graph, Node, Quantization, Value
from fxp.cli import main
from fxp.cli.messages import in_options
from fxp.graph.ops import Nearest
from fxp.imaging.files import read_image, write_image

COMMANDS = (
    *("quantize", "compress", "info", "report", "run", "psnr"),
    *("bitstream", "classify", "cosim", "deblur", "demo", "events", "export", "identify"),
    *("chain", "relight", "search", "synth", "upscale"),
)


def python(code: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, **options)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Path of a model that doubles grey images by repeating pixels; the test runs beside it."""
    monkeypatch.chdir(tmp_path)
    byte = Format(8, 0, signed=False)
    source = Value("grey", (1, Extent("H"), Extent("W")), byte)
    node = Node("twice", Nearest(2), ("grey",), Quantization(byte))
    FixedModel(Graph("doubling", (source,), (node,), ("twice",))).save(tmp_path / "twice.fxp")
    write_image(tmp_path / "grey.png", np.arange(24, dtype=np.uint8).reshape(4, 6))
    return tmp_path / "twice.fxp"


def json_of(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> dict:
    """Return the JSON object that is all a command writes to standard output."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == code
    return json.loads(capsys.readouterr().out, parse_constant=pytest.fail)


BLOCKED = ["typer", "rich", "click", "shellingham", "PIL", "skimage", "torch", "onnx"]


def without_extras(*arguments: str) -> subprocess.CompletedProcess[str]:
    return python(
        f"import sys\nfor name in {BLOCKED}: sys.modules[name] = None\n"
        f"from fxp.cli import main\nsys.exit(main({list(arguments)}))"
    )


def test_a_base_installation_tells_its_version_and_helps():
    done = without_extras("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"fxp \S+\n", done.stdout)
    done = without_extras("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert all(f"\n  {name} " in done.stdout for name in COMMANDS)
    assert without_extras().stdout == done.stdout


def test_a_base_installation_describes_models(model: Path):
    done = without_extras("info", str(model), "--graph")
    assert (done.returncode, done.stderr) == (0, "")
    assert "doubling" in done.stdout
    assert "twice" in done.stdout
    done = without_extras("info", str(model), "--json")
    assert json.loads(done.stdout)["outputs"] == ["twice"]
    done = without_extras("info", "none.fxp")
    assert done.returncode == 1
    assert done.stderr.startswith("error: none.fxp")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("command", "extras"),
    [
        ("run", "cli"),
        ("quantize", "torch,cli"),
        ("search", "search,cli"),
        ("cosim", "rtl"),
        ("demo", "models"),
    ],
)
def test_a_base_installation_names_the_extra_of_other_commands(command: str, extras: str):
    done = without_extras(command, "anything", "--option")
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: fxp {command} needs more than the base installation")
    assert f"[{extras}]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_missing_extra_is_named_by_other_commands():
    done = python(
        "import sys; sys.modules['torch'] = None\nfrom fxp.cli import main\n"
        "sys.exit(main(['quantize', 'a:b', '--calibration', 'c', '--out', 'd.fxp']))"
    )
    assert done.returncode == 1
    assert "needs torch; install it with: pip install" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_python_m_fxp():
    done = subprocess.run(
        [sys.executable, "-m", "fxp", "--version"], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert done.stdout.startswith("fxp ")


def test_the_shell_completes_commands_and_options():
    def completions(words: str) -> list[str]:
        environment = {"_FXP_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": "1"}
        count = {"COMP_CWORD": str(len(words.split()) - 1)}
        done = python(
            "import sys; from fxp.cli import main; sys.exit(main([]))",
            env={**os.environ, **environment, **count},
        )
        return done.stdout.split()

    assert completions("fxp qu") == ["quantize"]
    assert completions("fxp info --gr") == ["--graph"]
    assert completions("fxp export hls") == ["hls4ml"]


def test_the_list_of_commands_has_a_line_for_each_and_imports_none(capsys):
    done = python(
        "import sys, fxp.cli; fxp.cli.main(['--help'])\n"
        "heavy = {'torch', 'numba', 'skimage', 'onnx', 'fxp.hls.command', 'fxp.cli.info',"
        " 'fxp.models.sr.demo'} & set(sys.modules)\nsys.exit(str(heavy) if heavy else 0)"
    )
    assert done.returncode == 0, done.stderr
    for name in COMMANDS:
        assert re.search(rf"^  {name} +[A-Z]\w+ ", done.stdout, re.MULTILINE), name
    assert "--traceback" in done.stdout
    assert "--install-completion" in done.stdout


@pytest.mark.parametrize(
    "command",
    [
        *([name] for name in COMMANDS if name != "export"),
        *(["export", name] for name in ("onnx", "rtl", "hls4ml")),
    ],
    ids=" ".join,
)
def test_help_shows_every_option_in_full(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    from fxp.cli.application import _load
    from fxp.cli.catalogue import commands

    monkeypatch.setenv("COLUMNS", "80")
    assert main([*command, "--help"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert "Example: fxp " in text
    found = _load(next(entry for entry in commands() if entry.name == command[0]))
    for name in command[1:]:
        found = found.commands[name]
    words = "".join(text.split())
    for parameter in found.params:
        assert parameter.help, parameter.name
        assert "".join(parameter.help.split()) in words, parameter.name
        names = [*parameter.opts, *parameter.secondary_opts]
        assert all(name in words for name in names if name.startswith("-")), names


def test_a_defect_shows_a_trace_and_how_to_report_it(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def fail(path: Path) -> None:
        raise LookupError("nobody expected this")

    monkeypatch.setattr(fxp, "load", fail)
    assert main(["info", str(model)]) == 70
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert "LookupError: nobody expected this" in lines
    assert lines[-1].startswith("error: this is a defect of fxp: please report it")


@pytest.mark.parametrize("position", [0, 1, 2])
def test_traceback_stands_before_or_after_the_command(
    position: int, capsys: pytest.CaptureFixture[str]
):
    arguments = ["info", "none.fxp"]
    assert main(arguments) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
    arguments.insert(position, "--traceback")
    assert main(arguments) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1].startswith("error: none.fxp")


def test_warnings_and_logs_do_not_stand_before_an_error(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    load, fails = fxp.load, True

    def noisy(path: Path) -> FixedModel:
        warnings.warn("a library\nwarns", stacklevel=1)
        logging.getLogger("a library").critical("a library logs")
        if fails:
            raise fxp.FormatError("what matters")
        return load(path)

    monkeypatch.setattr(fxp, "load", noisy)
    handler = logging.StreamHandler(sys.stderr)
    monkeypatch.setattr(logging.getLogger("a library"), "handlers", [handler])
    assert error_of(capsys, "info", model) == "what matters"
    fails = False
    assert main(["info", str(model)]) == 0
    written = capsys.readouterr()
    assert written.err == "UserWarning: a library warns\n"
    assert "warns" not in written.out
    assert logging.root.manager.disable == logging.NOTSET


def test_messages_speak_of_options():
    options = {"overwrite": "--overwrite", "max_width": "--max-width", "fold": "--fold"}
    for python_text, text in (
        ("a exists; pass overwrite=True to replace it", "a exists; pass --overwrite to replace it"),
        ("max_width must be 1 to 9", "--max-width must be 1 to 9"),
        ("give max_width=64, fold=2.", "give --max-width 64, --fold 2."),
        ("fold shares multipliers", "fold shares multipliers"),
        ("value 'max_width' is missing", "value 'max_width' is missing"),
        ("no folder max_width/core", "no folder max_width/core"),
        ("cannot read my_max_width", "cannot read my_max_width"),
        ("the model's max_width", "the model's --max-width"),
    ):
        assert in_options(python_text, options) == text


def test_commands_translate_the_errors_of_the_library(
    model: Path, capsys: pytest.CaptureFixture[str]
):
    wide = error_of(capsys, "export", "rtl", model, "core", "--max-width", 70000)
    assert wide == "--max-width must be 1 to 65535, got 70000"
    shutters = ("--strategy", "distributed_arithmetic", "--reuse-factor", 2)
    text = error_of(capsys, "export", "hls4ml", model, "project", *shutters)
    assert "--reuse-factor" in text
    assert "reuse_factor" not in text


def test_no_message_names_a_temporary_file(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    from fxp.hls.synth import command as synth_command
    from fxp.hls.synth.tools import SynthesisError
    from fxp.rtl_sim import comparison
    from fxp.rtl_sim.simulators import SimulatorError

    def fail_to_synthesize(folder: Path, *_: object, **__: object) -> None:
        raise SynthesisError(f"yosys failed: no (see {folder / 'yosys.log'})")

    monkeypatch.setattr(synth_command, "synthesize", fail_to_synthesize)
    text = error_of(capsys, "synth", model)
    assert text == "yosys failed: no (see yosys.log); --build keeps its files"
    text = error_of(capsys, "synth", model, "--build", "kept")
    assert text == "yosys failed: no (see kept/yosys.log)"

    def fail_to_compile(core: Path, found: object, folder: Path, **_: object) -> None:
        raise SimulatorError(f"iverilog failed: {folder}/top.sv:3: error")

    monkeypatch.setattr(comparison, "build_bench", fail_to_compile)
    text = error_of(capsys, "cosim", model, "grey.png", "--simulator", "icarus")
    assert text == "iverilog failed: top.sv:3: error; --work-dir keeps such files"


@pytest.mark.parametrize("failing", ["mkstemp", "replace"])
def test_a_failure_to_write_names_the_file_that_was_asked_for(
    failing: str, model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def fail(*names: object, dir: object = "", prefix: str = "") -> None:
        name = names[0] if names else f"{dir}/{prefix}a1b2"
        raise PermissionError(13, "Permission denied", str(name))

    monkeypatch.setattr(tempfile if failing == "mkstemp" else os, failing, fail)
    text = error_of(capsys, "run", model, "grey.png", "out.png", "--divide-by", 1)
    assert text == "out.png: Permission denied"
    assert sorted(path.name for path in Path().iterdir()) == ["grey.png", "twice.fxp"]


def test_figures_of_info(model: Path, capsys: pytest.CaptureFixture[str]):
    figures = json_of(capsys, "info", model, "--json")
    assert figures["file"] == str(model)
    assert figures["name"] == "doubling"
    assert figures["parameters"] == 0
    assert [row["value"] for row in figures["values"]] == ["grey", "twice"]
    assert figures["values"][0]["shape"] == [1, "H", "W"]
    assert figures["values"][0]["format"] == "ap_ufixed<8,8>"
    assert "graph" not in figures
    assert "doubling" in json_of(capsys, "info", model, "--json", "--graph")["graph"]


def test_figures_of_run(model: Path, capsys: pytest.CaptureFixture[str]):
    figures = json_of(
        capsys, "run", model, "grey.png", "out.png", "--divide-by", 1, "--threads", 1, "--json"
    )
    (image,) = figures["images"]
    assert image["seconds"] > 0
    del image["seconds"]
    assert image == {
        "input": "grey.png", "output": "out.png", "shape": [1, 8, 12], "clipped": 0.0
    }  # fmt: skip
    assert figures["divide_by"] == 1
    assert np.array_equal(
        read_image("out.png"), np.arange(24, dtype=np.uint8).reshape(4, 6).repeat(2, 0).repeat(2, 1)
    )


def test_figures_of_psnr(model: Path, capsys: pytest.CaptureFixture[str]):
    write_image("flat.png", np.full((32, 32), 77, np.uint8))
    arguments = ("psnr", model, "flat.png", "--divide-by", 1, "--json", "--out", "figures.json")
    figures = json_of(capsys, *arguments)
    assert figures["scale"] == 2
    # Equal images have an infinite PSNR, which JSON does not have.
    assert figures["mean"]["fixed"] == {"psnr": None, "ssim": 1.0}
    assert json.loads(Path("figures.json").read_text()) == figures


def test_figures_of_quantize(tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    # No other test imports a module of this name.
    Path("a_network_for_figures.py").write_text("import torch\nnet = torch.nn.Conv2d(1, 2, 1)\n")
    np.save("values.npy", np.linspace(0, 1, 16).reshape(1, 1, 4, 4))
    source = "a_network_for_figures:net"
    options = ("--effort", "fast", "--json")
    figures = json_of(
        capsys, "quantize", source, "--calibration", "values.npy", "--out", "n.fxp", *options
    )
    assert figures["file"] == "n.fxp"
    assert figures["parameters"] == 4
    assert figures["metadata"] == {
        "divide_by": "255",
        "fxp.refinements": '{"effort": "fast", "trials": []}',
    }


def test_figures_of_cosim(model: Path, capsys: pytest.CaptureFixture[str]):
    arguments = ("cosim", model, "grey.png", "--simulator", "icarus", "--json")
    figures = json_of(capsys, *arguments)
    assert figures["bit_exact"] is True
    assert figures["difference"] is None
    assert figures["pixels"] == 24
    assert figures["stalls"] == "none/none"
    assert figures["core"] == "doubling"


def test_tables_in_a_pipe_are_never_folded(model: Path, capsys: pytest.CaptureFixture[str]):
    name = f"{'long_name_' * 20}.png"
    write_image(name, np.full((32, 32), 77, np.uint8))
    assert main(["psnr", str(model), name, "--divide-by", "1"]) == 0
    assert name in capsys.readouterr().out


def test_export_writes_onnx_and_cores(model: Path, capsys: pytest.CaptureFixture[str]):
    import onnxruntime

    assert main(["export", "onnx", str(model), "twice.onnx"]) == 0
    written = capsys.readouterr()
    assert (written.out, written.err) == ("wrote twice.onnx\n", "")
    session = onnxruntime.InferenceSession("twice.onnx")
    image = np.array([[[[1, 2], [3, 255]]]], np.int64)
    (result,) = session.run(None, {"grey": image})
    assert isinstance(result, np.ndarray)
    assert result.tolist() == [
        [[[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 255, 255], [3, 3, 255, 255]]]
    ]  # fmt: skip
    size = ("--max-width", "64", "--max-height", "48", "--initial-size", "32x16")
    assert main(["export", "rtl", str(model), "core", *size, "--raster", "--name", "mine"]) == 0
    core = json.loads(Path("core/core.json").read_text())
    assert (core["name"], core["max_width"], core["max_height"]) == ("mine", 64, 48)
    assert (core["initial_width"], core["initial_height"], core["raster"]) == (32, 16, True)
    refused = error_of(capsys, "export", "rtl", model, "other", "--initial-size", "32*16")
    assert "WIDTHxHEIGHT" in refused
    assert not Path("other").exists()


def test_what_lies_in_the_working_directory_does_no_harm(model: Path, tmp_path: Path):
    folder = tmp_path / "hostile"
    folder.mkdir()
    for name in ("models", "hls", "rtl_sim", "fxp_demo"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise SystemExit('imported')")
    for name in ("numpy", "typer", "rich", "torch", "PIL", "numba"):
        (folder / f"{name}.py").write_text("raise SystemExit('imported')")
    script = tmp_path / "fxp_script.py"
    script.write_text("import sys\nfrom fxp.cli import main\nsys.exit(main())\n")
    root = Path(__file__).parents[2]
    for arguments in (
        ("info", str(model)),
        ("run", str(model), str(tmp_path / "grey.png"), "out.png"),
        ("export", "onnx", str(model), "out.onnx"),
        ("upscale", "--help"),
        ("demo", "--help"),
    ):
        done = subprocess.run(
            [sys.executable, str(script), *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(root)},
        )
        assert done.returncode == 0, done.stderr


def test_usage_errors_are_free_of_the_words_of_libraries(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    for arguments, choices in (
        (
            ("synth", "a.fxp", "--target", "foo"),
            "'ecp5-12k', 'ecp5-25k', 'ecp5-45k', 'ecp5-85k', 'xilinx-us', 'gowin-18k'",
        ),
        (("export", "hls4ml", "a.fxp", "out", "--io-type", "foo"), "'io_stream', 'io_parallel'"),
    ):
        assert main(list(arguments)) == 2
        text = capsys.readouterr().err
        assert f"Invalid value for '{arguments[-2]}': 'foo' is not one of {choices}." in text
        assert "Value error" not in text


def test_messages_list_choices_in_plain_words(model: Path, capsys: pytest.CaptureFixture[str]):
    text = error_of(capsys, "run", model, "grey.png", "out.xyz")
    assert text == (
        "out.xyz must end in .bmp, .jp2, .jpeg, .jpg, .npy, .pgm, .png, .ppm, .tif, .tiff or .webp"
    )
    text = error_of(capsys, "upscale", "grey.png", "out.png", "--model", "best")
    assert "no shipped model 'best', only kimsr_x2" in text
    assert "[" not in text


def test_cosim_takes_the_arrays_that_run_takes(model: Path, capsys: pytest.CaptureFixture[str]):
    np.save("two.npy", np.linspace(0, 0.99, 48).reshape(2, 1, 4, 6))
    np.save("odd.npy", np.zeros((1, 3, 4, 6)))
    np.save("flat.npy", np.zeros(6))
    assert main(["run", str(model), "two.npy", "out.npy"]) == 0
    figures = json_of(capsys, "cosim", model, "two.npy", "--simulator", "icarus", "--json")
    assert (figures["bit_exact"], figures["frames"], figures["pixels"]) == (True, 2, 48)
    text = error_of(capsys, "cosim", model, "odd.npy", "--simulator", "icarus")
    assert text.startswith("odd.npy has shape (1, 3, 4, 6); the model takes (1, H, W)")
    text = error_of(capsys, "run", model, "odd.npy", "odd_out.npy")
    assert text == "odd.npy: input 'grey' needs shape (1, H, W), got (3, 4, 6)"
    text = error_of(capsys, "cosim", model, "flat.npy", "--simulator", "icarus")
    assert text.startswith("flat.npy has shape (6,); the model takes (1, H, W)")
