"""The network that removes noise and JPEG damage: see `python -m training.cleaning --help`."""
