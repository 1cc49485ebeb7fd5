"""Which distributions are installed: `name==version` for each (META-4).

`importlib.metadata` parses whole files with the email package; here the first lines are enough, and between some
of them the thread pauses, so that a training beside it is not held up.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

__all__ = ["installed", "requirements_text"]

_HEAD_BYTES: Final = 4096
_FILES: Final = {".dist-info": "METADATA", ".egg-info": "PKG-INFO"}
_PAUSE_EVERY: Final = 16


def requirements_text(pause: Callable[[], None] = lambda: None) -> str:
    """The content of `requirements.txt`, sorted by name; a distribution found twice counts where Python finds it."""
    found = installed(sys.path, pause)
    return "".join(f"{name}=={version}\n" for name, version in sorted(found.items(), key=lambda item: item[0].lower()))


def installed(places: Iterable[str], pause: Callable[[], None] = lambda: None) -> dict[str, str]:
    """Version by name of what lies in these folders; the first counts. `pause` is called now and then."""
    found: dict[str, str] = {}
    seen: set[str] = set()
    for count, path in enumerate(_metadata_files(places)):
        if count % _PAUSE_EVERY == _PAUSE_EVERY - 1:
            pause()
        name, version = _head(path)
        if name and version and _normal(name) not in seen:
            seen.add(_normal(name))
            found[name] = version
    return found


def _metadata_files(places: Iterable[str]) -> Iterator[Path]:
    for place in dict.fromkeys(places):
        try:
            names = sorted(os.listdir(place or "."))
        except OSError:  # a zip file, or not there
            continue
        for name in names:
            file = _FILES.get(os.path.splitext(name)[1])
            if file is not None:
                folder = Path(place, name)
                yield folder / file if folder.is_dir() else folder


def _head(path: Path) -> tuple[str, str]:
    try:
        with path.open("rb") as file:
            text = file.read(_HEAD_BYTES).decode("utf-8", "replace")
    except OSError:
        return "", ""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        if not line:  # the description begins
            break
        key, colon, value = line.partition(":")
        if colon:
            fields.setdefault(key.lower(), value.strip())
    return fields.get("name", ""), fields.get("version", "")


def _normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")
