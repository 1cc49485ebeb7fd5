"""Where the contract runs, and raw hooks: the same places without s3fs, gcsfs or any of our code."""

from __future__ import annotations

import json
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from emulator.servers import CREDENTIALS, call

from tracker.storage import memory
from tracker.storage.clock import wall_us


class Raw(Protocol):
    """The place itself, without any of our code. Keys are relative to the store's root."""

    def put(self, key: str, data: bytes) -> None: ...

    def get(self, key: str) -> bytes: ...

    def keys(self) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class Place:
    url: str
    raw: Raw
    missing_url: str | None  # a root in a bucket that does not exist
    prelude: str = ""  # what a new Python process runs first to be able to open `url`


@dataclass(frozen=True, slots=True)
class MemoryRaw:
    name: str
    base: str

    def put(self, key: str, data: bytes) -> None:
        memory._roots[self.name].objects[self.base + key] = (data, wall_us())

    def get(self, key: str) -> bytes:
        return memory._roots[self.name].objects[self.base + key][0]

    def keys(self) -> list[str]:
        root = memory._roots.get(self.name)
        return sorted(key.removeprefix(self.base) for key in root.objects) if root else []


@dataclass(frozen=True, slots=True)
class LocalRaw:
    root: Path

    def put(self, key: str, data: bytes) -> None:
        (self.root / key).parent.mkdir(parents=True, exist_ok=True)
        (self.root / key).write_bytes(data)

    def get(self, key: str) -> bytes:
        return (self.root / key).read_bytes()

    def keys(self) -> list[str]:
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file())


class S3Raw:
    """By boto3: none of s3fs's or our code."""

    def __init__(self, endpoint: str, url: str) -> None:
        import boto3

        parts = urllib.parse.urlsplit(url)
        self.bucket, base = parts.netloc, parts.path.strip("/")
        self.base = f"{base}/" if base else ""
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=endpoint,
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            region_name=CREDENTIALS["AWS_REGION"],
        )

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.bucket, Key=self.base + key, Body=data)

    def get(self, key: str) -> bytes:
        data: bytes = self.client.get_object(Bucket=self.bucket, Key=self.base + key)["Body"].read()
        return data

    def keys(self) -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.base)
        return sorted(item["Key"].removeprefix(self.base) for page in pages for item in page.get("Contents", []))


class GcsRaw:
    """By plain HTTP."""

    def __init__(self, endpoint: str, url: str) -> None:
        parts = urllib.parse.urlsplit(url)
        self.base = f"{parts.path.strip('/')}/" if parts.path.strip("/") else ""
        self.endpoint, self.bucket = endpoint, parts.netloc

    def put(self, key: str, data: bytes) -> None:
        name = urllib.parse.quote(self.base + key, safe="")
        status, _ = call(
            "POST", f"{self.endpoint}/upload/storage/v1/b/{self.bucket}/o?uploadType=media&name={name}", data
        )
        assert status == 200

    def get(self, key: str) -> bytes:
        name = urllib.parse.quote(self.base + key, safe="")
        status, data = call("GET", f"{self.endpoint}/storage/v1/b/{self.bucket}/o/{name}?alt=media")
        assert status == 200
        return data

    def keys(self) -> list[str]:
        found: list[str] = []
        token = ""
        while True:
            query = urllib.parse.urlencode({"prefix": self.base, "pageToken": token})
            page = json.loads(call("GET", f"{self.endpoint}/storage/v1/b/{self.bucket}/o?{query}")[1])
            found += [item["name"].removeprefix(self.base) for item in page["items"]]
            token = page.get("nextPageToken", "")
            if not token:
                return sorted(found)
