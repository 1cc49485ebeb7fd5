"""Writers are killed, stopped and replaced while others read and compact; after sync every row that `log` returned
from is there once, with its value. The short version runs by default, the full one with `pytest -m slow tests/crash`.
"""

from __future__ import annotations

import pytest
from chaos import Chaos, sync_until_clean
from emulator.servers import FaultyStore

FAULTS = [  # one request in five goes wrong; on each the rules are tried in this order
    {"mode": "err_before", "p": 0.05, "status": 503},
    {"mode": "err_after", "p": 0.05, "status": 500},
    {"mode": "drop_before", "p": 0.05},
    {"mode": "drop_after", "p": 0.05},
    {"mode": "delay", "p": 0.02, "delay_s": 3.0},
]


def run(chaos: Chaos, limit_s: float) -> None:
    chaos.run(limit_s)
    assert not chaos.faults, chaos.faults[:10]


def told(chaos: Chaos) -> str:
    assert chaos.answers["rows"] > 10, f"readers got no answers: {chaos.refusals}"
    hurt = f"{dict(chaos.kills)}; answers {dict(chaos.answers)}; refused {dict(chaos.refusals)}"
    return f"{chaos.check()} rows of {chaos.sessions} sessions; {hurt}"


def test_a_few_writers_on_a_local_root(tmp_path):
    chaos = Chaos(tmp_path / "work", str(tmp_path / "root"), seed=1, slots=4, sessions=10, kill_every_s=0.8)
    run(chaos, 60)
    sync_until_clean(chaos.work)
    assert chaos.check() > 100


def test_a_few_writers_on_s3_with_every_fifth_request_failing(tmp_path, s3_faults: FaultyStore):
    s3_faults.proxy.set_faults(*FAULTS)
    chaos = Chaos(tmp_path / "work", s3_faults.url, seed=2, slots=3, sessions=6, kill_every_s=1.0)
    run(chaos, 60)
    s3_faults.proxy.set_faults()
    sync_until_clean(chaos.work)
    assert chaos.check() > 100


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_64_writers_on_a_local_root(tmp_path):
    chaos = Chaos(
        tmp_path / "work", str(tmp_path / "root"), seed=3, slots=64, sessions=256, rows=2000, readers=2, compactors=2,
        kill_every_s=0.3,
    )  # fmt: skip
    run(chaos, 1500)
    sync_until_clean(chaos.work, 600)
    print(told(chaos))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_64_writers_on_s3_with_every_fifth_request_failing(tmp_path, s3_faults: FaultyStore):
    s3_faults.proxy.set_faults(*FAULTS)
    chaos = Chaos(
        tmp_path / "work", s3_faults.url, seed=4, slots=64, sessions=128, rows=1000, readers=2, compactors=2,
        kill_every_s=0.5,
    )  # fmt: skip
    run(chaos, 1500)
    s3_faults.proxy.set_faults()
    sync_until_clean(chaos.work, 900)
    print(told(chaos))
