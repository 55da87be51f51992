"""What hwgen reaches, measured: `python -m benchmarks`, or `make bench`."""
