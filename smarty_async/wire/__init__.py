"""What the service speaks. Pure: no I/O, no asyncio; any transport could run it."""
