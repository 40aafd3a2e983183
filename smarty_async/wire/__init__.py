"""The API's messages and formats. Pure: no I/O and no asyncio, so any transport can use it."""
