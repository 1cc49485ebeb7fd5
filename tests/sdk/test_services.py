"""Services beside a run: none of them breaks it, whatever they do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tracker.sdk.services import Services


class Service:
    """Notes what it is told; does `at_stop` when it is stopped."""

    def __init__(self, told: list[str], name: str, at_stop: Callable[[], None] = lambda: None) -> None:
        self.told, self.name, self.at_stop = told, name, at_stop

    def start(self) -> None:
        self.told.append(f"start {self.name}")

    def stop(self, exit_code: int) -> None:
        self.told.append(f"stop {self.name} {exit_code}")
        self.at_stop()

    def after_fork(self) -> None:
        self.told.append(f"fork {self.name}")


class Pausable(Service):
    def pause(self) -> None:
        self.told.append(f"pause {self.name}")


def broken() -> None:
    raise OSError("gone")


def interrupted() -> None:
    raise KeyboardInterrupt


def test_they_end_in_reverse_order_and_once() -> None:
    told: list[str] = []
    services = Services()
    for name in "ab":
        services.add(name, lambda name=name: Service(told, name))  # type: ignore[misc]
    services.stop(3)
    services.stop(3)
    assert told == ["start a", "start b", "stop b 3", "stop a 3"]


def test_one_that_fails_is_named_and_the_others_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    told: list[str] = []
    services = Services()
    services.add("tracker.sdk.no_such", lambda: broken())  # type: ignore[func-returns-value, arg-type, return-value]
    services.add("a", lambda: Service(told, "a"))
    services.add("b", lambda: Service(told, "b", broken))
    services.stop(0)
    err = capsys.readouterr().err
    assert "no_such: OSError: gone; the run goes on without it" in err
    assert "Service: OSError: gone" in err
    assert told == ["start a", "start b", "stop b 0", "stop a 0"]


def test_ctrl_c_while_one_ends_ends_the_others_all_the_same(start: Any) -> None:
    """FIN-3: the waiting ends, the run is recorded as ended."""
    told: list[str] = []
    run, writer = start()
    run.recorder.services.add("a", lambda: Service(told, "a"))
    run.recorder.services.add("b", lambda: Service(told, "b", interrupted))
    with pytest.raises(KeyboardInterrupt):
        run.finish()
    assert told[2:] == ["stop b 0", "stop a 0"]
    assert writer.own("state") == "finished"


def test_only_those_are_paused_that_can_be() -> None:
    told: list[str] = []
    services = Services()
    services.add("a", lambda: Service(told, "a"))
    services.add("b", lambda: Pausable(told, "b"))
    services.pause()
    services.resume()
    services.after_fork()
    services.pause()
    assert told == ["start a", "start b", "pause b", "fork a", "fork b"]
