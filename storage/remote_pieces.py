"""A large local file on its way to a bucket: in pieces, each of them tried again by itself, a few in memory at once.

Source: S3's multipart uploads and GCS's resumable uploads, by the calls of s3fs and gcsfs 2026.9/10.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

__all__ = ["PIECE_BYTES", "Tried", "all_of", "piece_bytes", "upload_gcs", "upload_s3"]

T = TypeVar("T")

PIECE_BYTES: Final = 16 << 20  # a multiple of 256 KiB, as GCS wants, and above S3's 5 MiB
_PIECES_MAX: Final = 9_000  # S3 takes 10,000
_AT_ONCE: Final = 3


class Tried(Protocol):
    """Repeats an attempt that fails for a passing reason."""

    async def __call__(self, attempt: Callable[[], Awaitable[T]]) -> T: ...


def piece_bytes(size: int) -> int:
    """How large the pieces of so many bytes are: PIECE_BYTES, or as much more as keeps them few enough."""
    least = -(-size // _PIECES_MAX)
    return max(1, -(-least // PIECE_BYTES)) * PIECE_BYTES


async def upload_s3(fs: Any, bucket: str, key: str, path: Path, tried: Tried) -> None:
    """The object holds the file's bytes once all pieces are there, and not before; a failed upload leaves nothing."""
    where = {"Bucket": bucket, "Key": key}
    size = path.stat().st_size
    length = piece_bytes(size)
    begun = await tried(lambda: fs._call_s3("create_multipart_upload", **where))
    upload = where | {"UploadId": begun["UploadId"]}
    gate = asyncio.Semaphore(_AT_ONCE)

    async def send(number: int) -> dict[str, Any]:
        async with gate:
            body = _read(path, (number - 1) * length, length)
            reply = await tried(lambda: fs._call_s3("upload_part", PartNumber=number, Body=body, **upload))
        return {"PartNumber": number, "ETag": reply["ETag"]}

    try:
        parts = await all_of([send(number) for number in range(1, -(-size // length) + 1)])
        await tried(lambda: fs._call_s3("complete_multipart_upload", MultipartUpload={"Parts": parts}, **upload))
    except BaseException:
        with contextlib.suppress(Exception):
            await fs._call_s3("abort_multipart_upload", **upload)
        raise


async def upload_gcs(
    fs: Any,
    bucket: str,
    key: str,
    path: Path,
    tried: Tried,
    *,
    initiate: Callable[..., Awaitable[str]],
    send: Callable[..., Awaitable[Any]],
) -> None:
    """As `upload_s3`. `initiate` and `send`: gcsfs's `initiate_upload` and `upload_chunk`."""
    size = path.stat().st_size
    length = piece_bytes(size)
    location = await tried(lambda: initiate(fs, bucket, key, mode="overwrite"))
    try:
        for offset in range(0, size, length):
            body = _read(path, offset, length)
            await tried(lambda body=body, offset=offset: send(fs, location, body, offset, size, _ANY_TYPE))  # type: ignore[misc]
    except BaseException:
        with contextlib.suppress(Exception):
            await fs._call("DELETE", location)
        raise


_ANY_TYPE: Final = "application/octet-stream"


async def all_of(under_way: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Results in order; the first error stops the rest, and is raised when they have stopped."""
    tasks = [asyncio.ensure_future(one) for one in under_way]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


def _read(path: Path, offset: int, length: int) -> bytes:
    """Not in a thread of its own: while Python exits there are no new ones."""
    with open(path, "rb", buffering=0) as file:
        data = os.pread(file.fileno(), length, offset)
        while len(data) < length and (more := os.pread(file.fileno(), length - len(data), offset + len(data))):
            data += more
    return data
