"""Orders: `-summary_metrics.acc`, several separated by commas or in a list, to keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tracker.query.errors import FilterError, FilterTypeError
from tracker.query.fields import bind_field
from tracker.query.filter_tree import Field

__all__ = ["DEFAULT_ORDER", "Order", "OrderKey", "parse_order", "parse_sweep_order"]

DEFAULT_ORDER: Final = "+created_at"
_KEYS_MAX: Final = 32
_SWEEP_WORDS: Final = frozenset({"createdAt", "updatedAt", "name", "sweep"})
_SWEEP_HEADS: Final = frozenset({"config", "summary_metrics", "tags"})


@dataclass(frozen=True, slots=True)
class OrderKey:
    """Numbers first, then strings, then bools; what has no place (missing, null, NaN, lists, dicts) comes last.

    The direction turns the order inside each of these, never their sequence.
    """

    field: Field
    descending: bool


@dataclass(frozen=True, slots=True)
class Order:
    """Ties fall to the next key; after the last one to creation time, then run id, both ascending."""

    keys: tuple[OrderKey, ...]


def parse_order(order: str | Sequence[str] | None) -> Order:
    """The order that `order` asks for: a field with optional `+` or `-`; no sign means ascending.

    A string may hold several, separated by commas; a list holds one each (for keys with commas). None is the default.

    Raises:
        FilterError: an unknown field, an empty name, too many keys.
        FilterTypeError: neither a string nor a list of strings.
    """
    if order is None:
        order = DEFAULT_ORDER
    if not isinstance(order, (str, list, tuple)) or not all(isinstance(name, str) for name in order):
        raise FilterTypeError(f'An order is a string such as "-summary_metrics.loss", or a list, not {order!r:.80}.')
    names = [name.strip() for name in order.split(",")] if isinstance(order, str) else list(order)
    if len(names) > _KEYS_MAX:
        raise FilterError(f"The order has {len(names)} keys; at most {_KEYS_MAX} are allowed.")
    return Order(tuple(_parse_key(name) for name in names))


def parse_sweep_order(order: str) -> Order:
    """As the sweep's side reads it: no sign means descending, and a bare word is a summary metric."""
    sign, name = (order[0], order[1:]) if order[:1] in {"+", "-"} else ("-", order)
    head, dot, _ = name.partition(".")
    if (head not in _SWEEP_HEADS) if dot else (name not in _SWEEP_WORDS):
        name = f"summary_metrics.{name}"
    return Order((OrderKey(bind_field(name, where="order"), descending=sign == "-"),))


def _parse_key(text: str) -> OrderKey:
    name = text[1:] if text[:1] in {"+", "-"} else text
    if not name:
        raise FilterError(f'The order "{text}" names no field. Write for example "-summary_metrics.loss".')
    return OrderKey(bind_field(name, where="order"), descending=text[0] == "-")
