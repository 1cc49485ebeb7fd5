"""A Google Cloud Storage JSON API in memory that enforces preconditions, for tests.   python fakegcs.py [PORT]

Prints the port it listens on. Knows what gcsfs asks for: buckets; listings with prefix, delimiter, pages; whole and
ranged reads; deletion; uploads in one piece, as multipart and resumable. `ifGenerationMatch`, `ifGenerationNotMatch`
and `ifMetagenerationMatch` are checked wherever the service checks them, at the end of a resumable upload too; no
emulator on PyPI does that. Anything else answers 501 by name, so that a new call of the client is seen at once.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import sys
import urllib.parse
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any

from aiohttp import web

PAGE_OBJECTS_MAX = 1000


@dataclass(frozen=True, slots=True)
class Stored:
    meta: dict[str, Any]
    data: bytes


@dataclass(slots=True)
class Upload:
    """A resumable upload under way."""

    bucket: str
    name: str
    conditions: dict[str, str]
    content_type: str
    data: bytearray = field(default_factory=bytearray)


@dataclass(slots=True)
class State:
    buckets: dict[str, dict[str, Stored]] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)
    generations: count[int] = field(default_factory=lambda: count(1_700_000_000_000_000))

    def put(self, bucket: str, name: str, data: bytes, content_type: str) -> dict[str, Any]:
        generation = str(next(self.generations))
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        meta = {
            "kind": "storage#object",
            "id": f"{bucket}/{name}/{generation}",
            "bucket": bucket,
            "name": name,
            "generation": generation,
            "metageneration": "1",
            "size": str(len(data)),
            "md5Hash": base64.b64encode(hashlib.md5(data).digest()).decode(),
            "etag": f"g{generation}",
            "timeCreated": now,
            "updated": now,
            "storageClass": "STANDARD",
            "contentType": content_type,
        }
        self.buckets[bucket][name] = Stored(meta, data)
        return meta

    def unmet(self, bucket: str, name: str, conditions: Mapping[str, str]) -> bool:
        """Whether a precondition fails for what is stored under `name` now (nothing counts as generation 0)."""
        held = self.buckets[bucket].get(name)
        generation = int(held.meta["generation"]) if held else 0
        metageneration = int(held.meta["metageneration"]) if held else 0
        return (
            int(conditions.get("ifGenerationMatch", generation)) != generation
            or int(conditions.get("ifGenerationNotMatch", -1)) == generation
            or int(conditions.get("ifMetagenerationMatch", metageneration)) != metageneration
        )


def refuse(status: int, reason: str) -> web.Response:
    error = {"code": status, "message": reason, "errors": [{"reason": reason}]}
    return web.json_response({"error": error}, status=status)


def list_page(objects: Mapping[str, Stored], query: Mapping[str, str]) -> dict[str, Any]:
    """One page of a listing; a page token is the name after which to go on."""
    prefix, delimiter, after = query.get("prefix", ""), query.get("delimiter", ""), query.get("pageToken", "")
    room = min(int(query.get("maxResults") or PAGE_OBJECTS_MAX), PAGE_OBJECTS_MAX)
    items: list[dict[str, Any]] = []
    prefixes: list[str] = []
    last = ""
    for name in sorted(objects):
        if not name.startswith(prefix) or (after and (name <= after or (delimiter and name.startswith(after)))):
            continue
        head, found, _ = name[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
        folder = prefix + head + delimiter if found else ""
        if folder and folder == last:
            continue
        if len(items) + len(prefixes) == room:
            return {"kind": "storage#objects", "items": items, "prefixes": prefixes, "nextPageToken": last}
        if folder:
            prefixes.append(folder)
        else:
            items.append(objects[name].meta)
        last = folder or name
    return {"kind": "storage#objects", "items": items, "prefixes": prefixes}


def media(request: web.Request, stored: Stored) -> web.Response:
    """The bytes, or the part of them that the Range header names."""
    headers = {"X-Goog-Generation": stored.meta["generation"], "Etag": stored.meta["etag"]}
    asked = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("Range", ""))
    if not asked:
        return web.Response(body=stored.data, headers=headers)
    size = len(stored.data)
    if asked[1]:
        start, end = int(asked[1]), min(size, int(asked[2]) + 1 if asked[2] else size)
    else:
        start, end = max(0, size - int(asked[2])), size
    if start >= size:
        return refuse(416, "The requested range cannot be satisfied.")
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return web.Response(status=206, body=stored.data[start:end], headers=headers)


def parse_multipart(body: bytes, content_type: str) -> tuple[dict[str, Any], bytes]:
    """Metadata and content of a multipart upload; lines may end in CRLF or, as gcsfs sends them, in LF."""
    boundary = re.search(r'boundary="?([^";]+)', content_type)
    if boundary is None:
        raise ValueError("no boundary")
    mark = b"--" + boundary[1].encode()
    _, about, rest = body.split(mark, 2)
    blank = b"\r\n\r\n" if b"\r\n\r\n" in about else b"\n\n"
    meta: dict[str, Any] = json.loads(about.split(blank, 1)[1])
    content = rest.split(blank, 1)[1]
    return meta, content[: content.rindex(mark + b"--") - len(blank) // 2]


class Api:
    def __init__(self) -> None:
        self.state = State()

    def app(self) -> web.Application:
        app = web.Application(client_max_size=2**31)
        app.router.add_get("/storage/v1/b", self.list_buckets)
        app.router.add_post("/storage/v1/b", self.make_bucket)
        app.router.add_get("/storage/v1/b/{bucket}", self.get_bucket)
        app.router.add_get("/storage/v1/b/{bucket}/o", self.list_objects)
        app.router.add_get("/storage/v1/b/{bucket}/o/{name:.+}", self.get_object)
        app.router.add_get("/download/storage/v1/b/{bucket}/o/{name:.+}", self.get_object)
        app.router.add_delete("/storage/v1/b/{bucket}/o/{name:.+}", self.delete_object)
        app.router.add_post("/upload/storage/v1/b/{bucket}/o", self.upload)
        app.router.add_put("/upload/storage/v1/b/{bucket}/o", self.upload_chunk)
        app.router.add_delete("/upload/storage/v1/b/{bucket}/o", self.cancel_upload)
        app.router.add_route("*", "/{rest:.*}", self.unknown)
        return app

    async def unknown(self, request: web.Request) -> web.Response:
        return refuse(501, f"fakegcs does not know {request.method} {request.path}")

    async def list_buckets(self, _: web.Request) -> web.Response:
        items = [{"kind": "storage#bucket", "name": name} for name in self.state.buckets]
        return web.json_response({"kind": "storage#buckets", "items": items})

    async def make_bucket(self, request: web.Request) -> web.Response:
        name = (await request.json())["name"]
        if name in self.state.buckets:
            return refuse(409, "conflict")
        self.state.buckets[name] = {}
        return web.json_response({"kind": "storage#bucket", "name": name})

    async def get_bucket(self, request: web.Request) -> web.Response:
        name = request.match_info["bucket"]
        if name not in self.state.buckets:
            return refuse(404, "notFound")
        return web.json_response({"kind": "storage#bucket", "name": name})

    async def list_objects(self, request: web.Request) -> web.Response:
        objects = self.state.buckets.get(request.match_info["bucket"])
        return refuse(404, "notFound") if objects is None else web.json_response(list_page(objects, request.query))

    async def get_object(self, request: web.Request) -> web.Response:
        bucket, name = request.match_info["bucket"], request.match_info["name"]
        stored = self.state.buckets.get(bucket, {}).get(name)
        if stored is None:
            return refuse(404, "notFound")
        if self.state.unmet(bucket, name, request.query):
            return refuse(412, "conditionNotMet")
        whole = request.query.get("alt") == "media" or request.path.startswith("/download")
        return media(request, stored) if whole else web.json_response(stored.meta)

    async def delete_object(self, request: web.Request) -> web.Response:
        bucket, name = request.match_info["bucket"], request.match_info["name"]
        if name not in self.state.buckets.get(bucket, {}):
            return refuse(404, "notFound")
        if self.state.unmet(bucket, name, request.query):
            return refuse(412, "conditionNotMet")
        del self.state.buckets[bucket][name]
        return web.Response(status=204)

    async def upload(self, request: web.Request) -> web.Response:
        bucket, query = request.match_info["bucket"], request.query
        if bucket not in self.state.buckets:
            return refuse(404, "notFound")
        if "upload_id" in query:  # gcsfs sends chunks by POST, google-cloud-storage by PUT
            return await self.upload_chunk(request)
        body, kind = await request.read(), query.get("uploadType")
        if kind == "resumable":
            return self._begin_upload(request, json.loads(body or b"{}"))
        if kind == "media":
            name, data, content_type = query["name"], body, request.headers.get("Content-Type", "")
        else:
            meta, data = parse_multipart(body, request.headers["Content-Type"])
            name, content_type = meta.get("name") or query["name"], meta.get("contentType", "")
        if self.state.unmet(bucket, name, query):
            return refuse(412, "conditionNotMet")
        return web.json_response(self.state.put(bucket, name, data, content_type))

    def _begin_upload(self, request: web.Request, meta: dict[str, Any]) -> web.Response:
        bucket, query = request.match_info["bucket"], request.query
        name = query.get("name") or meta["name"]
        if self.state.unmet(bucket, name, query):
            return refuse(412, "conditionNotMet")
        upload_id = uuid.uuid4().hex
        self.state.uploads[upload_id] = Upload(bucket, name, dict(query), meta.get("contentType", ""))
        again = {key: value for key, value in query.items() if key != "name"} | {"upload_id": upload_id}
        where = f"{request.scheme}://{request.host}/upload/storage/v1/b/{bucket}/o?{urllib.parse.urlencode(again)}"
        return web.Response(headers={"Location": where})

    async def upload_chunk(self, request: web.Request) -> web.Response:
        upload = self.state.uploads.get(request.query["upload_id"])
        if upload is None:
            return refuse(404, "notFound")
        body = await request.read()
        span = re.fullmatch(r"bytes (?:\*|(\d+)-\d+)/(\*|\d+)", request.headers.get("Content-Range", ""))
        if span is None:
            upload.data[:] = body
        elif span[1] is not None:
            if int(span[1]) > len(upload.data):
                return refuse(503, "a chunk is missing before this one")
            upload.data[int(span[1]) :] = body
        total = str(len(upload.data)) if span is None else span[2]
        if total == "*" or len(upload.data) < int(total):
            held = {"Range": f"bytes=0-{len(upload.data) - 1}"} if upload.data else {}
            return web.Response(status=308, headers=held)
        if self.state.unmet(upload.bucket, upload.name, upload.conditions):  # somebody was faster meanwhile
            return refuse(412, "conditionNotMet")
        del self.state.uploads[request.query["upload_id"]]
        return web.json_response(
            self.state.put(upload.bucket, upload.name, bytes(upload.data), upload.content_type)
        )

    async def cancel_upload(self, request: web.Request) -> web.Response:
        self.state.uploads.pop(request.query.get("upload_id", ""), None)
        return web.Response(status=499)


async def serve(app: web.Application, port: int) -> None:
    """Listen on 127.0.0.1, print the port, and go on until killed."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Api().app(), int(sys.argv[1]) if len(sys.argv) > 1 else 0))
