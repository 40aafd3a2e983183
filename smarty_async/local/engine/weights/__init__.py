"""Weights that are small and free enough to ship: docs/engine.md says whose they are."""
