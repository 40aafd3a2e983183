"""The embedded service: the API on this machine. A second, independent reading of the contract."""
