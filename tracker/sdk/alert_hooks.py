"""Where alerts go: a command, a webhook, a chat that takes Slack's JSON. One call of a hook is one attempt."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import asdict
from http.client import HTTPException
from typing import Final, Protocol

from tracker.sdk.alerts import Alert

__all__ = ["AlertHook", "CommandHook", "DeliveryFailed", "SlackHook", "WebHook", "hook_of"]

_COMMAND_TIMEOUT_S: Final = 30.0
_HTTP_TIMEOUT_S: Final = 10.0
_RETRY_STATUS: Final = (408, 425, 429)  # and all of 500 and above
_ICONS: Final = {"INFO": "\N{INFORMATION SOURCE}", "WARN": "\N{WARNING SIGN}", "ERROR": "\N{OCTAGONAL SIGN}"}


class DeliveryFailed(Exception):
    """One attempt failed. `again`: a later one may do better. Never leaves the threads that deliver."""

    def __init__(self, message: str, *, again: bool) -> None:
        super().__init__(message)
        self.again = again


class AlertHook(Protocol):
    """One way out."""

    name: str  # for messages; holds no secret

    def send(self, alert: Alert) -> None:
        """Hand the alert over, waiting for a bounded time. Raises DeliveryFailed."""


class CommandHook:
    """Runs a command with the alert as JSON on its standard input and as TRACKER_ALERT_* in its environment.

    No shell is involved. What it prints on standard error is shown when it fails.
    """

    def __init__(self, command: str) -> None:
        self._words = shlex.split(command)
        self.name = f"command {self._words[0] if self._words else command!r}"

    def send(self, alert: Alert) -> None:
        fields = {f"TRACKER_ALERT_{name.upper()}": str(value) for name, value in asdict(alert).items()}
        environment = os.environ | {name: text.replace("\0", "") for name, text in fields.items()}
        try:
            done = subprocess.run(
                self._words,
                input=json.dumps(asdict(alert)).encode(),
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=_COMMAND_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise DeliveryFailed(f"did not end within {_COMMAND_TIMEOUT_S:.0f} s", again=False) from None
        except (OSError, ValueError, IndexError) as exc:
            raise DeliveryFailed(f"could not be started: {exc}", again=False) from exc
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip()[-500:]
            raise DeliveryFailed(f"ended with code {done.returncode}{': ' + said if said else ''}", again=True)


class WebHook:
    """POSTs the alert as a JSON object with the fields of `Alert`."""

    kind = "webhook"

    def __init__(self, url: str) -> None:
        self._url = url
        self.name = f"{self.kind} at {urllib.parse.urlsplit(url).hostname or 'no host'}"  # path and query are secrets

    def body(self, alert: Alert) -> dict[str, object]:
        """What is sent."""
        return asdict(alert)

    def send(self, alert: Alert) -> None:
        request = urllib.request.Request(
            self._url,
            data=json.dumps(self.body(alert)).encode(),
            headers={"Content-Type": "application/json", "User-Agent": "tracker"},
            method="POST",
        )
        try:
            with urllib.request.urlopen(request, timeout=_HTTP_TIMEOUT_S) as answer:
                answer.read(1)
        except urllib.error.HTTPError as exc:
            exc.close()
            again = exc.code >= 500 or exc.code in _RETRY_STATUS
            raise DeliveryFailed(f"answered {exc.code}", again=again) from None
        except (urllib.error.URLError, OSError, HTTPException) as exc:
            raise DeliveryFailed(f"did not answer: {getattr(exc, 'reason', exc)}", again=True) from None
        except ValueError:
            raise DeliveryFailed("its URL is none", again=False) from None


class SlackHook(WebHook):
    """An incoming webhook of Slack, or of a chat that takes its JSON (Mattermost, Rocket.Chat, Discord's /slack)."""

    kind = "chat"

    def body(self, alert: Alert) -> dict[str, object]:
        run = f"{alert.run_name} ({alert.entity}/{alert.project}/{alert.run_id})"
        head = f"{_ICONS[alert.level]} *{_escaped(alert.title)}* [{alert.level}]"
        return {"text": "\n".join(part for part in (head, _escaped(alert.text), f"_{_escaped(run)}_") if part)}


def hook_of(setting: str, value: str) -> AlertHook:
    """The hook that the setting `alert_command`, `alert_webhook` or `alert_slack` names."""
    hooks: dict[str, Callable[[str], AlertHook]] = {
        "alert_command": CommandHook,
        "alert_webhook": WebHook,
        "alert_slack": SlackHook,
    }
    return hooks[setting](value)


def _escaped(text: str) -> str:
    """Slack's three control characters. Source: its guide to formatting text."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
