"""choose_files: every frame from exactly one file, nothing below an existing file left out."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracker.storage.choose import Choice, choose_files, missing_families
from tracker.storage.names import PartName

W1, W2 = "0" * 26, "1" * 26


def part(text: str, writer: str = W1, run: str = "r1") -> PartName:
    """`"h 0-15"` or `"h 0-15 b"`: family, range, and which history its mark belongs to."""
    family, span, *history = text.split()
    first, last = map(int, span.split("-"))
    return PartName(run, writer, family, first, last, f"{(history or ['a'])[0]}{last:015d}")


def plan(choice: Choice) -> list[tuple[str, int, int]]:
    return [("".join(p.family for p in pick.parts), pick.first, pick.last) for pick in choice.picks]


def chosen(*texts: str) -> Choice:
    return choose_files([part(text) for text in texts])


def test_contiguous_parts_are_taken_whole_and_in_order():
    choice = chosen("e 4-9", "e 0-3")
    assert plan(choice) == [("e", 0, 3), ("e", 4, 9)]
    assert not any(pick.is_cut for pick in choice.picks)
    assert not choice.holes
    assert not choice.divergences


def test_a_file_that_overlaps_is_cut_to_the_frames_that_are_still_missing():
    choice = chosen("e 0-5", "e 3-9")
    assert plan(choice) == [("e", 0, 5), ("e", 6, 9)]
    assert [pick.is_cut for pick in choice.picks] == [False, True]


def test_the_larger_file_wins_and_what_it_covers_is_left_alone():
    assert plan(chosen("e 0-3", "e 4-7", "f 0-7", "h 0-7", "e 8-9")) == [("fh", 0, 7), ("e", 8, 9)]


def test_a_merged_set_wins_over_an_e_file_of_the_same_range():
    assert plan(chosen("e 0-7", "f 0-7", "h 0-7", "s 0-7", "c 0-7")) == [("fchs", 0, 7)]


def test_a_set_without_its_commit_file_is_ignored():
    assert plan(chosen("e 0-3", "e 4-7", "h 0-7", "s 0-7")) == [("e", 0, 3), ("e", 4, 7)]


def test_an_absent_family_of_a_committed_set_means_no_such_events():
    (pick,) = chosen("e 0-3", "f 0-3", "s 0-3").picks
    assert [p.family for p in pick.families("fh")] == ["f"]
    assert [p.family for p in pick.families("fhs")] == ["f", "s"]


def test_a_footer_that_lists_a_family_which_is_not_there_shows():
    (pick,) = chosen("f 0-3", "s 0-3").picks
    assert missing_families(pick, "fs") == ""
    assert missing_families(pick, "fhs") == "h"
    (whole,) = chosen("e 0-3").picks
    assert missing_families(whole, "fh") == ""


def test_a_hole_below_an_existing_file_is_reported_with_the_prefix():
    choice = chosen("e 0-3", "e 6-9")
    assert plan(choice) == [("e", 0, 3)]
    assert [(hole.frame, hole.beyond) for hole in choice.holes] == [(4, part("e 6-9"))]


def test_a_missing_beginning_is_a_hole_too():
    choice = chosen("e 1-3")
    assert plan(choice) == []
    assert choice.holes[0].frame == 0


def test_an_uncommitted_file_beyond_the_cover_shows_that_frames_are_missing():
    assert chosen("e 0-3", "h 0-9").holes[0].frame == 4


def test_two_histories_under_one_writer_are_reported_and_neither_is_chosen():
    choice = chosen("e 0-3", "e 4-9 a", "e 4-9 b", "e 10-12 a")
    assert plan(choice) == [("e", 0, 3)]
    assert not choice.holes
    (divergence,) = choice.divergences
    assert divergence.frame == 4
    assert set(divergence.parts) == {part("e 4-9 a"), part("e 4-9 b")}


def test_histories_are_compared_across_files_of_other_ranges():
    choice = chosen("e 0-3", "e 4-9 a", "f 0-9 b", "h 0-9 b")
    assert plan(choice) == [("e", 0, 3)]
    assert choice.divergences[0].frame == 4


def test_a_divergence_of_one_writer_leaves_the_others_alone():
    choice = choose_files([part("e 0-3 a"), part("e 0-3 b"), part("e 0-3", W2), part("e 0-5", W1, "r2")])
    assert [(pick.parts[0].run_segment, pick.parts[0].writer_id, pick.last) for pick in choice.picks] == [
        ("r1", W2, 3),
        ("r2", W1, 5),
    ]


@pytest.mark.parametrize("family", ["k", "q", "z"])
def test_families_of_later_versions_are_ignored(family):
    assert plan(chosen("e 0-3", f"{family} 0-9")) == [("e", 0, 3)]
    assert not chosen("e 0-3", f"{family} 0-9").holes


def spans() -> st.SearchStrategy[list[tuple[str, int, int]]]:
    edge = st.integers(0, 12)
    span = st.tuples(st.sampled_from(["e", "f", "fh", "fhs", "h"]), edge, edge)
    return st.lists(span.map(lambda s: (s[0], min(s[1:]), max(s[1:]))), max_size=10)


@settings(deadline=None)
@given(spans(), st.randoms(use_true_random=False))
def test_the_cover_is_exact_disjoint_and_as_long_as_it_can_be(spans: list[tuple[str, int, int]], rnd: random.Random):
    names = list({part(f"{family} {first}-{last}") for families, first, last in spans for family in families})
    choice = choose_files(names)
    rnd.shuffle(names)
    assert choose_files(names) == choice

    frames = [frame for pick in choice.picks for frame in range(pick.first, pick.last + 1)]
    held = {
        frame
        for families, first, last in spans
        if families[0] in "ef" or part(f"f {first}-{last}") in names
        for frame in range(first, last + 1)
    }
    prefix = next(frame for frame in range(14) if frame not in held)
    assert frames == list(range(prefix))
    assert all(pick.parts[0].first <= pick.first and pick.parts[0].last == pick.last for pick in choice.picks)
    assert bool(choice.holes) == any(last >= prefix for _, _, last in spans)
    assert not choice.divergences


@settings(deadline=None)
@given(spans(), st.integers(0, 12))
def test_a_second_history_never_changes_an_answer_silently(spans: list[tuple[str, int, int]], contested: int):
    names = {part(f"{family} {first}-{last}") for families, first, last in spans for family in families}
    other = part(f"e 0-{contested} b")
    choice = choose_files([*names, other])
    if any(name.last == contested for name in names):
        assert choice.divergences[0].frame <= contested
        assert all(pick.last < contested for pick in choice.picks)
    else:
        assert not choice.divergences
