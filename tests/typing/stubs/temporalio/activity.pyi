# As much of temporalio 1.x as the README shows; the package itself takes 50 MB.
from collections.abc import Callable
from typing import Any, TypeVar

_F = TypeVar("_F", bound=Callable[..., Any])

def defn(fn: _F) -> _F: ...
