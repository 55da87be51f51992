"""Runs of Yosys."""
