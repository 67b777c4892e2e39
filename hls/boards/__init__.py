"""Whole designs for boards: a core, a picture, a monitor, and registers by the serial port."""

from fxp.hls.boards.boards import BOARDS, MODES, Board, VideoMode
from fxp.hls.boards.design import BoardDesign, emit_board
from fxp.hls.boards.flow import Bitstream, build_bitstream

__all__ = [
    "BOARDS",
    "MODES",
    "Bitstream",
    "Board",
    "BoardDesign",
    "VideoMode",
    "build_bitstream",
    "emit_board",
]
