"""A run that saves files and logs media as fast as it can, and says after each call that returned what it was.

Usage: files_writer.py WORK URL SHIPPER SEED. It is killed from outside.
"""

import hashlib
import os
import random
import sys

import tracker


def main(work: str, url: str, shipper: str, seed: str) -> None:
    os.chdir(work)
    chosen = random.Random(int(seed))
    run = tracker.init(
        project="p",
        settings={
            "base_url": url,
            "x_shipper": shipper,
            "x_flush_min_s": 0.05,
            "x_flush_max_s": 0.05,
            "silent": True,
            "console": "off",
        },
    )
    print(run.id, flush=True)
    number = 0
    while True:
        data = b"%d %d" % (number, int(seed)) * chosen.randrange(1, 20_000)
        sha256 = hashlib.sha256(data).hexdigest()
        if number % 3 == 0:
            run.recorder.files.put_bytes(f"bytes/{number}", data)
            os.write(1, b"file bytes/%d %s\n" % (number, sha256.encode()))
        elif number % 3 == 1:
            run.log({"media": {"_type": "x-file", **run.recorder.files.stage(data, f"media/{number}")}})
            os.write(1, b"media %d %s\n" % (number, sha256.encode()))
        else:
            with open(os.path.join(run.dir, f"own-{number}"), "wb") as file:
                file.write(data)
            os.write(1, b"file own-%d %s\n" % (number, sha256.encode()))
        number += 1


if __name__ == "__main__":
    main(*sys.argv[1:])
