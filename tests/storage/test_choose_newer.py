"""Part choice for who has read the beginning: all that follows, once, and little twice."""

from __future__ import annotations

import random

import pytest

from tracker.storage.choose import Pick, choose_files, choose_newer
from tracker.storage.names import PartName

W = ("r", "0" * 26)


def part(first: int, last: int, family: str = "e", writer: str = W[1], mark: str | None = None) -> PartName:
    return PartName(W[0], writer, family, first, last, mark or f"{last:016x}")


def frames(picks: tuple[Pick, ...]) -> list[int]:
    return [frame for pick in picks for frame in range(pick.first, pick.last + 1)]


def test_small_files_go_before_merged_ones_that_begin_earlier() -> None:
    names = [part(n, n) for n in range(5)] + [part(0, 4)]
    (pick,) = choose_newer(names, {W: 4}) or ()
    assert pick == Pick(4, 4, (part(4, 4),))
    assert not pick.is_cut


def test_where_only_the_merged_file_is_left_it_is_cut() -> None:
    merged = [part(0, 9, family) for family in "fhs"]
    (pick,) = choose_newer([*merged, part(10, 12)], {W: 8})[:1]  # type: ignore[index]
    assert (pick.first, pick.last, pick.is_cut) == (8, 9, True)
    assert {one.family for one in pick.parts} == set("fhs")
    assert choose_newer([part(0, 9, "h"), part(10, 12)], {W: 8}) is None  # the file that commits the set is missing


def test_a_new_writer_is_read_from_its_beginning_and_one_without_news_not_at_all() -> None:
    other = "1" * 26
    picks = choose_newer([part(0, 3), part(0, 1, writer=other), part(2, 2, writer=other)], {W: 4})
    assert picks is not None
    assert [(pick.parts[0].writer_id, pick.first, pick.last) for pick in picks] == [(other, 0, 1), (other, 2, 2)]


@pytest.mark.parametrize(
    "names",
    [
        [part(3, 4)],  # frame 2 is in no file
        [part(2, 2), part(4, 4)],
        [part(2, 2), part(2, 2, mark="f" * 16)],  # two histories
        [part(0, 1), part(0, 1, mark="f" * 16), part(2, 2)],
    ],
)
def test_what_the_names_do_not_say_is_left_to_who_opens_the_run(names: list[PartName]) -> None:
    assert choose_newer(names, {W: 2}) is None


@pytest.mark.parametrize("seed", range(80))
def test_with_the_known_frames_it_is_what_everybody_reads(seed: int) -> None:
    """Any small files and merges of them, some deleted: `choose_files` says how far the frames reach."""
    chance = random.Random(seed)
    cuts = sorted(chance.sample(range(1, 30), chance.randrange(1, 10)))
    small = [part(first, last - 1) for first, last in zip([0, *cuts], [*cuts, 30], strict=True)]
    merges = []
    for _ in range(chance.randrange(4)):
        low, high = sorted(chance.sample(range(len(small) + 1), 2))
        families = chance.choice(["e", "fh", "fhsc", "f", "h"])
        merges += [part(small[low].first, small[high - 1].last, family) for family in families]
    names = [one for one in small if chance.random() < 0.8] + merges
    chance.shuffle(names)
    everything = frames(choose_files(names).picks)
    known = chance.randrange(len(everything) + 1)
    found = choose_newer(names, {W: known})
    if found is None:
        reach = max((one.last for one in names), default=-1)
        assert reach + 1 > len(everything)
    else:
        assert frames(found) == everything[known:]
