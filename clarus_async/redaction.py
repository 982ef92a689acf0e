"""What code that is not ours raised, and where: its class and its line, and none of the values that it may quote."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Final

# What a mock raises is raised in its file, too: that one of the standard library's tells more than whoever called it.
_STANDARD: Final = sys.stdlib_module_names - {"unittest"}
_TRANSPORT: Final = frozenset({"aiohttp", "aiosignal", "clarus_async", "frozenlist", "multidict", "propcache", "yarl"})

MISTAKES: Final = (
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    NotImplementedError,
    RecursionError,
    TypeError,
)
"""What code raises that is wrong, and will be wrong the next time."""


def raised(error: BaseException) -> str:
    """Say what was raised, and where, outside of the standard library if anywhere.

    Args:
        error: as it was caught.
    """
    last = _last(error.__traceback__)
    if last is None:
        return type(error).__name__
    code = last.tb_frame.f_code
    return f"{type(error).__name__} at {code.co_filename}:{last.tb_lineno} in {code.co_name}"


def by_others(error: BaseException) -> bool:
    """Whether it was raised neither by us nor by aiohttp.

    Args:
        error: as it was caught.
    """
    last = _last(error.__traceback__)
    return last is not None and _package(last) not in _TRANSPORT


def _last(traceback: TracebackType | None) -> TracebackType | None:
    last = traceback
    while traceback is not None:
        if _package(traceback) not in _STANDARD:
            last = traceback
        traceback = traceback.tb_next
    return last


def _package(traceback: TracebackType) -> str:
    return str(traceback.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
