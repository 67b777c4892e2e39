"""The code blocks of a Markdown page, and the user's files that its commands mention."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import skimage.data

from fxp.imaging.files import write_image

ROOT = Path(__file__).resolve().parents[2]
WRITTEN_BY_BENCHMARKS = ROOT / "docs" / "benchmarks"
PAGES = (
    *sorted(ROOT.glob("*.md")),
    *sorted(
        path for path in (ROOT / "docs").rglob("*.md") if WRITTEN_BY_BENCHMARKS not in path.parents
    ),
)
_FENCE = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^\n]*) -->\n)?"
    r"(?P<indent> *)```(?P<kind>[^\n]*)\n(?P<text>.*?)^(?P=indent)```$",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, where it begins, and why it is not run, if so."""

    kind: str
    text: str
    line: int
    reason: str | None

    @property
    def file(self) -> str | None:
        """Name of the file that the reader is told to write the block to."""
        found = re.search(r'title="([^"]+)"', self.kind)
        return found and found[1]

    @property
    def language(self) -> str:
        """First word after the fence."""
        return self.kind.partition(" ")[0]

    def commands(self) -> list[str]:
        """Lines that begin with ``$``, continued lines joined, without comments."""
        joined = re.sub(r"\\\n\s*", "", self.text)
        lines = [line[2:] for line in joined.splitlines() if line.startswith("$ ")]
        return [re.sub(r"\s+#.*", "", line) for line in lines]


def blocks(page: str) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    return [
        Block(
            found["kind"].strip(),
            re.sub(f"^{found['indent']}", "", found["text"], flags=re.MULTILINE),
            page.count("\n", 0, found.start()) + 1,
            found["reason"],
        )
        for found in _FENCE.finditer(page)
    ]


def write_user_files(folder: Path) -> None:
    """Write the pictures and the video that the pages take for granted.

    These are ``photo.png``, ``photo.jpg``, the folder ``photos``, and a frame of video as
    ``in.y4m`` (64 by 48 pixels) and ``in.yuv`` (1920 by 1080).
    """
    photograph = skimage.data.astronaut()[60:108, 190:254]
    (folder / "photos").mkdir()
    for name in ("photo.png", "photo.jpg", "photos/one.png", "photos/two.png"):
        write_image(folder / name, photograph)
    planes = np.full(48 * 64 * 3 // 2, 128, np.uint8).tobytes()
    (folder / "in.yuv").write_bytes(np.full(1920 * 1080 * 3 // 2, 128, np.uint8).tobytes())
    (folder / "in.y4m").write_bytes(b"YUV4MPEG2 W64 H48 F25:1 Ip A1:1 C420jpeg\nFRAME\n" + planes)
