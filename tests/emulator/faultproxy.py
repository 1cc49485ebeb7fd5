"""An HTTP proxy that breaks replies on request, and counts requests, for tests.   python faultproxy.py UPSTREAM [PORT]

Prints the port it listens on. `POST /__faults` with a list of rules replaces the rules and clears the log:

    {"mode": ..., "method": "PUT", "match": "regex on path and query", "times": 3, "p": 0.5, "status": 503}

The first rule that fits a request is used, `times` times (for ever without). Modes:

    err_before   answer `status`, the server never sees the request
    err_after    the server does it, the client sees `status`
    drop_before  close the connection, the server never sees the request
    drop_after   the server does it, the connection closes without a reply: a lost acknowledgement
    truncate     half of the body, then the connection closes
    delay        wait `delay_s` before asking the server

`GET /__log` answers [[method, path and query, status of the server or null, mode or null], ...].
"""

from __future__ import annotations

import asyncio
import random
import re
import sys
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import ClientSession, ClientTimeout, TCPConnector, web
from yarl import URL

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "content-length"}
S3_CODES = {409: "ConditionalRequestConflict", 500: "InternalError", 501: "NotImplemented", 503: "SlowDown"}


class Proxy:
    def __init__(self, upstream: str) -> None:
        self.upstream = upstream.rstrip("/")
        self.rules: list[dict[str, Any]] = []
        self.log: list[tuple[str, str, int | None, str | None]] = []
        self.session: ClientSession | None = None

    def app(self) -> web.Application:
        app = web.Application(client_max_size=2**31)
        app.cleanup_ctx.append(self._connected)
        app.router.add_post("/__faults", self.set_faults)
        app.router.add_get("/__log", self.get_log)
        app.router.add_route("*", "/{path:.*}", self.forward)
        return app

    async def _connected(self, _: web.Application) -> AsyncIterator[None]:
        async with ClientSession(
            connector=TCPConnector(limit=0), auto_decompress=False, timeout=ClientTimeout(total=120)
        ) as self.session:
            yield

    async def set_faults(self, request: web.Request) -> web.Response:
        self.rules = await request.json()
        self.log.clear()
        return web.json_response(len(self.rules))

    async def get_log(self, _: web.Request) -> web.Response:
        return web.json_response(self.log)

    def _rule_for(self, request: web.Request) -> dict[str, Any]:
        for rule in self.rules:
            if rule.get("method", request.method) != request.method or rule.get("times") == 0:
                continue
            if not re.search(rule.get("match", ""), request.raw_path) or random.random() > rule.get("p", 1.0):
                continue
            if "times" in rule:
                rule["times"] -= 1
            return rule
        return {"mode": None}

    async def forward(self, request: web.Request) -> web.StreamResponse:
        rule = self._rule_for(request)
        mode = rule["mode"]
        body = await request.read()
        if mode == "delay":
            await asyncio.sleep(rule["delay_s"])
        if mode in {"err_before", "drop_before"}:
            self.log.append((request.method, request.raw_path, None, mode))
            return _failure(rule) if mode == "err_before" else _hang_up(request)
        assert self.session is not None
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP]
        url = URL(self.upstream + request.raw_path, encoded=True)
        async with self.session.request(
            request.method, url, headers=headers, data=body or None, allow_redirects=False
        ) as reply:
            data = await reply.read()
            self.log.append((request.method, request.raw_path, reply.status, mode))
            if mode == "err_after":
                return _failure(rule)
            if mode == "drop_after":
                return _hang_up(request)
            kept = [(name, value) for name, value in reply.headers.items() if name.lower() not in HOP_BY_HOP]
            if mode == "truncate" or request.method == "HEAD":
                answer = web.StreamResponse(status=reply.status, headers=kept)
                answer.content_length = int(reply.headers.get("Content-Length", len(data)))
                await answer.prepare(request)
                if request.method == "HEAD":
                    return answer
                await answer.write(data[: len(data) // 2])
                return _hang_up(request)
            return web.Response(status=reply.status, headers=kept, body=data)


def _failure(rule: dict[str, Any]) -> web.Response:
    status = rule.get("status", 503)
    text = f"<?xml version='1.0'?><Error><Code>{S3_CODES.get(status, status)}</Code><Message>injected</Message></Error>"
    return web.Response(status=status, text=text, content_type="application/xml")


def _hang_up(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)  # nobody receives it


if __name__ == "__main__":
    sys.path.insert(0, __file__.rpartition("/")[0])
    from fakegcs import serve

    asyncio.run(serve(Proxy(sys.argv[1]).app(), int(sys.argv[2]) if len(sys.argv) > 2 else 0))
