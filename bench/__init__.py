"""Benchmarks, one module per claim; see bench/README.md."""
