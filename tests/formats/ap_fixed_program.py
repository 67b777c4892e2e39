"""A C++ program that converts raw integers with the ``ap_fixed`` templates of the hls4ml wheel."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import itertools
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from formats_exact import overflows_of, sample_raw
from numpy.typing import NDArray

from fxp.formats import Format, IntArray, Overflow, Rounding

# Every template is used through its base class, which holds all the conversions: the public
# `ap_fixed` and `ap_ufixed` only forward to it, and cost the compiler as much time again.
PRELUDE = r"""
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>
#include "ap_fixed.h"

static std::vector<int64_t> values;

static void read_values() {
  int64_t count;
  if (fread(&count, sizeof count, 1, stdin) != 1) exit(2);
  values.resize(count);
  if (fread(values.data(), sizeof(int64_t), count, stdin) != size_t(count)) exit(3);
}

static void write_value(int64_t raw) {
  if (fwrite(&raw, sizeof raw, 1, stdout) != 1) exit(4);
}

template <class Source, class Target> void convert_raw() {
  for (int64_t value : values) {
    Source source;
    source.V = value;
    Target target;
    target = source;
    write_value(target.V);
  }
}

template <class Target> void convert_double() {
  for (int64_t value : values) {
    double real;
    memcpy(&real, &value, sizeof real);
    write_value(Target(real).V);
  }
}
"""

MODE_LOOPS = """
template <class Source, int W, int I, bool S, ap_q_mode Q> void raw_overflows() {
%(raw_overflows)s}
template <int W, int I, bool S, ap_q_mode Q> void double_overflows() {
%(double_overflows)s}
template <class Source, int W, int I, bool S> void raw_case() {
  read_values();
%(raw_roundings)s}
template <int W, int I, bool S> void double_case() {
  read_values();
%(double_roundings)s}
"""

MAIN = """
int main(int count, char **) {
  if (count > 1) {  // The header itself ends the program here.
    ap_ufixed<4, 4, AP_RND, AP_WRAP_SM> refused = 1.0;
    return 0;
  }
%s  return 0;
}
"""


@dataclass(frozen=True)
class RawCase:
    """Raw integers of one format on their way to another."""

    source: Format
    target: Format
    raw: IntArray


@dataclass(frozen=True)
class DoubleCase:
    """Floats on their way to a format."""

    target: Format
    values: NDArray[np.float64]


Modes = tuple[Rounding, Overflow]
Results = list[dict[Modes, IntArray]]


def header_folder() -> Path:
    """Folder of ``ap_fixed.h`` in the installed hls4ml, found without importing it."""
    found = importlib.util.find_spec("hls4ml")
    if found is None or not found.submodule_search_locations:
        raise RuntimeError("hls4ml is not installed: pip install --no-deps hls4ml==1.3.0")
    folder = Path(found.submodule_search_locations[0], "templates", "vivado", "ap_types")
    if not (folder / "ap_fixed.h").is_file():
        raise RuntimeError(f"hls4ml has no ap_fixed.h in {folder}")
    return folder


def template(format_: Format) -> str:
    """Template arguments of a format."""
    return f"{format_.width}, {format_.integer}, {str(format_.signed).lower()}"


def _source_text(raw_cases: Sequence[RawCase], double_cases: Sequence[DoubleCase]) -> str:
    def overflow_calls(call: str) -> str:
        lines = []
        for overflow in Overflow:
            guard = "if constexpr (S) " if overflow is Overflow.WRAP_SIGN_MAGNITUDE else ""
            target = f"ap_fixed_base<W, I, S, Q, {overflow.value}>"
            lines.append(f"  {guard}{call % target}();\n")
        return "".join(lines)

    def rounding_calls(call: str) -> str:
        return "".join(f"  {call}{rounding.value}>();\n" for rounding in Rounding)

    loops = MODE_LOOPS % {
        "raw_overflows": overflow_calls("convert_raw<Source, %s>"),
        "double_overflows": overflow_calls("convert_double<%s>"),
        "raw_roundings": rounding_calls("raw_overflows<Source, W, I, S, "),
        "double_roundings": rounding_calls("double_overflows<W, I, S, "),
    }
    calls = [
        f"  raw_case<ap_fixed_base<{template(case.source)}>, {template(case.target)}>();\n"
        for case in raw_cases
    ]
    calls += [f"  double_case<{template(case.target)}>();\n" for case in double_cases]
    return PRELUDE + loops + MAIN % "".join(calls)


class ApFixedProgram:
    """The compiled program with the results of all its cases."""

    def __init__(
        self, folder: Path, raw_cases: Sequence[RawCase], double_cases: Sequence[DoubleCase]
    ) -> None:
        self.raw_cases, self.double_cases = raw_cases, double_cases
        self.path = _compiled(folder, _source_text(raw_cases, double_cases))
        inputs = [case.raw for case in raw_cases]
        inputs += [case.values.view(np.int64) for case in double_cases]
        sent = b"".join(np.int64(array.size).tobytes() + array.tobytes() for array in inputs)
        done = subprocess.run([self.path], input=sent, stdout=subprocess.PIPE, check=True)
        received = np.frombuffer(done.stdout, dtype=np.int64)
        results = self._split(received)
        self.raw_results: Results = [next(results) for _ in raw_cases]
        self.double_results: Results = [next(results) for _ in double_cases]

    def _split(self, received: IntArray) -> Iterator[dict[Modes, IntArray]]:
        sizes = [(case.target, case.raw.size) for case in self.raw_cases]
        sizes += [(case.target, case.values.size) for case in self.double_cases]
        total = sum(size * len(Rounding) * len(overflows_of(target)) for target, size in sizes)
        if received.size != total:
            raise RuntimeError(f"the program wrote {received.size} integers, expected {total}")
        start = 0
        for target, size in sizes:
            modes = list(itertools.product(Rounding, overflows_of(target)))
            block = received[start : start + size * len(modes)].reshape(len(modes), size)
            start += block.size
            yield dict(zip(modes, block, strict=True))

    def run_refused(self) -> subprocess.CompletedProcess[str]:
        """Let the program construct an unsigned sign-magnitude wrap."""
        return subprocess.run([self.path, "refuse"], capture_output=True, text=True, check=False)


def _compiled(folder: Path, text: str) -> Path:
    """Compile `text`, or return the program already compiled from the same text and headers."""
    headers = header_folder()
    compiler = os.environ.get("CXX", "g++")
    # For a shift beyond the source width, the header reads a bit above the top one and then does
    # not use it; its assertion against such reads ends a program compiled without NDEBUG.
    command = [compiler, "-std=c++17", "-O0", "-DNDEBUG", "-w", "-pipe", f"-I{headers}"]
    command += ["-fno-exceptions", "-fno-asynchronous-unwind-tables"]  # a fifth less to compile
    version = subprocess.run([compiler, "--version"], capture_output=True, check=True).stdout
    digest = hashlib.sha256(text.encode() + version + " ".join(command).encode())
    for header in sorted(headers.rglob("*.h")):
        digest.update(header.read_bytes())
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / f"ap_fixed_{digest.hexdigest()[:16]}.cpp"
    program = source.with_suffix("")
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            source.write_text(text)
            unfinished = source.with_suffix(".unfinished")
            subprocess.run([*command, str(source), "-o", str(unfinished)], check=True)
            unfinished.replace(program)
    return program


def raw_cases() -> list[RawCase]:
    """Return pairs of formats: all raws of small sources, borders and random raws of wide ones."""
    pairs = []
    for source_signed, target_signed in itertools.product((True, False), repeat=2):
        source = Format(8, 4, source_signed)
        # (width, right shift); -3 gives a negative I, 8 and 11 an I above W.
        for width, shift in ((4, 3), (3, 8), (4, -3), (5, 0 if source_signed else 11)):
            pairs.append((source, Format(width, source.frac - shift, target_signed)))
    pairs += [
        (Format(8, 11), Format(2, 9)),  # negative I on both sides
        (Format(8, -3, False), Format(1, -6, False)),  # one bit, I above W on both sides
        (Format(8, 4), Format(1, 0)),  # the sign bit alone
        (Format(8, 4), Format(5, 3)),
        (Format(63, 32), Format(63, 43)),
        (Format(63, 32), Format(40, 7)),
        (Format(40, 37), Format(63, 60)),
        (Format(63, 32, False), Format(63, 20, False)),
        (Format(63, 62), Format(14, 8)),
        (Format(62, 30), Format(63, 29, False)),
        (Format(63, 1, False), Format(62, 0)),
    ]
    return [
        RawCase(source, target, sample_raw(source, 300, seed))
        for seed, (source, target) in enumerate(pairs)
    ]


def double_cases() -> list[DoubleCase]:
    """Return formats, each with floats on its grid and its ties, and floats of every magnitude."""
    cases = []
    targets = [Format(14, 8), Format(12, -4), Format(63, 32), Format(4, 0), Format(10, 13, False)]
    for seed, target in enumerate(targets):
        generator = np.random.default_rng(seed)
        quarters = np.arange(-600, 600) / 4
        period = 2.0**target.width
        centers = [0, target.max_raw, target.min_raw, -period, period, 3 * period]
        borders = np.concatenate([center + quarters for center in centers])
        random = generator.normal(size=600) * 2.0 ** generator.integers(-4, target.width + 4, 600)
        anything = generator.normal(size=400) * 10.0 ** generator.integers(-300, 300, 400)
        special = [0.0, -0.0, 5e-324, -5e-324, 2e-310, -2e-310, 1e308, -1e308, 0.5, -0.5]
        on_grid = np.concatenate([borders, random, random.astype(np.float32)]) * target.step
        cases.append(DoubleCase(target, np.concatenate([on_grid, anything, special])))
    return cases
