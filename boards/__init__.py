"""Boards, one per file."""
