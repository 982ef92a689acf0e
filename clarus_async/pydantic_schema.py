"""What pydantic, and so FastAPI, is told of a record: its fields, and that it checks them itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import GenericAlias, UnionType
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

import attrs

from clarus_async.unset import UNSET, Unset

_HIDDEN = "***"
_Problem: TypeAlias = tuple[tuple[int | str, ...], str, str]
"""Where it is, what kind of a problem it is, and why."""


class PydanticRecord:
    """A record that pydantic can read and write."""

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: Any) -> Any:  # noqa: ANN401  pydantic's own
        """Describe the record to pydantic."""
        return _schema(cls, handler)


def _schema(cls: type[Any], handler: Any) -> Any:  # noqa: ANN401
    """Describe a record.

    What we are given is not coerced, and has no field that is not known; what a server answered is read as far as it
    can be. What refuses to be pickled refuses to be written as JSON.
    """
    from pydantic_core import core_schema  # noqa: PLC0415  who asks has it

    # By `checked`.
    given = hasattr(cls.__init__, "__wrapped__")
    hints = get_type_hints(cls)
    described = {}
    for a in attrs.fields(cls):
        schema = handler.generate_schema(_plain(hints[a.name], a.default))
        if a.default is None or isinstance(a.default, int | float | str):
            schema = core_schema.with_default_schema(schema, default=a.default)
        described[a.name] = core_schema.typed_dict_field(schema, required=a.default is attrs.NOTHING)
    fields = core_schema.typed_dict_schema(
        described,
        cls_name=cls.__name__,
        config={"strict": given, "title": cls.__name__},
        extra_behavior="forbid" if given else "ignore",
    )
    return core_schema.no_info_wrap_validator_function(
        _reader(cls),
        fields,
        ref=f"{cls.__module__}.{cls.__qualname__}:{id(cls)}",
        serialization=core_schema.plain_serializer_function_ser_schema(_kept, info_arg=True)
        if _secretive(cls)
        else core_schema.plain_serializer_function_ser_schema(_written, return_schema=fields),
    )


def _plain(hint: Any, default: object) -> Any:  # noqa: ANN401
    """What JSON can hold of a type: what is left out is not there, and a configuration is an object."""
    members: tuple[Any, ...] = get_args(hint) if get_origin(hint) in {Union, UnionType} else (hint,)
    kept: list[Any] = [member for member in members if member is not Any and member != Literal[Unset.UNSET]]
    # Python has tuples, and JSON has lists.
    kept = [GenericAlias(Sequence, get_args(member)[:1]) if get_origin(member) is tuple else member for member in kept]
    return Union[tuple([*kept, None] if default is None else kept)]  # noqa: UP007  as many as there are


def _reader(cls: type[Any]) -> Callable[[Any, Callable[[Any], dict[str, Any]]], Any]:
    def read(value: Any, fields: Callable[[Any], dict[str, Any]]) -> Any:  # noqa: ANN401
        from pydantic_core import ValidationError  # noqa: PLC0415  who asks has it

        if isinstance(value, cls):
            return value
        try:
            # Frozen records hold tuples.
            values = {name: tuple(v) if isinstance(v, list) else v for name, v in fields(value).items()}
            return cls(**values)
        except ValidationError as error:
            told = error.errors(include_url=False, include_context=False, include_input=False)
            problems: list[_Problem] = [(one["loc"], one["type"], one["msg"]) for one in told]
        except ValueError as error:
            # Only an InvalidInputError has problems; the errors stand above this module, for they have records, too.
            if not hasattr(error, "problems"):
                raise
            problems = [((at,), "invalid_input", reason) for at, reason in error.problems]
        raise _refusal(cls, problems)

    # pydantic names what refuses a value by it.
    read.__name__ = read.__qualname__ = cls.__name__
    return read


def _refusal(cls: type[Any], problems: list[_Problem]) -> Exception:
    # pydantic's own would repeat what was given, which may be a secret.
    from pydantic_core import PydanticCustomError, ValidationError  # noqa: PLC0415  who asks has it

    return ValidationError.from_exception_data(
        cls.__name__,
        [
            {"type": PydanticCustomError(kind, reason), "loc": where, "input": _HIDDEN}
            for where, kind, reason in problems
        ],
        hide_input=True,
    )


def _written(value: Any) -> dict[str, Any]:  # noqa: ANN401
    if _secretive(type(value)):
        # A subclass of what is expected.
        value.__reduce__()
    return {a.name: item for a in attrs.fields(type(value)) if (item := getattr(value, a.name)) is not UNSET}


def _secretive(cls: type[Any]) -> bool:
    reduce: object = cls.__reduce__
    return reduce is not object.__reduce__


def _kept(value: Any, info: Any) -> Any:  # noqa: ANN401
    return value if info.mode == "python" else value.__reduce__()
