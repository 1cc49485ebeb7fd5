"""The filter as a frozen typed tree, and the one walk over it. It knows no document form and no SQL.

Negations stand outside (`$ne x` is Negate(Equals x)), so that "everything else, missing included"
holds by construction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar, assert_never

__all__ = [
    "AllOf",
    "AnyOf",
    "Compare",
    "CompareOp",
    "DictValue",
    "Equals",
    "Exists",
    "Field",
    "FieldType",
    "Filter",
    "FilterVisitor",
    "Instant",
    "Matches",
    "Negate",
    "OneOf",
    "Operand",
    "Source",
    "fields_of",
    "visit",
]

T = TypeVar("T")

Source = Literal["run", "attr", "config", "summary"]
FieldType = Literal["text", "state", "time", "number", "tags", "cell"]
CompareOp = Literal["$gt", "$gte", "$lt", "$lte"]


@dataclass(frozen=True, slots=True)
class Field:
    """Where a field's value stands.

    Source `run`: column `keys[0]` of the relation `runs`. All others: live facts of that kind; `keys` are stored
    keys (escaped paths), and for each run the first one that is present, as a leaf or as a dict of leaves, counts.
    """

    source: Source
    type: FieldType  # cell: the type is each run's own
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Instant:
    """A time, microseconds since the epoch UTC."""

    us: int


@dataclass(frozen=True, slots=True)
class DictValue:
    """A dict as an operand; keys are unique, their order means nothing."""

    items: tuple[tuple[str, Operand], ...]


Operand = None | bool | int | float | str | Instant | DictValue | tuple["Operand", ...]  # tuple: a list


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every part holds; without parts: true."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Some part holds; without parts: false."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Negate:
    """`part` does not hold."""

    part: Filter


@dataclass(frozen=True, slots=True)
class Equals:
    """The value, or an element of it when it is a list, equals `operand`. None: null or missing."""

    field: Field
    operand: Operand


@dataclass(frozen=True, slots=True)
class OneOf:
    """Equals one of `operands`; without operands: false."""

    field: Field
    operands: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Compare:
    """The value, or an element of it, is a number (string) ordered so against the number (string) `operand`."""

    field: Field
    op: CompareOp
    operand: Operand


@dataclass(frozen=True, slots=True)
class Exists:
    """The key is present, null included."""

    field: Field


@dataclass(frozen=True, slots=True)
class Matches:
    """The value, or an element of it, is a string in which `pattern` (RE2) is found."""

    field: Field
    pattern: str


Filter = AllOf | AnyOf | Negate | Equals | OneOf | Compare | Exists | Matches


class FilterVisitor(Protocol[T]):
    """One method per kind of node; parts arrive already visited."""

    def all_of(self, parts: list[T]) -> T: ...
    def any_of(self, parts: list[T]) -> T: ...
    def negate(self, part: T) -> T: ...
    def equals(self, node: Equals) -> T: ...
    def one_of(self, node: OneOf) -> T: ...
    def compare(self, node: Compare) -> T: ...
    def exists(self, node: Exists) -> T: ...
    def matches(self, node: Matches) -> T: ...


def visit(node: Filter, visitor: FilterVisitor[T]) -> T:
    """Walk bottom-up. A new kind of node fails type checking here until it has a case."""
    match node:
        case AllOf(parts):
            return visitor.all_of([visit(part, visitor) for part in parts])
        case AnyOf(parts):
            return visitor.any_of([visit(part, visitor) for part in parts])
        case Negate(part):
            return visitor.negate(visit(part, visitor))
        case Equals():
            return visitor.equals(node)
        case OneOf():
            return visitor.one_of(node)
        case Compare():
            return visitor.compare(node)
        case Exists():
            return visitor.exists(node)
        case Matches():
            return visitor.matches(node)
        case _:
            assert_never(node)


def fields_of(node: Filter) -> list[Field]:
    """Every field that the filter names, in order of appearance, once each."""
    match node:
        case AllOf(parts) | AnyOf(parts):
            return list(dict.fromkeys(field for part in parts for field in fields_of(part)))
        case Negate(part):
            return fields_of(part)
        case _:
            return [node.field]
