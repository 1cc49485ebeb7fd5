"""From a URL to a store: the only door to the adapters."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from tracker.storage.credentials import kept_options
from tracker.storage.errors import UsageError
from tracker.storage.port import Store

__all__ = ["is_remote_url", "normalize_url", "open_roots", "open_store", "warm_up"]

_SCHEME = re.compile(r"([A-Za-z][\w+.\-]*(?:::[\w+.\-]+)*)://(.*)", re.DOTALL)
_SAME: Final = {"s3a": "s3", "s3n": "s3", "gcs": "gs"}
_LOCAL: Final = {"file", "local"}


def open_store(url: str, *, options: Mapping[str, object] | None = None) -> Store:
    """The store at a plain path, file://, memory://name, s3://bucket/prefix, gs://bucket/prefix or any fsspec URL.

    Makes no request and no directory. Endpoint and credentials come from the environment, as s3fs and gcsfs read it
    (AWS_ENDPOINT_URL, AWS_*; STORAGE_EMULATOR_HOST, GOOGLE_APPLICATION_CREDENTIALS), else credentials from what
    `login` keeps; `options` go to the fsspec filesystem and win over both.

    Raises:
        UsageError: no such kind of URL, or no bucket in it.
    """
    shown = normalize_url(url)
    scheme, rest = _split(shown)
    if scheme == "":
        from tracker.storage.local import LocalStore

        return LocalStore(Path(shown))
    if scheme == "memory":
        from tracker.storage.memory import MemoryStore

        name, _, prefix = rest.partition("/")
        return MemoryStore(name, prefix)
    from tracker.storage.remote_store import RemoteStore

    secret = shown if scheme in {"s3", "gs"} else url
    return RemoteStore(secret, kept_options(shown) | dict(options or {}), shown_as=shown)


def open_roots(urls: Sequence[str]) -> Store:
    """The store at `urls`: several of them answer as one, the same place named twice as one. Makes no request.

    Raises:
        UsageError: as `open_store`; or no URL at all.
    """
    places = list({normalize_url(url): url for url in urls}.values())
    if not places:
        raise UsageError("No root is named. Give at least one directory or URL.")
    if len(places) == 1:
        return open_store(places[0])
    from tracker.storage.union_store import UnionStore

    return UnionStore([open_store(url) for url in places])


def warm_up(store: Store) -> None:
    """Load now what the store's first request would load (0.4 s for s3fs), and start its I/O thread. No request.

    Call it early from a background thread: while Python exits, libraries and threads can no longer be started.
    """
    remote = sys.modules.get("tracker.storage.remote_store")  # loaded by remote stores only: it brings asyncio
    if remote is not None and isinstance(store, remote.RemoteStore):
        store.warm_up()


def is_remote_url(text: str) -> bool:
    """Whether `text` has a scheme other than file or local. `C:/x` and `./s3:/x` are paths."""
    scheme, _ = _split(text)
    return scheme not in _LOCAL | {""}


def normalize_url(text: str) -> str:
    """One spelling for one place: an absolute path, or a URL without credentials and without a slash at its end.

    Raises:
        UsageError: the text is empty, or names no bucket.
    """
    scheme, rest = _split(text)
    if not text.strip():
        raise UsageError("The place of the store is empty. Give a directory, s3://bucket/prefix or gs://bucket/prefix.")
    if scheme == "":
        return os.path.abspath(os.path.expanduser(text))
    if scheme in _LOCAL:
        return os.path.abspath(os.path.expanduser(unquote(rest.removeprefix("localhost"))))
    scheme = _SAME.get(scheme, scheme)
    if scheme in {"s3", "gs", "memory"}:
        bucket, *segments = [segment for segment in rest.split("/") if segment] or [""]
        if not bucket or rest.startswith("/") or any(segment in {".", ".."} for segment in segments):
            raise UsageError(f"{text!r} names no bucket and prefix. Write {scheme}://bucket or {scheme}://bucket/prefix.")
        if {"?", "#"} & set(rest) or (scheme == "gs" and "@" in bucket):
            raise UsageError(f"{text!r}: bucket and prefix only, options and credentials come from the environment.")
        return f"{scheme}://{'/'.join([bucket, *segments])}"
    if "::" in scheme:
        raise UsageError(f"{text!r}: chained URLs are not supported. Give the place itself, for example s3://bucket.")
    parts = urlsplit(f"{scheme}://{rest}")
    user, at, host = parts.netloc.rpartition("@")
    host = f"{user.partition(':')[0]}{at}{host}"  # abfs://container@account keeps its container, nobody a password
    return f"{scheme}://{host}{parts.path.rstrip('/')}"


def _split(text: str) -> tuple[str, str]:
    """Scheme in lower case (empty for a path) and the rest behind "://"."""
    match = _SCHEME.fullmatch(text)
    return (match[1].lower(), match[2]) if match else ("", text)
