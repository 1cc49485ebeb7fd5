"""Filters as people write them in reports, `lr == 0.1 and State != 'failed'`, to a tree of conditions.

What a name means stands in `run_sets.py`; here it is only read. Comparisons, `and`, `or` and parentheses, no more:
what has no meaning is refused with its place, and nothing is narrowed.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import Any, Final, Literal

from tracker.query.errors import FilterError
from tracker.query.parse_filter import DEPTH_MAX

__all__ = ["SECTIONS", "Condition", "Conditions", "Group", "parse_filter_string"]

Section = Literal["", "config", "summary", "run", "keys_info", "tags"]
SECTIONS: Final[dict[str, Section]] = {
    "Config": "config",
    "SummaryMetric": "summary",
    "Summary": "summary",
    "Metric": "run",
    "KeysInfo": "keys_info",
    "Tags": "tags",
}

_TOKEN: Final = re.compile(
    r"""\s*(?:
    (?P<number>[+-]?(?:\d[\d_]*(?:\.[\d_]*)?|\.\d[\d_]*)(?:[eE][+-]?\d+)?(?!\w))
    |(?P<text>'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")
    |(?P<name>[^\W\d]\w*(?:[./]\w+)*)
    |(?P<sign>==|!=|<=|>=|<|>|[()\[\],])
    )""",
    re.VERBOSE,
)
_COMPARISONS: Final = {"==": "=", "is": "=", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">=", "in": "IN"}
_ORDERINGS: Final = frozenset({"<", "<=", ">", ">="})
_CONSTANTS: Final = {"True": True, "False": False, "None": None}
_OTHER_CONSTANTS: Final = {"true": "True", "false": "False", "null": "None", "none": "None"}
_WORDS: Final = frozenset({"and", "or", "not", "in", "is"})


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison. `op`: = != < <= > >= IN NIN. Section "": the name was written bare."""

    section: Section
    name: str
    op: str
    value: Any


@dataclass(frozen=True, slots=True)
class Group:
    """AND: every part holds; OR: some part does. There is at least one."""

    op: Literal["AND", "OR"]
    parts: tuple[Conditions, ...]


Conditions = Condition | Group


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # number, text, name, sign, end
    text: str
    at: int  # where it begins, characters


def parse_filter_string(text: str) -> Conditions | None:
    """The conditions that `text` writes; None where it holds nothing.

    On the left of a comparison stands a name (`lr`, `train/loss`, `opt.lr`; in quotes when it has other characters) or
    `Config("x")`, `SummaryMetric("x")`, `Metric("x")`, `Tags("x")`, `KeysInfo("x")`; on the right a number, a text
    (quotes may be left out with ==, !=, in and not in), True, False, None, or a list of them.

    Raises:
        FilterError: it is malformed. A ValueError.
    """
    return _Parser(text).whole()


class _Parser:
    """One walk over one text: or, then and, then comparisons and parentheses."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = _tokens(text)
        self._next = 0

    def whole(self) -> Conditions | None:
        if self._peek().kind == "end":
            return None
        found = self._joined("or", 0)
        if self._peek().kind != "end":
            raise self._refused(self._peek(), "`and`, `or` or the end")
        return found

    def _joined(self, word: Literal["or", "and"], depth: int) -> Conditions:
        parts = [self._part(word, depth)]
        while self._is("name", word):
            self._take()
            parts.append(self._part(word, depth))
        op: Literal["AND", "OR"] = "OR" if word == "or" else "AND"
        return parts[0] if len(parts) == 1 else Group(op, tuple(parts))

    def _part(self, word: str, depth: int) -> Conditions:
        if word == "or":
            return self._joined("and", depth)
        if not self._is("sign", "("):
            return self._comparison()
        opening = self._take()
        if depth == DEPTH_MAX // 2:  # an `and` inside an `or`: two levels of the document each
            raise FilterError(f"The filter is nested deeper than {depth} levels at character {opening.at + 1}.")
        inside = self._joined("or", depth + 1)
        self._expect("sign", ")")
        return inside

    def _comparison(self) -> Condition:
        section, name = self._left()
        op = self._operator()
        value = self._list() if op in ("IN", "NIN") else self._value(bare=op not in _ORDERINGS)
        following = self._peek()
        if following.text in _COMPARISONS or (following.text == "not" and following.kind == "name"):
            raise self._refused(following, "`and` or `or`; write `0 < x and x < 1` for two comparisons")
        return Condition(section, name, op, value)

    def _left(self) -> tuple[Section, str]:
        """Section and name of what is compared."""
        token = self._take()
        if token.kind == "text":
            return "", self._unquoted(token)
        if token.kind != "name" or token.text in _WORDS or token.text in _CONSTANTS:
            hint = " (instead of `not`: != or `not in`)" if token.text == "not" else ""
            raise self._refused(token, f"a name{hint}")
        if not self._is("sign", "("):
            return "", token.text
        if token.text not in SECTIONS:
            raise self._refused(token, f"one of {', '.join(f'{known}(...)' for known in SECTIONS)}")
        self._take()
        name = self._take()
        if name.kind != "text":
            raise self._refused(name, f'one name in quotes, {token.text}("...")')
        self._expect("sign", ")")
        return SECTIONS[token.text], self._unquoted(name)

    def _operator(self) -> str:
        token = self._take()
        if token.text == "not" and self._is("name", "in"):
            self._take()
            return "NIN"
        if token.kind in ("sign", "name") and token.text in _COMPARISONS:
            if token.text == "is" and self._is("name", "not"):
                self._take()
                return "!="
            return _COMPARISONS[token.text]
        raise self._refused(token, "==, !=, <, <=, >, >=, `in` or `not in`")

    def _list(self) -> list[Any]:
        opening = self._take()
        if opening.kind != "sign" or opening.text not in ("[", "("):
            raise self._refused(opening, "a list such as ['a', 'b']")
        closing = "]" if opening.text == "[" else ")"
        values: list[Any] = []
        while not self._is("sign", closing):
            values.append(self._value(bare=True))
            if not self._is("sign", closing):
                self._expect("sign", ",")
        self._take()
        return values

    def _value(self, *, bare: bool) -> Any:
        """`bare`: a word without quotes is a text."""
        if self._is("sign", "[") or self._is("sign", "("):
            return self._list()
        token = self._take()
        if token.kind == "number":
            return self._number(token)
        if token.kind == "text":
            return self._unquoted(token)
        if token.kind == "name" and token.text in _CONSTANTS:
            return _CONSTANTS[token.text]
        if token.text in _OTHER_CONSTANTS:
            raise self._refused(token, f"{_OTHER_CONSTANTS[token.text]}, or quotes around a text")
        if token.kind != "name" or token.text in _WORDS or self._is("sign", "("):
            raise self._refused(token, "a value")
        if not bare:
            raise self._refused(token, "a number or a text in quotes; two names cannot be compared")
        return token.text

    def _number(self, token: _Token) -> int | float:
        try:
            value = ast.literal_eval(token.text.lstrip("+-"))
        except (SyntaxError, ValueError):
            raise self._refused(token, "a number") from None
        assert isinstance(value, (int, float))
        return -value if token.text.startswith("-") else value

    def _unquoted(self, token: _Token) -> str:
        try:
            value = ast.literal_eval(token.text)
        except (SyntaxError, ValueError):
            raise self._refused(token, "a text in quotes") from None
        assert isinstance(value, str)
        return value

    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _is(self, kind: str, text: str) -> bool:
        token = self._peek()
        return token.kind == kind and token.text == text

    def _take(self) -> _Token:
        token = self._peek()
        self._next = min(self._next + 1, len(self._tokens) - 1)
        return token

    def _expect(self, kind: str, text: str) -> None:
        if not self._is(kind, text):
            raise self._refused(self._peek(), f"{text!r}")
        self._take()

    def _refused(self, token: _Token, wanted: str) -> FilterError:
        there = "The text ends" if token.kind == "end" else f"{token.text[:60]!r} stands"
        return FilterError(
            f"{there} at character {token.at + 1} of the filter {self._text[:80]!r} where {wanted} is expected."
        )


def _tokens(text: str) -> list[_Token]:
    found = []
    at = 0
    end = len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at, end)
        if match is None or match.lastgroup is None:
            here = at + len(text[at:]) - len(text[at:].lstrip())
            hint = " Write == to compare." if text[here] == "=" else ""
            where = f"at character {here + 1} of the filter {text[:80]!r}"
            raise FilterError(f"{text[here]!r} {where} has no meaning.{hint}")
        kind = match.lastgroup
        found.append(_Token(kind, match[kind], match.start(kind)))
        at = match.end()
    found.append(_Token("end", "", end))
    return found
