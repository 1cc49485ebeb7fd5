"""Buckets and other remote places as plain asynchronous calls: the one file that imports fsspec, s3fs or gcsfs.

Each call below is one attempt with bounded waiting and the fewest requests: no HEAD, no cached listing. Retries, lost
replies and the meaning of errors are `remote_store`'s. Importing this module loads none of the libraries.

Source: s3fs and gcsfs 2026.9/10; each trap named here is pinned by tests/contract.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gzip
import io
import os
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from tracker.storage.errors import UsageError
from tracker.storage.keys import TEMPORARY
from tracker.storage.port import ObjectInfo
from tracker.storage.remote_pieces import Tried, upload_gcs, upload_s3

__all__ = ["CONNECT_S", "SILENCE_S", "RemoteFiles", "open_files"]

T = TypeVar("T")

CONNECT_S: Final = 5.0  # until a connection stands
SILENCE_S: Final = 30.0  # without a byte from the server
_PARALLEL: Final = 64
_LARGE_BODY_BYTES: Final = 1 << 20
_ONE_PUT_BYTES: Final = 5 * 2**30  # always one PUT: Ceph ignores the condition when a multipart upload completes


class RemoteFiles(Protocol):
    """One root. Keys and prefixes as in the port. Every call may raise whatever the library raises."""

    endpoint: str  # "" for the cloud's own
    parallel: int  # calls at a time

    async def read(self, key: str, start: int | None, end: int | None) -> bytes: ...

    async def create(self, key: str, data: bytes, *, exclusive: bool) -> None: ...

    async def create_from(self, key: str, path: Path, tried: Tried) -> None:
        """Write a large file in pieces, over whatever is there. Makes several requests, each of them by `tried`."""

    async def info(self, key: str) -> ObjectInfo: ...

    async def find(self, prefix: str) -> list[ObjectInfo]: ...

    async def dirs(self, prefix: str) -> set[str]: ...

    async def remove(self, key: str) -> None: ...

    async def signed_url(self, key: str, valid_s: int) -> str | None:
        """An https address that whoever has it can read for so long; None where the credentials sign nothing."""

    async def close(self) -> None: ...


def open_files(url: str, options: Mapping[str, Any]) -> RemoteFiles:
    """The client for `url`. Loads its library; may read credential files, or ask the metadata server for some."""
    scheme, _, rest = url.partition("://")
    match scheme:
        case "s3":
            return _S3Files(rest, options)
        case "gs":
            return _GcsFiles(rest, options)
        case _:
            return _AnyFiles(url, options)


@functools.cache
def _s3_data() -> Any:
    """botocore's loader, with what every client needs read already: 0.1 s of parsing, once instead of per store."""
    import msgspec
    from botocore.exceptions import BotoCoreError
    from botocore.loaders import JSONFileLoader, Loader

    class QuickFiles(JSONFileLoader):  # type: ignore[misc]  # botocore has no types
        """Reads plain JSON files in 2 ms where botocore's way holds the interpreter for 20: `log` must not stall."""

        def load_file(self, file_path: str) -> Any:
            try:
                if (packed := Path(f"{file_path}.json.gz")).is_file():
                    return msgspec.json.decode(gzip.decompress(packed.read_bytes()))
                return msgspec.json.decode(Path(f"{file_path}.json").read_bytes())
            except (OSError, msgspec.DecodeError):
                return super().load_file(file_path)

    loader = Loader(file_loader=QuickFiles())
    with contextlib.suppress(BotoCoreError):  # a later botocore may split its files anew: then it reads them itself
        for name in ("service-2", "endpoint-rule-set-1"):
            loader.load_service_model("s3", name)
        for name in ("endpoints", "partitions", "sdk-default-configuration", "_retry"):
            loader.load_data(name)
    return loader


class _S3Files:
    def __init__(self, path: str, options: Mapping[str, Any]) -> None:
        import aiobotocore.session
        import s3fs

        given = dict(options)
        if not given.keys() & {"session", "profile"}:
            given["session"] = aiobotocore.session.AioSession()
            given["session"].register_component("data_loader", _s3_data())
        config = {
            "connect_timeout": CONNECT_S,
            "read_timeout": SILENCE_S,
            "retries": {"total_max_attempts": 1, "mode": "standard"},
            "max_pool_connections": _PARALLEL,
            "signature_version": "s3v4",  # of signed URLs: younger regions and encrypted objects know no other
        }
        self._fs = s3fs.S3FileSystem(
            asynchronous=True,
            skip_instance_cache=True,
            use_listings_cache=False,
            max_concurrency=1,  # else every whole read asks for the size first
            config_kwargs=config | given.pop("config_kwargs", {}),
            **given,
        )
        self._fs.retries = 1  # s3fs would try five times, each of them through botocore's five
        self._bucket, base, _ = self._fs.split_path(path)
        self._base = f"{base}/" if base else ""
        self.endpoint = str(
            given.get("endpoint_url")
            or (given.get("client_kwargs") or {}).get("endpoint_url")
            or os.environ.get("AWS_ENDPOINT_URL_S3")
            or os.environ.get("AWS_ENDPOINT_URL")
            or ""
        )
        self.parallel = _PARALLEL

    def _path(self, key: str) -> str:
        return f"{self._bucket}/{self._base}{key}"

    async def read(self, key: str, start: int | None, end: int | None) -> bytes:
        from botocore.exceptions import FlexibleChecksumError

        path = self._path(key)
        data: bytes
        try:
            data = await self._fs._cat_file(path, start=start, end=end)  # never positional on s3fs
        except FlexibleChecksumError:
            if start is None:
                raise
            data = await self._fs._cat_file(path)  # rclone sends the whole object's checksum with a part of it
            data = data[start:end]
        return data

    async def create(self, key: str, data: bytes, *, exclusive: bool) -> None:
        mode = "create" if exclusive else "overwrite"
        await self._fs._pipe_file(self._path(key), data, mode=mode, chunksize=_ONE_PUT_BYTES)

    async def create_from(self, key: str, path: Path, tried: Tried) -> None:
        await upload_s3(self._fs, self._bucket, self._base + key, path, tried)

    async def info(self, key: str) -> ObjectInfo:
        found = await self._fs._call_s3("head_object", Bucket=self._bucket, Key=self._base + key)
        return ObjectInfo(key, int(found["ContentLength"]), _microseconds(found.get("LastModified")))

    async def find(self, prefix: str) -> list[ObjectInfo]:
        # bucket and prefix apart: given as one path, s3fs asks twice more when nothing is found
        found = await self._fs._find(self._bucket, prefix=self._base + prefix, detail=True)
        cut = len(self._bucket) + 1 + len(self._base)
        return [
            ObjectInfo(name[cut:], info["size"], _microseconds(info.get("LastModified")))
            for name, info in found.items()
            if info["type"] == "file" and not name.endswith("/")
        ]

    async def dirs(self, prefix: str) -> set[str]:
        under = self._base + prefix
        if under:
            found = await self._fs._find(self._bucket, prefix=under, maxdepth=1, withdirs=True, detail=True)
            infos = list(found.values())
        else:
            infos = await self._fs._ls(self._bucket, detail=True, refresh=True)
        return {_last_segment(info["name"]) for info in infos if info["type"] == "directory"}

    async def remove(self, key: str) -> None:
        # one by one: bulk deletion hides its errors in s3fs, and lacks the checksum that other servers than AWS's want
        await self._fs._rm_file(self._path(key))

    async def signed_url(self, key: str, valid_s: int) -> str | None:
        from botocore.exceptions import NoCredentialsError

        try:
            url: str = await self._fs._url(self._path(key), expires=valid_s)
        except NoCredentialsError:
            return None
        return url

    async def close(self) -> None:
        if self._fs._s3 is not None:
            await self._fs._s3.close()


@functools.cache
def _gcs_class() -> Any:
    from gcsfs.core import GCSFileSystem  # not gcsfs.GCSFileSystem: that one calls by gRPC first, 50 s on an emulator

    once = getattr(GCSFileSystem._request, "__wrapped__", GCSFileSystem._request)

    class OneTry(GCSFileSystem):  # type: ignore[misc]
        """As its base, with one attempt a request, and sessions that only `close` closes."""

        async def _request(self, *args: Any, data: Any = None, **kwargs: Any) -> Any:
            if isinstance(data, (bytes, memoryview)) and len(data) > _LARGE_BODY_BYTES:
                data = io.BytesIO(data)  # aiohttp warns of larger raw bytes, and sends them in one go
            return await once(self, *args, data=data, **kwargs)

        @staticmethod
        def close_session(*_: object, **__: object) -> None:
            """The base registers this to run at exit, in forked children too, where it would harm the parent."""

    return OneTry


class _GcsFiles:
    def __init__(self, path: str, options: Mapping[str, Any]) -> None:
        import aiohttp

        given = dict(options)
        emulator = given.pop("endpoint_url", None) or os.environ.get("STORAGE_EMULATOR_HOST", "")
        if emulator in {"", "default"}:
            self.endpoint = ""
        else:
            self.endpoint = emulator if "://" in emulator else f"http://{emulator}"
            given.setdefault("token", "anon")  # looking for credentials asks Google's servers first
        given.setdefault(
            "requests_timeout", aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=SILENCE_S)
        )
        self._fs = _gcs_class()(
            asynchronous=True,
            skip_instance_cache=True,
            use_listings_cache=False,
            endpoint_url=self.endpoint or None,
            **given,
        )
        self._bucket, _, base = path.partition("/")
        self._base = f"{base}/" if base else ""
        self.parallel = _PARALLEL

    def _path(self, key: str) -> str:
        return f"{self._bucket}/{self._base}{key}"

    async def read(self, key: str, start: int | None, end: int | None) -> bytes:
        data: bytes = await self._fs._cat_file(self._path(key), start=start, end=end)
        return data

    async def create(self, key: str, data: bytes, *, exclusive: bool) -> None:
        mode = "create" if exclusive else "overwrite"
        # gcsfs sends small objects between fixed marks; bytes that hold the mark take the resumable way
        chunk = len(data) if b"--==0==" in data else len(data) + 1
        await self._fs._pipe_file(self._path(key), data, mode=mode, chunksize=chunk)

    async def create_from(self, key: str, path: Path, tried: Tried) -> None:
        from gcsfs.core import initiate_upload, upload_chunk

        await upload_gcs(
            self._fs, self._bucket, self._base + key, path, tried, initiate=initiate_upload, send=upload_chunk
        )

    async def info(self, key: str) -> ObjectInfo:
        found = await self._fs._get_object(self._path(key))
        return ObjectInfo(key, int(found["size"]), _microseconds(found.get("mtime")))

    async def find(self, prefix: str) -> list[ObjectInfo]:
        entries = await self._fs._ls(self._bucket, detail=True, prefix=self._base + prefix, delimiter="")
        cut = len(self._bucket) + 1 + len(self._base)
        return [
            ObjectInfo(entry["name"][cut:], entry["size"], _microseconds(entry.get("mtime")))
            for entry in entries
            if entry["type"] == "file"
        ]

    async def dirs(self, prefix: str) -> set[str]:
        entries = await self._fs._ls(self._bucket, detail=True, prefix=self._base + prefix)
        return {_last_segment(entry["name"]) for entry in entries if entry["type"] == "directory"}

    async def remove(self, key: str) -> None:
        await self._fs._rm_file(self._path(key))

    async def signed_url(self, key: str, valid_s: int) -> str | None:
        from google.auth.credentials import Signing

        if not isinstance(self._fs.credentials.credentials, Signing):  # only service accounts with a key can
            return None
        url: str = self._fs.sign(self._path(key), expiration=valid_s, version="v4")
        return url

    async def close(self) -> None:
        if self._fs._session is not None:
            await self._fs._session.close()


class _AnyFiles:
    """Any other fsspec filesystem, one call at a time: not all of them are safe to share between threads."""

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        import fsspec

        try:
            self._fs, root = fsspec.core.url_to_fs(
                url, **{"skip_instance_cache": True, "use_listings_cache": False} | dict(options)
            )
        except (ValueError, ImportError) as exc:
            raise UsageError(
                f"{url.partition('://')[0]}:// cannot be used as a store: {exc}. Use a directory, s3://, gs:// or a "
                "scheme whose fsspec package is installed."
            ) from exc
        self._root = str(root).rstrip("/")
        self._renames = _protocols(self._fs) & _DIRECTORIES
        self._gate = asyncio.Semaphore(1)
        self.endpoint = ""
        self.parallel = 1

    async def _call(self, function: Callable[[], T]) -> T:
        async with self._gate:
            return await asyncio.get_running_loop().run_in_executor(None, function)

    async def read(self, key: str, start: int | None, end: int | None) -> bytes:
        return await self._call(lambda: self._fs.cat_file(f"{self._root}/{key}", start=start, end=end))

    async def create(self, key: str, data: bytes, *, exclusive: bool) -> None:
        await self._call(lambda: self._create(f"{self._root}/{key}", data, exclusive))

    def _create(self, path: str, data: bytes, exclusive: bool) -> None:
        if exclusive and self._fs.exists(path):  # looks, then writes: `enforces_put_if_absent` says no
            raise FileExistsError(path)
        parent, _, name = path.rpartition("/")
        self._fs.makedirs(parent, exist_ok=True)
        if not self._renames:
            self._fs.pipe_file(path, data)
            return
        temporary = f"{parent}/{TEMPORARY}{os.urandom(8).hex()}-{name[-40:]}"
        self._fs.pipe_file(temporary, data)
        self._fs.mv(temporary, path)

    async def create_from(self, key: str, path: Path, tried: Tried) -> None:
        await tried(lambda: self._call(lambda: self._create_from(f"{self._root}/{key}", path)))

    def _create_from(self, target: str, path: Path) -> None:
        parent, _, name = target.rpartition("/")
        self._fs.makedirs(parent, exist_ok=True)
        if not self._renames:
            self._fs.put_file(str(path), target)
            return
        temporary = f"{parent}/{TEMPORARY}{os.urandom(8).hex()}-{name[-40:]}"
        self._fs.put_file(str(path), temporary)
        self._fs.mv(temporary, target)

    async def info(self, key: str) -> ObjectInfo:
        found = await self._call(lambda: self._fs.info(f"{self._root}/{key}"))
        return ObjectInfo(key, int(found.get("size") or 0), _modified(found))

    async def find(self, prefix: str) -> list[ObjectInfo]:
        return await self._call(lambda: self._find(prefix))

    def _find(self, prefix: str) -> list[ObjectInfo]:
        self._fs.invalidate_cache()
        under = f"{self._root}/{prefix}"
        found = self._fs.find(under.rstrip("/"), detail=True)
        cut = len(self._root) + 1
        return [
            ObjectInfo(name[cut:], int(info.get("size") or 0), _modified(info))
            for name, info in found.items()
            if name.startswith(under) and f"/{TEMPORARY}" not in name
        ]

    async def dirs(self, prefix: str) -> set[str]:
        rests = [info.key[len(prefix) :] for info in await self.find(prefix)]
        return {rest.partition("/")[0] for rest in rests if "/" in rest}

    async def remove(self, key: str) -> None:
        await self._call(lambda: self._fs.rm_file(f"{self._root}/{key}"))

    async def signed_url(self, key: str, valid_s: int) -> str | None:
        try:
            url: str = await self._call(lambda: self._fs.sign(f"{self._root}/{key}", expiration=valid_s))
        except (NotImplementedError, ValueError):  # it cannot, or not with these credentials
            return None
        return url

    async def close(self) -> None:
        """fsspec has no way to close a filesystem."""


_DIRECTORIES: Final = {"sftp", "ssh", "ftp", "smb", "hdfs", "arrow_hdfs", "webhdfs", "webdav", "dbfs"}  # write in place


def _protocols(fs: Any) -> set[str]:
    return {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)


def _last_segment(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2]


def _modified(info: Mapping[str, Any]) -> int:
    names = ("mtime", "LastModified", "last_modified", "modified", "created")
    return next((_microseconds(info[name]) for name in names if info.get(name) is not None), 0)


def _microseconds(at: object) -> int:
    """Since the epoch; 0 for what is no time."""
    match at:
        case datetime():
            return int(at.timestamp() * 1e6)
        case float() | int():
            return int(at * 1e6)
        case _:
            return 0
