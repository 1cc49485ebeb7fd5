"""Plans are pure: whatever is listed, what they choose holds together, and no more is deleted than is covered."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from tracker.storage.choose import choose_files
from tracker.storage.manifest import Manifest, Pack
from tracker.storage.names import PartName
from tracker.storage.pack_plan import (
    Coverage,
    Held,
    PackRules,
    covered_by_packs,
    covered_by_sets,
    group_writers,
    plan_checkpoint,
    plan_pack_merge,
    plan_writers,
    settled_number,
)
from tracker.storage.port import ObjectInfo

NOW_US = 1_000_000
WRITERS = ("a" * 26, "b" * 26)
RULES = PackRules(quiet_us=1000, ended_quiet_us=100, writer_bytes_max=500, pack_bytes_max=800)


def part(writer: str, family: str, first: int, last: int, mark: str = "") -> PartName:
    return PartName("run", writer, family, first, last, mark or f"{last:016x}")


@st.composite
def listings(draw: st.DrawFn) -> dict[PartName, ObjectInfo]:
    """Parts and sets of two writers, anything missing, of any age and size; sometimes with two histories."""
    found = {}
    for writer in WRITERS:
        for _ in range(draw(st.integers(0, 6))):
            first = draw(st.integers(0, 8))
            last = first + draw(st.integers(0, 6))
            families = draw(st.sampled_from(["e", "f", "fh", "h", "fhsr", "ex"]))
            mark = draw(st.sampled_from(["", "", "", "", "f" * 16]))
            age_us = draw(st.sampled_from([0, 50, 100, 500, 1000, 5000, NOW_US]))
            for family in families:
                name = part(writer, family, first, last, mark)
                size_bytes = draw(st.integers(1, 300))
                found[name] = ObjectInfo(f"main/p/runs/0/run/{writer}/{name.file_name}", size_bytes, NOW_US - age_us)
    return found


def coverages() -> st.SearchStrategy[dict[str, int]]:
    return st.dictionaries(st.sampled_from(WRITERS), st.integers(0, 10))


@settings(deadline=None)
@given(objects=listings(), ends=coverages(), hidden=st.sampled_from([None, *WRITERS]))
def test_what_is_packed_is_whole_quiet_and_follows_what_packs_hold(objects, ends, hidden):
    packed = {("run", writer): end for writer, end in ends.items()}
    plans = plan_writers(objects, packed, lambda _, writer: writer == hidden, NOW_US, RULES)
    whole = choose_files(objects, packed)
    for plan in plans:
        writer = plan.run_segment, plan.writer_id
        assert plan.writer_id != hidden
        assert plan.first == packed.get(writer, -1) + 1
        assert all(one.last + 1 == other.first for one, other in zip(plan.picks, plan.picks[1:], strict=False))
        mine = [(name, info) for name, info in objects.items() if name.writer_id == plan.writer_id]
        assert max(name.last for name, _ in mine if name.family in "efhscr") == plan.last  # no frame is left behind
        silent_us = NOW_US - max(info.modified_us for _, info in mine)
        assert silent_us >= (100 if plan.must_have_ended else 1000)
        assert plan.size_bytes == sum(objects[name].size_bytes for pick in plan.picks for name in pick.parts) <= 500
        assert set(plan.picks) <= set(whole.picks)
        assert not any(hole.beyond.writer_id == plan.writer_id for hole in whole.holes)
        assert not any(part.writer_id == plan.writer_id for split in whole.divergences for part in split.parts)
    grouped = group_writers(plans, RULES.pack_bytes_max)
    assert [plan for group in grouped for plan in group] == plans
    assert all(sum(plan.size_bytes for plan in group) <= RULES.pack_bytes_max for group in grouped)


def test_an_object_whose_time_is_not_known_is_new():
    name = part(WRITERS[0], "e", 0, 3)
    objects = {name: ObjectInfo("k", 5, 0)}
    assert plan_writers(objects, {}, lambda *_: False, NOW_US, RULES) == []
    assert covered_by_sets(objects | {part(WRITERS[0], "e", 0, 1): ObjectInfo("l", 5, 1)}, {}, NOW_US, 10, 10) == {}
    assert settled_number({0: ObjectInfo("m", 5, 0)}, NOW_US, 10) == -1


def held(pack: str, first: int, last: int, mark: str = "") -> Held:
    return Held(first, last, mark or f"{last:016x}", pack)


def pack(number: int, size_bytes: int = 100, since: int = 0) -> Pack:
    return Pack(id=f"{number:026d}", families={"f": size_bytes}, writers=1, events=1, hlc_max_us=1, since=since)


@settings(deadline=None)
@given(
    objects=listings(),
    cuts=st.lists(st.integers(1, 5), max_size=4),
    since=st.integers(0, 3),
    settled=st.integers(-1, 3),
)
def test_only_what_settled_packs_cover_from_the_first_frame_on_is_deleted(objects, cuts, since, settled):
    packs, extents, first = [], [], 0
    for number, frames in enumerate(cuts):
        packs.append(pack(number, since=since + number))
        extents.append((("run", WRITERS[0]), held(packs[-1].id, first, first + frames - 1)))
        first += frames
    old_end = sum(frames for one, frames in zip(packs, cuts, strict=True) if one.since <= settled) - 1
    covered, diverging = covered_by_packs(
        objects, Coverage.of(extents), Manifest(number=3, packs=tuple(packs)), settled
    )
    for name in objects:
        inside = name.writer_id == WRITERS[0] and name.last <= old_end and name.family != "x"
        assert (name in covered or name in diverging) == inside
    for name in diverging:
        assert name not in covered
        assert name.mark != f"{name.last:016x}"
    # whatever goes, what is left and the packs hold the same frames
    frames = Coverage.of(extents).frames()
    left = {name for name in objects if name not in covered}
    before, after = choose_files(objects, frames), choose_files(left, frames)
    assert before.picks == after.picks


@settings(deadline=None)
@given(objects=listings(), ends=coverages())
def test_deleting_what_sets_cover_changes_no_choice(objects, ends):
    packed = {("run", writer): end for writer, end in ends.items()}
    covered = covered_by_sets(objects, packed, NOW_US, 100, 500)
    for name, pick in covered.items():
        assert pick.parts[0].first <= name.first <= name.last <= pick.last
        assert name not in pick.parts
        assert name.writer_id == pick.parts[0].writer_id
        assert all(NOW_US - objects[one].modified_us >= 100 for one in pick.parts)
    before = choose_files(objects, packed)
    after = choose_files([name for name in objects if name not in covered], packed)
    assert before.picks == after.picks
    assert {hole.frame for hole in before.holes} == {hole.frame for hole in after.holes}


@settings(deadline=None)
@given(sizes=st.lists(st.integers(1, 3000), max_size=80), split=st.lists(st.integers(0, 79), max_size=6))
def test_packs_that_are_merged_are_of_one_size_fit_and_join(sizes, split):
    packs = [pack(number, size * 1000) for number, size in enumerate(sizes)]
    writer = ("run", WRITERS[0])
    places = sorted({n for n in split if n < len(packs)})
    coverage = Coverage.of((writer, held(packs[n].id, at * 5, at * 5 + 4)) for at, n in enumerate(places))
    chosen = plan_pack_merge(packs, coverage, 8_000_000)
    assert len(chosen) != 1
    assert len(chosen) <= 16
    assert sum(one.families["f"] for one in chosen) <= 8_000_000
    ids = {one.id for one in chosen}
    inside = [at for at, n in enumerate(places) if packs[n].id in ids]
    assert inside == list(range(inside[0], inside[0] + len(inside))) if inside else True
    if not chosen and not places:
        tiers = Counter(len(f"{size * 1000 // (64 << 10):x}") if size * 1000 >= 64 << 10 else 0 for size in sizes)
        assert all(count < 16 for count in tiers.values()) or max(sizes) * 2000 > 8_000_000


def test_a_project_keeps_few_packs_and_rewrites_each_event_few_times():
    packs: list[Pack] = []
    rewritten = total = 0
    for number in range(3000):
        packs.append(pack(number, 10_000))
        total += 10_000
        while chosen := plan_pack_merge(packs, Coverage({}), 256 << 20):
            size = sum(one.families["f"] for one in chosen)
            rewritten += size
            packs = [one for one in packs if one not in chosen] + [pack(number + 10_000, size)]
        assert len(packs) <= 15 * 4
    assert rewritten <= 3 * total


@settings(deadline=None)
@given(st.lists(st.integers(1, 40 << 20), min_size=1, max_size=12))
def test_checkpoints_are_merged_into_a_falling_row(sizes):
    count = plan_checkpoint(sizes)
    assert 1 <= count <= len(sizes)
    kept = sizes[: len(sizes) - count]
    if kept:
        assert kept[-1] > 24 << 20 or kept[-1] >= 4 * sum(sizes[len(kept) :])


def test_many_equal_checkpoints_stay_few():
    sizes: list[int] = []
    for _ in range(2000):
        sizes.append(20_000)
        count = plan_checkpoint(sizes)
        sizes[-count:] = [sum(sizes[-count:])]
        assert len(sizes) <= 5


def test_a_manifest_is_settled_when_every_reader_that_missed_it_has_ended():
    listed = {n: ObjectInfo(f"m{n}", 5, at) for n, at in ((3, 100), (4, 200), (5, 900))}
    assert settled_number(listed, 1000, 100) == 5
    assert settled_number(listed, 1000, 101) == 4
    assert settled_number(listed, 1000, 900) == 3
    assert settled_number(listed, 1000, 901) == -1
