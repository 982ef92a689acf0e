"""Records filled without the converter, where it has read an object of the same shape before.

A shape is the names of an object's members and the exact types of their values. The converter, which is strict, stays
the judge: only what it has read without finding anything odd is filled the next time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T")

# The largest record that is known has 20; one with tens of thousands is not worth a function of its own.
_MOST_MEMBERS: Final = 100
# A server answers in a handful of shapes: what is null differs. One that answers in ever new ones is read strictly.
_MOST_SHAPES: Final = 64

Hook = Callable[[Any], Any]
# Fills a record; returns None, or raises, where the object is of another shape.
_Filler = Callable[[Mapping[str, Any]], T | None]


class ShapeReader(Generic[T]):
    """Reads a class from objects.

    Args:
        cls: the class, frozen.
        strict: reads any object.
        theirs: what the server calls each attribute.
        hooks: turn values of some attributes, by their type, into others, or raise where they can't.
    """

    def __init__(
        self,
        cls: type[T],
        strict: Callable[[Any], T],
        theirs: Mapping[str, str],
        hooks: Mapping[str, Mapping[type, Hook]],
    ) -> None:
        self._strict = strict
        self._cls = cls
        self._unfrozen = _unfrozen(cls)
        self._theirs = theirs
        self._hooks = hooks
        self._fillers: dict[tuple[object, ...], _Filler[T]] = {}
        # That of the last object: the rows of a list are alike.
        self._fill: _Filler[T] = _fill_nothing

    def read(self, data: dict[str, Any]) -> T:
        """Read an object."""
        try:
            record = self._fill(data)
        except Exception:  # noqa: BLE001  a member is missing, or a hook can't read its value
            record = None
        return self._read_by_shape(data) if record is None else record

    def _read_by_shape(self, data: dict[str, Any]) -> T:
        shape = (*data, *map(type, data.values()))
        fill = self._fillers.get(shape)
        if fill is None:
            return self._learn(data, shape)
        tried, self._fill = self._fill, fill
        # Where it was tried already, a hook can't read a value: the strict way says what that means.
        return self._strict(data) if fill is tried else self.read(data)

    def _learn(self, data: dict[str, Any], shape: tuple[object, ...]) -> T:
        record = self._strict(data)
        unknown = set(data).difference(self._theirs.values())
        extra: Mapping[str, Any] = record.extra  # type: ignore[attr-defined]
        # An attribute that was not as expected is in ``extra``, too.
        if extra.keys() == unknown and len(data) <= _MOST_MEMBERS and len(self._fillers) < _MOST_SHAPES:
            self._fillers[shape] = self._fill = self._filler(data, unknown)
        return record

    def _filler(self, example: Mapping[str, Any], unknown: set[str]) -> _Filler[T]:
        """Write the function that fills a record from objects of this shape, as attrs writes ``__init__``."""
        known = {ours: theirs for ours, theirs in self._theirs.items() if theirs in example}
        kinds = {ours: type(example[theirs]) for ours, theirs in known.items()}
        hooks = {ours: self._hooks[ours][kind] for ours, kind in kinds.items() if kind in self._hooks.get(ours, ())}
        values = dict.fromkeys(self._theirs, "None") | {ours: f"value_{ours}" for ours in known}
        values |= {ours: f"read_{ours}(value_{ours})" for ours in hooks}
        values["extra"] = f"{{{', '.join(f'{name!r}: data[{name!r}]' for name in example if name in unknown)}}}"
        types = "".join(f"type(value_{ours} := data[{theirs!r}]), " for ours, theirs in known.items())
        lines = [
            "def fill(data):",
            f"    if len(data) != {len(example)} or ({types}) != kinds:",
            "        return None",
            "    record = unfrozen()",
            *(f"    record.{ours} = {value}" for ours, value in values.items()),
            "    record.__class__ = frozen",
            "    return record",
        ]
        code = compile("\n".join(lines), f"<clarus_async fill {self._cls.__name__}>", "exec")
        names: dict[str, Any] = {"unfrozen": self._unfrozen, "frozen": self._cls, "kinds": tuple(kinds.values())}
        names |= {f"read_{ours}": hook for ours, hook in hooks.items()}
        exec(code, names)  # noqa: S102  of our attributes' names, and of the members' as literals
        fill: _Filler[T] = names["fill"]
        return fill


def _fill_nothing(_: object) -> None:
    return None


def _unfrozen(cls: type[Any]) -> type[Any]:
    """Make a class whose instances take attributes, and can become the frozen class's."""
    # Both: with either of a frozen class's, Python looks methods up for every attribute that is set.
    methods = {"__setattr__": object.__setattr__, "__delattr__": object.__delattr__, "__init__": object.__init__}
    return type(cls.__name__, (cls,), {"__slots__": (), **methods})
