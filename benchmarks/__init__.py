"""Measured against what people would write instead, and against the floor: ``python -m benchmarks``."""
