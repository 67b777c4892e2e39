"""A benchmark that is told to end takes its compilers and simulators with it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

SCRIPT = """
import sys
from functools import partial
from pathlib import Path

from benchmarks import orderly
from fxp.support.processes import run_process

folder = Path(sys.argv[1])
orderly.run(partial(run_process, ["sh", "-c", "echo $$ > child; exec sleep 60"], folder))
"""


def test_children_end_with_a_benchmark(tmp_path: Path) -> None:
    words = [sys.executable, "-c", SCRIPT, tmp_path]
    root = Path(__file__).parents[1]
    with subprocess.Popen(words, cwd=root, stderr=subprocess.PIPE, text=True) as benchmark:
        told = tmp_path / "child"
        while not (told.is_file() and told.read_text().strip()):
            assert benchmark.poll() is None
            time.sleep(0.05)
        benchmark.send_signal(signal.SIGTERM)
        _, errors = benchmark.communicate(timeout=30)
    assert benchmark.returncode == 128 + signal.SIGTERM
    assert errors == "ended by SIGTERM\n"
    # The process is gone, or waits for whoever adopted it to ask how it ended.
    status = Path(f"/proc/{int(told.read_text())}/stat")
    assert not status.exists() or status.read_text().rsplit(")", 1)[1].split()[0] == "Z"
