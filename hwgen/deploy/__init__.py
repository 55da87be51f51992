"""Designs on boards: the project, its clock and pins, and the bitstream by open tools."""

from hwgen.deploy.board import Board, board_named, boards

__all__ = ["Board", "board_named", "boards"]
