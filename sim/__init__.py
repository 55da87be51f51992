"""Testbenches: text that runs beside a generated design, without hwgen."""
