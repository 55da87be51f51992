"""Arithmetic units."""
