"""`monitor_gym`: the videos that Gymnasium, or Gym, records are logged (GYM-1)."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable
from typing import Any, Final

from tracker.errors import UsageError
from tracker.sdk import session, term

__all__ = ["monitor", "release"]

# module, class, method that ends a recording; the path is where `_path_of` finds it
_RECORDERS: Final = (
    ("gymnasium.wrappers.rendering", "RecordVideo", "stop_recording"),  # Gymnasium 1
    ("gymnasium.wrappers.monitoring.video_recorder", "VideoRecorder", "close"),
    ("gym.wrappers.monitoring.video_recorder", "VideoRecorder", "close"),
)
_NUMBERED: Final = re.compile(r"(video\.\d+)")
_undo: list[Callable[[], None]] = []


def monitor() -> Callable[[], None]:
    """Log every video when its recording ends. Again: nothing happens. Returns what undoes it.

    Raises:
        UsageError: neither Gymnasium nor Gym is installed.
    """
    if not _undo:
        for module, owner, name in _RECORDERS:
            if _wrap(module, owner, name):
                break
        else:
            raise UsageError(
                'monitor_gym needs Gymnasium, or Gym, which are not installed: pip install "tracker[gym]".'
            )
    return release


def release() -> None:
    """Leave the library as it was."""
    while _undo:
        _undo.pop()()


def _wrap(module: str, owner: str, name: str) -> bool:
    try:
        recorder = getattr(importlib.import_module(module), owner)
    except (ImportError, AttributeError):
        return False
    original = getattr(recorder, name)

    def ending(self: Any, *args: Any, **kwargs: Any) -> Any:
        path = _path_of(self)
        result = original(self, *args, **kwargs)
        _log(path)
        return result

    setattr(recorder, name, ending)
    _undo.append(lambda: setattr(recorder, name, original))
    return True


def _path_of(recorder: Any) -> str | None:
    """Where the recording goes that is about to end; None when nothing is recorded."""
    if hasattr(recorder, "recorded_frames"):
        if not recorder.recorded_frames or not recorder._video_name:
            return None
        return os.path.join(recorder.video_folder, f"{recorder._video_name}.mp4")
    return None if getattr(recorder, "_closed", False) else getattr(recorder, "path", None)


def _log(path: str | None) -> None:
    """Trouble is said and never reaches the environment."""
    run = session.active_here()
    if path is None or run is None or not os.path.isfile(path):
        return
    from tracker.sdk.media_files import VideoFile

    found = _NUMBERED.search(os.path.basename(path))
    try:
        run.log({found[1] if found else "videos": VideoFile.at(path)})
    except Exception as exc:
        term.warn(f"the video {path} is not logged: {type(exc).__name__}: {exc}")
