"""Verilog text with no Amaranth behind it."""
