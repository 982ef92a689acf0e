"""``UNSET``, which tells what is left out of a change from ``None``, which clears it."""

from enum import Enum
from typing import Final


class Unset(Enum):
    """The type of ``UNSET``."""

    UNSET = "UNSET"

    def __repr__(self) -> str:
        """The constant's name."""
        return "UNSET"


UNSET: Final = Unset.UNSET
"""In the changes of a record: leave this attribute as it is. (``None`` clears it.)"""
