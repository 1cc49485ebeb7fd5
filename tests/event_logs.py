"""Generated event logs of one run: several writers, ranks, generations, deletes, replaced dicts, clocks that tie,
edits by others, tombstones that come and go."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import strategies as st

from tracker.storage.events import (
    DELETED,
    KIND_ATTR,
    KIND_BRANCH,
    KIND_CONFIG,
    KIND_SUMMARY,
    KIND_TOMBSTONE,
    KIND_WRITER,
    TOMBSTONE_PATH,
    Fact,
)
from tracker.storage.fold import SILENT_US, WriterSpan

RUN = "r1"
_WRITERS = ("wa", "wb", "wc", "wd")
_EDITORS = ("va", "wab", "wz")  # sort before, between and behind the run's own writers
_PATHS = ("a", "b", "a.x", "a.y", "a.x.p", "a\\.x", "_runtime")
_VALUES = st.one_of(
    st.just(DELETED),
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([2**70, 0.5, "s", ""]),
)
_STEP_US = SILENT_US // 8  # times on a coarse grid, so that ties and silences are common


@dataclass(frozen=True)
class EventLog:
    """Facts in some order, last points as facts of the summary, spans, when it is looked at, and what others wrote."""

    facts: list[Fact]
    points: list[Fact]
    spans: dict[str, WriterSpan]
    now_us: int
    edits: list[Fact] = field(default_factory=list)


class _Frames:
    """One writer's facts, frame after frame."""

    def __init__(self, run: str, writer: str, begun: int) -> None:
        self.run, self.writer, self.hlc, self.seq = run, writer, begun, 0
        self.facts: list[Fact] = []

    def next(self, later: int = 0) -> None:
        self.hlc, self.seq = self.hlc + later, self.seq + 1

    def write(self, kind: str, path: str, value: object) -> None:
        stamp = {"hlc_us": self.hlc * _STEP_US, "writer_id": self.writer, "seq": self.seq}
        self.facts.append(Fact(kind=kind, subject=self.run, path=path, value=value, **stamp))  # type: ignore[arg-type]

    def say(self, name: str, value: object) -> None:
        self.write(KIND_WRITER, f"{self.writer}.{name}", value)


@st.composite
def event_logs(draw: st.DrawFn, run: str = RUN) -> EventLog:
    facts: list[Fact] = []
    points: list[Fact] = []
    spans: dict[str, WriterSpan] = {}
    for writer in draw(st.lists(st.sampled_from(_WRITERS), min_size=1, max_size=4, unique=True)):
        begun = draw(st.integers(1, 9))
        frames = _Frames(run, writer, begun)
        if draw(st.integers(0, 4)):  # else a writer that only edits
            opened = draw(st.sampled_from([None, None, "g1", "g2", "g3", "g4+", "g5+"]))
            frames.say("generation", opened)
            if draw(st.integers(0, 2)) == 0:  # it says that a life begins in another one, its own or not
                _branch(draw, frames, opened)
            frames.say("job", draw(st.sampled_from([None, "j1", "j2"])))
            frames.say("rank", draw(st.sampled_from([None, "0", "1"])))
            frames.say("parent", draw(st.sampled_from([None, None, "wa", "wb"])))
            frames.say("started_at", begun * _STEP_US)
            frames.say("state", draw(st.sampled_from(["running", "running", "preempting"])))
        for _ in range(draw(st.integers(0, 4))):
            frames.next(draw(st.integers(0, 2)))
            kind = draw(st.sampled_from([KIND_CONFIG, KIND_CONFIG, KIND_SUMMARY, KIND_ATTR, "other"]))
            if draw(st.booleans()):
                frames.write(kind, draw(st.sampled_from(_PATHS)), draw(_VALUES))
            else:  # a dict takes a key's place: one frame
                frames.write(kind, "a", DELETED)
                for path in draw(st.lists(st.sampled_from(("a.x", "a.y", "a.x.p")), max_size=2, unique=True)):
                    frames.write(kind, path, draw(_VALUES))
        logged = _Frames(run, writer, frames.hlc)
        logged.seq = frames.seq
        for path in draw(st.lists(st.sampled_from(_PATHS), max_size=3, unique=True)):
            logged.next()
            logged.write(KIND_SUMMARY, path, draw(_VALUES.filter(lambda value: value is not DELETED)))
        if draw(st.booleans()):
            frames.seq = logged.seq
            frames.next(draw(st.integers(0, 3)))
            frames.say("state", draw(st.sampled_from(["finished", "failed", "killed"])))
            frames.say("ended_at", draw(st.sampled_from([None, frames.hlc * _STEP_US])))
        facts += frames.facts
        points += logged.facts
        spans[writer] = WriterSpan(writer, begun * _STEP_US, draw(st.integers(begun, frames.hlc + 1)) * _STEP_US)
    return EventLog(
        facts=draw(st.permutations(facts)),
        points=draw(st.permutations(points)),
        spans=spans,
        now_us=draw(st.integers(1, 26)) * _STEP_US,
        edits=draw(st.permutations(_edits(draw, run))),
    )


def _branch(draw: st.DrawFn, frames: _Frames, opened: str | None) -> None:
    pinned = draw(st.lists(st.sampled_from(_WRITERS), max_size=3, unique=True))
    value = {
        "run": draw(st.sampled_from([frames.run, frames.run, "other"])),
        "generation": draw(st.sampled_from(["", "g1", "g2"])),
        "step": draw(st.sampled_from([0, 3.5, None])),
        "writers": dict.fromkeys(pinned, 0),
    }
    frames.write(KIND_BRANCH, opened or draw(st.sampled_from(["g1", "g2"])), value)


def _edits(draw: st.DrawFn, run: str) -> list[Fact]:
    """What other processes wrote about the run: values, tombstones, restorations, and kinds that nobody may edit."""
    edits: list[Fact] = []
    for editor in draw(st.lists(st.sampled_from(_EDITORS), max_size=3, unique=True)):
        frames = _Frames(run, editor, draw(st.integers(0, 12)))
        for _ in range(draw(st.integers(1, 4))):
            match draw(st.integers(0, 5)):
                case 0:
                    frames.write(KIND_TOMBSTONE, TOMBSTONE_PATH, True)
                    for writer in draw(st.lists(st.sampled_from(_WRITERS), max_size=2, unique=True)):
                        frames.write(KIND_TOMBSTONE, f"{TOMBSTONE_PATH}.{writer}", True)
                case 1:
                    frames.write(KIND_TOMBSTONE, TOMBSTONE_PATH, DELETED)
                case 2:
                    frames.write(KIND_WRITER, draw(st.sampled_from(["wa.state", f"{editor}.state"])), "failed")
                case _:
                    kind = draw(st.sampled_from([KIND_CONFIG, KIND_SUMMARY, KIND_ATTR, "other"]))
                    frames.write(kind, draw(st.sampled_from(_PATHS)), draw(_VALUES))
            frames.next(draw(st.integers(0, 3)))
        edits += frames.facts
    return edits


def _life(writer: str, begun: int, last: int, **said: object) -> list[Fact]:
    """A session from `begun` to `last` that sets `a` to its own name."""
    frames = _Frames(RUN, writer, begun)
    for name, value in ({"started_at": begun * _STEP_US, "state": "running"} | said).items():
        frames.say(name, value)
    frames.next(last - begun)
    frames.write(KIND_CONFIG, "a", writer)
    frames.write(KIND_CONFIG, f"own\\.{writer}", True)
    return frames.facts


def _edit(editor: str, at: int, kind: str, path: str, value: object, seq: int = 0) -> Fact:
    return Fact(
        kind=kind, subject=RUN, path=path, value=value, hlc_us=at * _STEP_US, writer_id=editor, seq=seq
    )


def _delete(editor: str, at: int, *named: str, seq: int = 0) -> list[Fact]:
    paths = [TOMBSTONE_PATH, *(f"{TOMBSTONE_PATH}.{writer}" for writer in named)]
    return [_edit(editor, at, KIND_TOMBSTONE, path, True, seq) for path in paths]


def _rewind(writer: str, generation: str, at: int, **pinned: int) -> Fact:
    value = {"run": RUN, "generation": "g1", "step": 3, "writers": pinned}
    return Fact(
        kind=KIND_BRANCH, subject=RUN, path=generation, value=value, hlc_us=at * _STEP_US, writer_id=writer, seq=0
    )


def _scenario(lives: list[list[Fact]], edits: list[Fact]) -> EventLog:
    facts = [fact for life in lives for fact in life]
    spans = {
        writer: WriterSpan(
            writer,
            min(fact.hlc_us for fact in facts if fact.writer_id == writer),
            max(fact.hlc_us for fact in facts if fact.writer_id == writer),
        )
        for writer in {fact.writer_id for fact in facts}
    }
    return EventLog(facts, [], spans, 30 * _STEP_US, edits)


SCENARIOS = {
    "a child begun after the tombstone of its parent": _scenario(
        [_life("wa", 1, 9, generation="g1"), _life("wb", 6, 8, parent="wa")], _delete("va", 4)
    ),
    "a child whose parent is named": _scenario(
        [_life("wa", 9, 9, generation="g1"), _life("wb", 10, 11, parent="wa")], _delete("va", 4, "wa")
    ),
    "a child whose named parent has not arrived": _scenario([_life("wb", 10, 11, parent="wa")], _delete("va", 4, "wa")),
    "a resumed session after a tombstone": _scenario(
        [_life("wa", 1, 3, generation="g1"), _life("wb", 6, 8)],
        [_edit("va", 3, KIND_CONFIG, "b", 1), *_delete("va", 4, seq=1), _edit("va", 7, KIND_CONFIG, "c", 1, 2)],
    ),
    "resumed, then started anew": _scenario(
        [_life("wa", 1, 3, generation="g1"), _life("wb", 6, 8), _life("wc", 10, 12, generation="g2")], _delete("va", 4)
    ),
    "a deleted life that still writes beside a new one": _scenario(
        [_life("wa", 1, 20, generation="g1"), _life("wc", 10, 12, generation="g2")], _delete("va", 4)
    ),
    "begun at the very stamp of the tombstone": _scenario([_life("wa", 4, 6, generation="g1")], _delete("va", 4)),
    "an edit at the very stamp of the tombstone": _scenario(
        [_life("wa", 1, 2, generation="g1"), _life("wb", 5, 6)],
        [*_delete("va", 4), _edit("wz", 4, KIND_CONFIG, "b", 1)],
    ),
    "an edit when the second life began": _scenario(
        [_life("wa", 1, 2, generation="g1"), _life("wb", 5, 6, generation="g2")],
        [_edit("va", 5, KIND_CONFIG, "b", 1), _edit("wz", 4, KIND_CONFIG, "c", 1)],
    ),
    "edits that tie with the run's writers": _scenario(
        [_life("wa", 1, 5, generation="g1"), _life("wb", 1, 5)],
        [_edit("va", 5, KIND_CONFIG, "own\\.wb", 0), _edit("wab", 5, KIND_CONFIG, "a", "wab"),
         _edit("wz", 5, KIND_CONFIG, "own\\.wa", 0)],
    ),
    "delete and restore at one stamp": _scenario(
        [_life("wa", 1, 2, generation="g1")],
        [*_delete("va", 4), _edit("va", 4, KIND_TOMBSTONE, TOMBSTONE_PATH, DELETED, 1), *_delete("wz", 4, "wa")],
    ),
    "named in an older deletion only": _scenario(
        [_life("wa", 9, 9, generation="g1")], [*_delete("va", 4, "wa"), *_delete("va", 5, seq=1)]
    ),
    "named at the same stamp by another": _scenario(
        [_life("wa", 9, 9, generation="g1")], [*_delete("va", 4, "wa"), *_delete("wz", 4)]
    ),
    "named at the same stamp by a greater writer": _scenario(
        [_life("wa", 9, 9, generation="g1")],
        [*_delete("va", 4), _edit("wz", 4, KIND_TOMBSTONE, f"{TOMBSTONE_PATH}.wa", True)],
    ),
    "resumed where the newest life is hidden by name": _scenario(
        [_life("wa", 1, 3, generation="g1"), _life("wb", 20, 20, generation="g2"), _life("wc", 6, 8)],
        _delete("va", 4, "wb"),
    ),
    "resumed and ended, while the deleted session still writes, and a new life begins": _scenario(
        [_life("wa", 1, 25, generation="g1", job="j"), _life("wc", 6, 8, job="j"),
         _life("wb", 15, 16, generation="g2")],
        _delete("va", 4),
    ),
    "rewound while the old session and one that resumed it still write": _scenario(
        [_life("wa", 1, 25, generation="g1"), _life("wd", 2, 26),
         [*_life("wc", 10, 12, generation="g2"), _rewind("wc", "g2", 10, wa=3, wd=3)]],
        [],
    ),
    "rewound where nobody had opened a life": _scenario(
        [_life("wa", 1, 25), [*_life("wc", 10, 12, generation="g2"), _rewind("wc", "g2", 10, wa=3)]], []
    ),
    "rewound twice, the first life lives on": _scenario(
        [_life("wa", 1, 25), [*_life("wb", 10, 24, generation="g1"), _rewind("wb", "g1", 10, wa=3)],
         [*_life("wc", 12, 14, generation="g2"), _rewind("wc", "g2", 12, wb=3)]],
        [],
    ),
    "rewound, and then started anew beside it": _scenario(
        [_life("wa", 1, 25, generation="g1"),
         [*_life("wc", 10, 22, generation="g2"), _rewind("wc", "g2", 10, wa=3)],
         _life("wd", 20, 22, generation="g3")],
        [_edit("va", 5, KIND_CONFIG, "b", 1), _edit("wz", 21, KIND_CONFIG, "c", 1)],
    ),
    "a rewind whose life is deleted by name": _scenario(
        [_life("wa", 1, 25, generation="g1"),
         [*_life("wc", 10, 22, generation="g2"), _rewind("wc", "g2", 10, wa=3)]],
        _delete("va", 0, "wc"),
    ),
    "named, and the name taken back": _scenario(
        [_life("wa", 9, 9, generation="g1")],
        [*_delete("va", 4, "wa"), _edit("va", 5, KIND_TOMBSTONE, f"{TOMBSTONE_PATH}.wa", DELETED, 1)],
    ),
}  # fmt: skip
