"""A page of HTML taken apart, and a text that would break out of one that escapes too little."""

from __future__ import annotations

from html.parser import HTMLParser

EVIL = "</td><script>alert(1)</script>\" onload='x' <b>&amp;"


class Tags(HTMLParser):
    """Names of the tags, their attributes, and the text between them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data

    def values(self, name: str) -> list[str]:
        return [value or "" for known, value in self.attributes if known == name]
