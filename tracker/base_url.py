"""Which root the data lies in: one answer for the SDK, the Api and the command."""

from __future__ import annotations

import os
from collections.abc import Mapping

from tracker.errors import UsageError
from tracker.sdk.login import stored_base_url
from tracker.sdk.places import data_dir
from tracker.storage.stores import is_remote_url, normalize_url

__all__ = ["check_root", "resolve_base_url"]


def resolve_base_url(
    base_url: str | os.PathLike[str] | None = None, *, environ: Mapping[str, str] | None = None
) -> str:
    """The root: `base_url`, else TRACKER_BASE_URL, else WANDB_BASE_URL where it is no web address, else what
    `login(host=...)` stored, else the platform's user data directory for tracker.

    A local root comes back as an absolute path, any other as a URL without credentials and trailing slash.

    Raises:
        UsageError: a web address (http, https; tracker has no server), or nothing that names a place.
    """
    environ = os.environ if environ is None else environ
    if base_url is not None and str(base_url):
        return check_root(os.fspath(base_url))
    ours = environ.get("TRACKER_BASE_URL")
    if ours:
        return check_root(ours)
    theirs = environ.get("WANDB_BASE_URL", "")
    if is_remote_url(theirs) and not _is_web(theirs):
        return check_root(theirs)
    stored = stored_base_url()
    return check_root(stored) if stored else str(data_dir())


def check_root(url: str) -> str:
    """The root in its final form. Raises UsageError as `resolve_base_url`."""
    if _is_web(url):
        raise UsageError(
            f"{url} is a web address, but tracker has no server. Give a directory or a bucket, for example "
            f"s3://bucket/runs; an S3 endpoint goes into AWS_ENDPOINT_URL."
        )
    return normalize_url(url)


def _is_web(text: str) -> bool:
    return text.lower().startswith(("http://", "https://"))
