"""The examples in the documentation: the README, and the chapters, which are the docstrings of modules."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def docstring(path):
    return ast.get_docstring(ast.parse(path.read_text())) or ""


def module(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


README = (ROOT / "README.md").read_text()
CHAPTERS = {
    module(path): text for path in sorted((ROOT / "clarus_async").rglob("*.py")) if "\n# " in (text := docstring(path))
}
"""The text of each, by the name of its module."""
DOCUMENTS = {"README.md": README, **CHAPTERS}


def blocks(text, language="python"):
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


BLOCKS = [block for text in DOCUMENTS.values() for block in blocks(text)]

SERVICES = {
    name: next(block for block in BLOCKS if sign in block)
    for name, sign in (("fastapi", "exception_handler("), ("aiohttp", "cleanup_ctx"), ("short", "/{tenant}/shops/"))
}
"""Those that are a module of a web service."""
