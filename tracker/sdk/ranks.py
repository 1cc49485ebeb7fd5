"""Which process of a distributed job this is, from the environment that launchers set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Place", "find_place"]

# Rank variable, and the variables that name the launch it counts in; the first rank variable that is set decides.
# Not MASTER_ADDR and MASTER_PORT: they are the same again in the next launch, which would then claim this one's ranks.
_LAUNCHERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("RANK", ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "SLURM_JOB_ID", "SLURM_STEP_ID")),
    ("OMPI_COMM_WORLD_RANK", ("PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid", "SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID")),
    ("PMIX_RANK", ("PMIX_NAMESPACE", "SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID")),
    ("PMI_RANK", ("PMI_JOBID", "SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID")),
    ("MV2_COMM_WORLD_RANK", ("SLURM_JOB_ID", "PBS_JOBID")),
    ("JSM_NAMESPACE_RANK", ("LSB_JOBID",)),
    ("FLUX_TASK_RANK", ("FLUX_JOB_ID",)),
    ("SLURM_PROCID", ("SLURM_JOB_ID", "SLURM_STEP_ID")),
)


@dataclass(frozen=True, slots=True)
class Place:
    """`job` is equal for all ranks of one launch and None where nothing names it; `rank` is None outside of jobs."""

    job: str | None
    rank: str | None

    @property
    def is_primary(self) -> bool:
        """Whether this process speaks for the run: rank 0, or no job at all."""
        return self.rank is None or self.rank == "0"


def find_place(environ: Mapping[str, str]) -> Place:
    """Rank and job of this process. A rank that is no number counts as not set."""
    for variable, names in _LAUNCHERS:
        rank = environ.get(variable, "").strip()
        if not rank.isdecimal():
            continue
        parts = [f"{name}={environ[name]}" for name in names if environ.get(name, "none") not in ("", "none")]
        named = any(not part.startswith("TORCHELASTIC_RESTART_COUNT=") for part in parts)
        return Place(",".join(parts) if named else None, str(int(rank)))
    return Place(None, None)
