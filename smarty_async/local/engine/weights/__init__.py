"""Weights that are small and free enough to ship: whose they are is told in docs/engine.md."""
