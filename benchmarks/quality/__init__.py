"""How much better the embedded service makes photos: see `python -m benchmarks.quality --help`."""
