"""Reads GraphQL documents, and type systems of the few forms that the second server has; stdlib only."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

_LEXEME = re.compile(
    r'(?:[\s,\ufeff]|\#[^\n\r]*)*(?:(?P<block>"""(?:\\"""|.)*?""")|(?P<string>"(?:\\.|[^"\\\n\r])*")'
    r"|(?P<number>-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<mark>\.\.\.|[{}()\[\]:=!$@])|(?P<end>\Z))",
    re.DOTALL,
)
_WORDS = {"true": True, "false": False, "null": None}


class RefusedError(Exception):
    """The document can't be answered; the text is the error's message."""


class Variable(NamedTuple):
    name: str


class Selection(NamedTuple):
    """A field; or a fragment, where ``name`` is ``None``: a spread one has a ``fragment``."""

    name: str | None
    key: str = ""
    arguments: Mapping[str, Any] = {}
    directives: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    selections: tuple[Selection, ...] = ()
    fragment: str | None = None


class Operation(NamedTuple):
    kind: str
    name: str | None
    variables: Mapping[str, tuple[str, bool, Any]]  # the type, whether there is a default, and that
    selections: tuple[Selection, ...]


class Member(NamedTuple):
    """A field of a type: its own type, and the types of its arguments."""

    type: str
    arguments: Mapping[str, str]


class Parser:
    """Reads a document, or the schema above, one lexeme at a time."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self.take()

    def take(self) -> str:
        """Go past a lexeme, and return it."""
        taken = getattr(self, "now", "")
        match = _LEXEME.match(self._text, self._at)
        if match is None:
            raise RefusedError(f"Parse error at offset {self._at}")
        self._at, self.kind = match.end(), match.lastgroup
        self.now = match[self.kind or "end"]
        return taken

    def skip(self, text: str) -> bool:
        """Go past this lexeme if it is the next, and say whether it was."""
        if self.kind in {"mark", "name"} and self.now == text:
            self.take()
            return True
        return False

    def expect(self, text: str) -> None:
        if not self.skip(text):
            raise RefusedError(f"Parse error: expected {text!r}, not {self.now!r}")

    def name(self) -> str:
        if self.kind != "name":
            raise RefusedError(f"Parse error: expected a name, not {self.now!r}")
        return self.take()

    def many(self, opening: str, read: Callable[[], Any], closing: str) -> list[Any]:
        self.expect(opening)
        items = [read()]
        while not self.skip(closing):
            items.append(read())
        return items

    def value(self) -> Any:
        kind = self.kind
        if self.skip("$"):
            return Variable(self.name())
        if self.skip("["):
            items = []
            while not self.skip("]"):
                items.append(self.value())
            return items
        if self.skip("{"):
            pairs = []
            while not self.skip("}"):
                pairs.append(self.pair())
            return dict(pairs)
        text = self.take()
        if kind == "block":
            return text[3:-3].replace('\\"""', '"""')
        if kind in {"string", "number"}:
            return json.loads(text)
        if kind == "name":
            return _WORDS.get(text, text)
        raise RefusedError(f"Parse error: unexpected {text!r}")

    def pair(self) -> tuple[str, Any]:
        name = self.name()
        self.expect(":")
        return name, self.value()

    def type(self) -> str:
        if self.skip("["):
            text = f"[{self.type()}]"
            self.expect("]")
        else:
            text = self.name()
        return text + ("!" if self.skip("!") else "")

    def arguments(self) -> dict[str, Any]:
        return dict(self.many("(", self.pair, ")")) if self.now == "(" and self.kind == "mark" else {}

    def directives(self) -> tuple[tuple[str, Mapping[str, Any]], ...]:
        found = []
        while self.skip("@"):
            found.append((self.name(), self.arguments()))
        return tuple(found)

    def selections(self) -> tuple[Selection, ...]:
        return tuple(self.many("{", self.selection, "}"))

    def selection(self) -> Selection:
        if self.skip("..."):
            if self.kind == "name" and self.now != "on":
                return Selection(None, fragment=self.name(), directives=self.directives())
            if self.skip("on"):
                self.name()
            return Selection(None, directives=self.directives(), selections=self.selections())
        key = name = self.name()
        if self.skip(":"):
            name = self.name()
        arguments, directives = self.arguments(), self.directives()
        nested = self.selections() if self.kind == "mark" and self.now == "{" else ()
        return Selection(name, key, arguments, directives, nested)

    def variable(self) -> tuple[str, tuple[str, bool, Any]]:
        self.expect("$")
        name = self.name()
        self.expect(":")
        kind = self.type()
        default = self.skip("=")
        return name, (kind, default, self.value() if default else None)

    def document(self) -> tuple[list[Operation], dict[str, tuple[Selection, ...]]]:
        operations, fragments = [], {}
        while self.kind != "end":
            if self.now == "{":
                operations.append(Operation("query", None, {}, self.selections()))
                continue
            kind = self.name()
            if kind == "fragment":
                name = self.name()
                self.expect("on")
                self.name()
                fragments[name] = self.selections()
            elif kind in {"query", "mutation", "subscription"}:
                name = self.name() if self.kind == "name" else None
                variables = dict(self.many("(", self.variable, ")")) if self.now == "(" else {}
                self.directives()
                operations.append(Operation(kind, name, variables, self.selections()))
            else:
                raise RefusedError(f"Parse error: unexpected {kind!r}")
        return operations, fragments

    def member(self) -> tuple[str, Member]:
        name, arguments = self.name(), {}
        if self.skip("("):
            while not self.skip(")"):
                argument = self.name()
                self.expect(":")
                arguments[argument] = self.type()
        self.expect(":")
        return name, Member(self.type(), arguments)

    def types(self) -> Iterator[tuple[str, tuple[str, Mapping[str, Member]]]]:
        while self.kind != "end":
            kind, name = self.name(), self.name()
            yield name, (kind, {} if kind == "scalar" else dict(self.many("{", self.member, "}")))
