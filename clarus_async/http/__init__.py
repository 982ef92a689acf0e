"""The adapter of aiohttp: the only room that imports it."""
