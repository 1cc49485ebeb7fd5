"""Names in the store: every path is built and parsed here. Final from the first release on."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from typing import Final

from tracker.storage.errors import UsageError

__all__ = [
    "ENTITY_PROJECT",
    "FAMILIES",
    "FORMAT_KEY",
    "PartName",
    "RunRef",
    "blob_key",
    "blobs_prefix",
    "decode_name",
    "edits_prefix",
    "encode_name",
    "is_ulid",
    "manifest_key",
    "manifests_prefix",
    "new_ulid",
    "pack_key",
    "packs_prefix",
    "parse_blob_key",
    "parse_edit_key",
    "parse_event_key",
    "parse_manifest_key",
    "parse_pack_key",
    "parse_part_key",
    "parse_thing_key",
    "project_prefix",
    "run_prefix",
    "runs_prefix",
    "thing_prefix",
    "things_prefix",
    "ulid_time_us",
]

FORMAT_KEY: Final = "_format.json"
ENTITY_PROJECT: Final = "_entity"  # reserved: holds the things that belong to an entity and to none of its projects
FAMILIES: Final = frozenset("efhscr")  # readers ignore letters that they do not know

_KEEP = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-._")
_DEVICES = frozenset(
    ["con", "prn", "aux", "nul", *(f"com{n}" for n in range(10)), *(f"lpt{n}" for n in range(10))]
)
_SEGMENT_BYTES_MAX = 120
_CUT_MARK = "!!"  # cannot occur otherwise: "!" is always followed by two hex digits


def encode_name(name: str) -> str:
    """One path segment for any user's name: injective, readable where it can be, never `.` or `..`.

    Lower-case letters, digits, `-`, `.`, `_` stay; every other byte of the UTF-8 form becomes `!xx`
    (capitals too: file systems that fold case must not fold two runs into one). A leading dot or
    underscore, a trailing dot and the first letter of a Windows device name are escaped. A result over
    120 bytes is cut and ends in `!!` and a hash; the full name then stands in the file's footer.

    Raises:
        UsageError: the name is empty.
    """
    if not name:
        raise UsageError("A name in the store must not be empty. Give the entity, project or run a name.")
    out = [char if char in _KEEP else _escape(char) for char in name]
    if out[0] in "._":
        out[0] = _escape(out[0])
    if out[-1] == ".":
        out[-1] = _escape(out[-1])
    if name.split(".", 1)[0] in _DEVICES:
        out[0] = _escape(name[0])
    text = "".join(out)
    if len(text) <= _SEGMENT_BYTES_MAX:
        return text
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    head = ""
    for piece in out:
        if len(head) + len(piece) + len(_CUT_MARK) + len(digest) > _SEGMENT_BYTES_MAX:
            break
        head += piece
    return f"{head}{_CUT_MARK}{digest}"


def decode_name(segment: str) -> str | None:
    """The user's name, or None when the segment was cut (then the footer knows it)."""
    if _CUT_MARK in segment:
        return None
    raw = re.sub(rb"!([0-9a-f]{2})", lambda match: bytes([int(match[1], 16)]), segment.encode())
    return raw.decode("utf-8", "surrogatepass")


def _escape(char: str) -> str:
    return "".join(f"!{byte:02x}" for byte in char.encode("utf-8", "surrogatepass"))


@dataclass(frozen=True, slots=True, order=True)
class RunRef:
    """Which run: the names as the user wrote them."""

    entity: str
    project: str
    run_id: str


def project_prefix(entity: str, project: str) -> str:
    return f"{encode_name(entity)}/{encode_name(project)}/"


def runs_prefix(entity: str, project: str) -> str:
    """Below it lie all files of all runs of a project, except packed ones."""
    return f"{project_prefix(entity, project)}runs/"


def run_prefix(ref: RunRef) -> str:
    """Below it lie the run's files, one folder a writer. The one hex digit lets a large listing fan out."""
    segment = encode_name(ref.run_id)
    fan = hashlib.sha1(segment.encode()).hexdigest()[0]
    return f"{runs_prefix(ref.entity, ref.project)}{fan}/{segment}/"


@dataclass(frozen=True, slots=True)
class PartName:
    """What a part's key says: which frames of which writer it covers, and under which history."""

    run_segment: str  # encode_name(run id); "" of edits; `<kind>/<encode_name(id)>` of things
    writer_id: str
    family: str  # e: everything; f: facts; h: history; s: system; c: console; r: rollups of the others
    first: int  # frames, inclusive
    last: int
    mark: str  # hash chain of the writer's frames up to `last`: equal for equal histories

    @property
    def file_name(self) -> str:
        return f"{self.family}-{self.first:012d}-{self.last:012d}-{self.mark}.parquet"


_FILE = (
    r"(?P<writer>[0-9a-z]{26})/(?P<family>[a-z])-(?P<first>\d{12})-(?P<last>\d{12})-(?P<mark>[0-9a-f]{16})\.parquet$"
)
_PART = re.compile(rf"(?:^|/)runs/[0-9a-f]/(?P<run>[^/]+)/{_FILE}")
_EDIT = re.compile(rf"(?:^|/)things/edits/(?P<run>){_FILE}")  # the run is empty: every row names its subject
_THING = re.compile(rf"(?:^|/)things/(?P<run>(?!edits/)[a-z][a-z0-9_-]*/[^/]+)/{_FILE}")
_KIND = re.compile(r"[a-z][a-z0-9_-]*")


def parse_part_key(key: str) -> PartName | None:
    """The part's name, or None for anything that is not a part of a run (foreign files are no error)."""
    return _part_name(_PART.search(key))


def edits_prefix(entity: str, project: str) -> str:
    """Below it lie the changes that processes made to runs which they do not write, one folder a writer."""
    return f"{project_prefix(entity, project)}things/edits/"


def parse_edit_key(key: str) -> PartName | None:
    """The name of a file of edits, its run segment empty, or None for anything else."""
    return _part_name(_EDIT.search(key))


def things_prefix(entity: str, project: str, kind: str | None = None) -> str:
    """Below it lie the facts about things (of one kind): all that is no run, and edits of runs.

    Raises:
        UsageError: `kind` is no word of lower-case letters, digits, "-" and "_", or is reserved.
    """
    if kind is None:
        return f"{project_prefix(entity, project)}things/"
    if kind == "edits" or _KIND.fullmatch(kind) is None:
        raise UsageError(f"{kind!r} is no kind of a thing. Use lower-case letters, digits, - and _, not edits.")
    return f"{project_prefix(entity, project)}things/{kind}/"


def thing_prefix(entity: str, project: str, kind: str, thing_id: str) -> str:
    """Below it lie the facts about one thing, one folder a writer. Raises as `things_prefix` and `encode_name`."""
    return f"{things_prefix(entity, project, kind)}{encode_name(thing_id)}/"


def parse_thing_key(key: str) -> PartName | None:
    """The name of a file of facts about a thing, its run segment `<kind>/<id segment>`, or None for anything else."""
    return _part_name(_THING.search(key))


def parse_event_key(key: str) -> PartName | None:
    """The name of a loose file of events, whatever they are about: a run, edits of runs, or a thing."""
    return parse_part_key(key) or parse_edit_key(key) or parse_thing_key(key)


def _part_name(match: re.Match[str] | None) -> PartName | None:
    if match is None:
        return None
    part = PartName(
        run_segment=match["run"],
        writer_id=match["writer"],
        family=match["family"],
        first=int(match["first"]),
        last=int(match["last"]),
        mark=match["mark"],
    )
    return part if part.first <= part.last else None


def packs_prefix(entity: str, project: str) -> str:
    return f"{project_prefix(entity, project)}packs/"


def pack_key(entity: str, project: str, pack_id: str, family: str) -> str:
    """Key of one file of a pack. `family`: f, h, s, c, r, k, or `cover`."""
    return f"{packs_prefix(entity, project)}{pack_id}.{family}.parquet"


_PACK = re.compile(r"(?:^|/)packs/(?P<id>[0-9a-z]{26})\.(?P<family>[a-z]|cover)\.parquet$")


def parse_pack_key(key: str) -> tuple[str, str] | None:
    """(pack id, family) of a pack's file, or None for anything else."""
    match = _PACK.search(key)
    return None if match is None else (match["id"], match["family"])


def manifests_prefix(entity: str, project: str) -> str:
    return f"{project_prefix(entity, project)}manifests/"


def manifest_key(entity: str, project: str, number: int) -> str:
    """Key of manifest `number` (0, 1, 2, ...); the highest one counts."""
    return f"{manifests_prefix(entity, project)}{number:012d}.json"


_MANIFEST = re.compile(r"(?:^|/)manifests/(?P<number>\d{12})\.json$")


def parse_manifest_key(key: str) -> int | None:
    match = _MANIFEST.search(key)
    return None if match is None else int(match["number"])


def blobs_prefix(entity: str, project: str) -> str:
    return f"{project_prefix(entity, project)}blobs/"


def blob_key(entity: str, project: str, sha256: str) -> str:
    """Key of the bytes whose SHA-256 is `sha256` (64 hex digits). Empty contents have no object."""
    return f"{blobs_prefix(entity, project)}{sha256[:2]}/{sha256}"


_BLOB = re.compile(r"(?:^|/)blobs/(?P<fan>[0-9a-f]{2})/(?P<sha256>[0-9a-f]{64})$")


def parse_blob_key(key: str) -> str | None:
    """The SHA-256 that the key of a blob says, or None for anything else."""
    match = _BLOB.search(key)
    return None if match is None or not match["sha256"].startswith(match["fan"]) else match["sha256"]


_BASE32 = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford, lower case: the segment needs no escaping
_ULID = re.compile(rf"[0-7][{_BASE32}]{{25}}")


def new_ulid(time_us: int, random_bytes: bytes | None = None) -> str:
    """26 characters that sort by time (milliseconds), then 80 random bits."""
    noise = os.urandom(10) if random_bytes is None else random_bytes
    number = (time_us // 1000) << 80 | int.from_bytes(noise)
    return "".join(_BASE32[number >> shift & 31] for shift in range(125, -1, -5))


def is_ulid(text: str) -> bool:
    return _ULID.fullmatch(text) is not None


def ulid_time_us(ulid: str) -> int:
    """When the ULID was made, microseconds since the epoch."""
    number = 0
    for char in ulid:
        number = number << 5 | _BASE32.index(char)
    return (number >> 80) * 1000
