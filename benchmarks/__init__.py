"""Measurements: ``python -m benchmarks.NAME``. Ratios and differences within one run; machines are shared and noisy."""
