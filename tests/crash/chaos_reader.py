"""A process that reads the project again and again through the public Api, and says what was wrong with any answer.

Usage: chaos_reader.py URL. One JSON line an answer, until standard input ends: {"rows": ...}, {"refused": why} when
the store did not answer or the picture did not hold together (which is no fault), or {"fault": what}.
"""

import json
import select
import sys
from collections import defaultdict

from chaos_writer import ENTITY, PROJECT, text_of

import tracker
from tracker.storage.errors import TrackerError


def main(url: str) -> None:
    seen: defaultdict[str, int] = defaultdict(int)
    while not select.select([sys.stdin], [], [], 0.05)[0]:
        try:
            found = read_rows(url)
        except TrackerError as exc:
            say(refused=f"{type(exc).__name__}: {exc}"[:500])
            continue
        for writer, rows in found.items():
            if rows != [(number, number / 7, text_of(writer, number)) for number in range(len(rows))]:
                say(fault=f"{writer}: {len(rows)} rows are not the first ones")
            if len(rows) < seen[writer]:
                say(fault=f"{writer}: {len(rows)} rows where {seen[writer]} had been seen")
            seen[writer] = len(rows)
        for writer in set(seen) - set(found):
            if seen[writer]:
                say(fault=f"{writer}: no rows where {seen[writer]} had been seen")
        say(rows=sum(map(len, found.values())))


def read_rows(url: str) -> dict[str, list[tuple[int, float, str]]]:
    """(n, f, text) of all rows, by what they say who wrote them, in the order of their numbers."""
    api = tracker.Api(overrides={"base_url": url})
    found: defaultdict[str, list[tuple[int, float, str]]] = defaultdict(list)
    for run in api.runs(f"{ENTITY}/{PROJECT}"):
        for row in run.scan_history():
            found[row["w"]].append((row["n"], row["f"], row["text"]))
    return {writer: sorted(rows) for writer, rows in found.items()}


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
