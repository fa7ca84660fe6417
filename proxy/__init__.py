"""The aiohttp application: request → task → card → upstream → meter."""
