"""The README's blocks of Python."""

import re
from pathlib import Path

BLOCKS = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[2] / "README.md").read_text(), re.DOTALL)

SERVICES = {
    name: next(block for block in BLOCKS if sign in block)
    for name, sign in (("fastapi", "FastAPI("), ("aiohttp", "cleanup_ctx"))
}
"""Those that are a module of a web service."""
