"""Describes exceptions of foreign code: their class and place, without the values that their text may quote."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Final

# A mock raises in a file of the standard library, which tells more than the code that called it.
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
"""Exceptions of code that is wrong, and will raise again the next time."""


def describe_exception(error: BaseException) -> str:
    """Return an exception's class and where it was raised, outside of the standard library if anywhere."""
    last = _last(error.__traceback__)
    if last is None:
        return type(error).__name__
    code = last.tb_frame.f_code
    return f"{type(error).__name__} at {code.co_filename}:{last.tb_lineno} in {code.co_name}"


def raised_by_foreign_code(error: BaseException) -> bool:
    """Whether an exception was raised neither by this package nor by aiohttp."""
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
