"""Records filled without the converter, where it has read an object of the same shape before.

A shape is the names of an object's members and the exact types of their values. The converter, which is strict, stays
the judge: only what it has read without finding anything odd is filled the next time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import NoneType
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T")

# The largest record that is known has 20; one with tens of thousands is not worth a function of its own.
_MOST_MEMBERS: Final = 100
# A server answers in a handful of shapes: what is null differs. One that answers in ever new ones is read strictly.
_MOST_SHAPES: Final = 64

Hook = Callable[[Any], Any]


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
        self._fillers: dict[tuple[object, ...], Callable[[Any], T]] = {}
        self._last: tuple[object, ...] = ()
        self._fill: Callable[[Any], T] = strict

    def __call__(self, data: dict[str, Any]) -> T:
        """Read an object."""
        shape = (*data, *map(type, data.values()))
        # The rows of a list are alike, and comparing is cheaper than hashing.
        if shape != self._last:
            fill = self._fillers.get(shape)
            if fill is None:
                return self._learn(data, shape)
            self._last, self._fill = shape, fill
        try:
            return self._fill(data)
        except Exception:  # noqa: BLE001  a hook's: the strict way says what it means
            return self._strict(data)

    def _learn(self, data: dict[str, Any], shape: tuple[object, ...]) -> T:
        record = self._strict(data)
        unknown = data.keys() - self._theirs.values()
        extra: Mapping[str, Any] = record.extra  # type: ignore[attr-defined]
        # An attribute that was not as expected is in ``extra``, too.
        if extra.keys() == unknown and len(data) <= _MOST_MEMBERS and len(self._fillers) < _MOST_SHAPES:
            kinds = {name: type(value) for name, value in data.items()}
            self._fillers[shape] = self._filler(kinds, [name for name in data if name in unknown])
        return record

    def _filler(self, kinds: Mapping[str, type], unknown: list[str]) -> Callable[[Any], T]:
        """Write the function that fills a record from objects with these members, as attrs writes ``__init__``."""
        values: dict[str, Any] = {"new": self._unfrozen.__new__, "unfrozen": self._unfrozen, "frozen": self._cls}
        lines = ["def fill(data):", "    record = new(unfrozen)"]
        for ours, theirs in self._theirs.items():
            value = f"data[{theirs!r}]" if theirs in kinds else "None"
            if (hook := self._hooks.get(ours, {}).get(kinds.get(theirs, NoneType))) is not None:
                values[f"read_{ours}"] = hook
                value = f"read_{ours}({value})"
            lines.append(f"    record.{ours} = {value}")
        extra = ", ".join(f"{name!r}: data[{name!r}]" for name in unknown)
        lines += [f"    record.extra = {{{extra}}}", "    record.__class__ = frozen", "    return record"]
        code = compile("\n".join(lines), f"<clarus_async fill {self._cls.__name__}>", "exec")
        exec(code, values)  # noqa: S102  of our attributes' names, and of the members' as literals
        fill: Callable[[Any], T] = values["fill"]
        return fill


def _unfrozen(cls: type[Any]) -> type[Any]:
    """Make a class whose instances take attributes, and can become the frozen class's."""
    # Both: with either of a frozen class's, Python looks methods up for every attribute that is set.
    methods = {"__setattr__": object.__setattr__, "__delattr__": object.__delattr__}
    return type(cls.__name__, (cls,), {"__slots__": (), **methods})
