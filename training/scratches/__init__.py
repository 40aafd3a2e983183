"""The network that finds scratches, dust and folds: see `python -m training.scratches --help`."""
