"""The embedded service: an independent reading of the contract, imports nothing of `wire` or `transport`."""
