"""Measurements of this machine, one module a claim; bench/README.md explains."""
