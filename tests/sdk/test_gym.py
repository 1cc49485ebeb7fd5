"""`monitor_gym` and `tracker.gym.monitor()` (GYM-1), on Gymnasium's own recorder."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tracker
from tracker.errors import UsageError
from tracker.sdk import gym_monitor

gymnasium = pytest.importorskip("gymnasium")

Start = Callable[..., Any]


class Clip:
    """In the place of moviepy's, which needs ffmpeg."""

    def __init__(self, frames: list[Any], fps: float) -> None:
        self.frames = frames

    def write_videofile(self, path: str, logger: Any = None) -> None:
        Path(path).write_bytes(b"video of %d frames" % len(self.frames))


class Walk(gymnasium.Env):  # type: ignore[misc,name-defined]
    """Three steps to the right."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}  # noqa: RUF012 - as Gymnasium wants it
    action_space = gymnasium.spaces.Discrete(2)
    observation_space = gymnasium.spaces.Discrete(10)
    render_mode = "rgb_array"

    def __init__(self) -> None:
        self.at = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed)
        self.at = 0
        return 0, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        self.at += 1
        return self.at, 1.0, self.at == 3, False, {}

    def render(self) -> Any:
        return np.full((4, 6, 3), self.at, np.uint8)


@pytest.fixture(autouse=True)
def _no_ffmpeg(monkeypatch: pytest.MonkeyPatch) -> Any:
    module: Any = types.ModuleType("moviepy.video.io.ImageSequenceClip")
    module.ImageSequenceClip = Clip
    for name in ("moviepy", "moviepy.video", "moviepy.video.io"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    yield
    gym_monitor.release()


def play(folder: Path, prefix: str, episodes: int = 1) -> None:
    env = gymnasium.wrappers.RecordVideo(
        Walk(), str(folder), episode_trigger=lambda _: True, name_prefix=prefix, disable_logger=True
    )
    for _ in range(episodes):
        env.reset()
        while not env.step(1)[2]:
            continue
    env.close()


def test_each_recording_is_logged_when_it_ends(start: Start, tmp_path: Path) -> None:
    """GYM-1: `videos` without a number in the file's name."""
    run, writer = start(monitor_gym=True)
    play(tmp_path / "clips", "walk", episodes=2)
    rows = [row for _, row in writer.rows()]
    assert [sorted(row) for row in rows] == [["videos"], ["videos"]]
    assert rows[0]["videos"]["_type"] == "video-file"
    assert rows[0]["videos"]["path"].startswith("media/videos/videos_0_")
    assert rows[0]["videos"]["path"].endswith(".mp4")
    staged = Path(run.recorder.writer.spool_dir) / "blobs" / rows[0]["videos"]["sha256"]  # type: ignore[union-attr]
    assert staged.read_bytes().startswith(b"video of")


def test_a_numbered_file_has_a_key_of_its_own(start: Start, tmp_path: Path) -> None:
    """GYM-1: `video.<n>`, as the recorders of Gym name their files."""
    _, writer = start(monitor_gym=True)
    play(tmp_path / "clips", "openaigym.video.3.77.video000000")
    assert [sorted(row) for _, row in writer.rows()] == [["video\\.3"]]


def test_older_recorders_are_heard_when_they_close(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GYM-1: Gym, and Gymnasium below 1, have a recorder with a path, which closes."""

    class VideoRecorder:
        def __init__(self, path: str) -> None:
            self.path, self._closed = path, False

        def close(self) -> None:
            if not self._closed:
                self._closed = True
                Path(self.path).write_bytes(b"old")

    module: Any = types.ModuleType("gym.wrappers.monitoring.video_recorder")
    module.VideoRecorder = VideoRecorder
    for name in ("gym", "gym.wrappers", "gym.wrappers.monitoring"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(gym_monitor, "_RECORDERS", gym_monitor._RECORDERS[2:])
    _, writer = start()
    undo = tracker.gym.monitor()
    recorder = VideoRecorder(str(tmp_path / "run.video.12.mp4"))
    recorder.close()
    recorder.close()
    assert [sorted(row) for _, row in writer.rows()] == [["video\\.12"]]
    undo()
    VideoRecorder(str(tmp_path / "later.mp4")).close()
    assert len(writer.rows()) == 1


def test_monitoring_twice_logs_once(start: Start, tmp_path: Path) -> None:
    """GYM-1."""
    _, writer = start(monitor_gym=True)
    tracker.gym.monitor()
    play(tmp_path / "clips", "walk")
    assert len(writer.rows()) == 1


def test_without_a_run_nothing_is_logged(tmp_path: Path) -> None:
    """GYM-1: the environment works on."""
    tracker.gym.monitor()
    play(tmp_path / "clips", "walk")
    assert list((tmp_path / "clips").glob("*.mp4"))


def test_trouble_with_a_video_reaches_only_standard_error(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """GYM-1."""
    run, _ = start(monitor_gym=True)
    monkeypatch.setattr(type(run.recorder.files), "stage", lambda *_: 1 / 0)
    play(tmp_path / "clips", "walk")
    assert "is not logged" in capsys.readouterr().err


def test_without_any_gym_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """GYM-1."""
    monkeypatch.setattr(gym_monitor, "_RECORDERS", (("gym_that_is_missing", "A", "b"),))
    with pytest.raises(UsageError, match=r"tracker\[gym\]"):
        tracker.gym.monitor()
    with pytest.raises(UsageError, match=r"tracker\[gym\]"):
        tracker.init(project="p", monitor_gym=True)
    assert tracker.run is None
