"""Metrics that other programs show over HTTP: OpenMetrics endpoints (SYS-8), and DCGM's exporter for GPUs."""

from __future__ import annotations

import json
import math
import re
import urllib.parse
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from tracker.sdk import term
from tracker.sdk.system.exposition import Sample, parse_exposition
from tracker.sdk.system.source import Values

__all__ = ["DcgmSource", "Filter", "OpenMetricsSource", "dcgm_values", "filters_of", "samples_of_query"]

_TIMEOUT_S: Final = 5.0
_BYTES_MAX: Final = 16 << 20
_SERIES_MAX: Final = 10_000  # of one endpoint
_BLANK_FROM: Final = 9.2e18  # DCGM's values for "not known" are just below 2**63
_MIB: Final = 1024**2
Filter = tuple[re.Pattern[str], tuple[tuple[str, re.Pattern[str]], ...]]

_DCGM: Final = {  # key of ours, factor. Source: NVIDIA DCGM documentation, field ids; frame buffer is in MiB
    "DCGM_FI_DEV_GPU_UTIL": ("gpu", 1.0),
    "DCGM_FI_DEV_MEM_COPY_UTIL": ("memory", 1.0),
    "DCGM_FI_DEV_GPU_TEMP": ("temp", 1.0),
    "DCGM_FI_DEV_POWER_USAGE": ("powerWatts", 1.0),
    "DCGM_FI_DEV_ENFORCED_POWER_LIMIT": ("enforcedPowerLimitWatts", 1.0),
    "DCGM_FI_DEV_SM_CLOCK": ("smClock", 1.0),
    "DCGM_FI_DEV_MEM_CLOCK": ("memoryClock", 1.0),
    "DCGM_FI_DEV_ENC_UTIL": ("encoderUtilization", 1.0),
    "DCGM_FI_DEV_FAN_SPEED": ("fanSpeed", 1.0),
    "DCGM_FI_DEV_FB_USED": ("memoryAllocatedBytes", float(_MIB)),
    "DCGM_FI_DEV_FB_TOTAL": ("memoryTotalBytes", float(_MIB)),
    "DCGM_FI_DEV_FB_FREE": ("memoryFreeBytes", float(_MIB)),
    "DCGM_FI_DEV_MEMORY_TEMP": ("memoryTemp", 1.0),
    "DCGM_FI_PROF_SM_ACTIVE": ("smActive", 1.0),
    "DCGM_FI_PROF_SM_OCCUPANCY": ("smOccupancy", 1.0),
    "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE": ("pipeTensorActive", 1.0),
    "DCGM_FI_PROF_PIPE_FP64_ACTIVE": ("pipeFp64Active", 1.0),
    "DCGM_FI_PROF_PIPE_FP32_ACTIVE": ("pipeFp32Active", 1.0),
    "DCGM_FI_PROF_PIPE_FP16_ACTIVE": ("pipeFp16Active", 1.0),
    "DCGM_FI_PROF_PCIE_TX_BYTES": ("pcieTxBytes", 1.0),
    "DCGM_FI_PROF_PCIE_RX_BYTES": ("pcieRxBytes", 1.0),
    "DCGM_FI_PROF_NVLINK_TX_BYTES": ("nvlinkTxBytes", 1.0),
    "DCGM_FI_PROF_NVLINK_RX_BYTES": ("nvlinkRxBytes", 1.0),
}


class OpenMetricsSource:
    """The gauges and counters of one endpoint."""

    def __init__(self, name: str, url: str, filters: Sequence[Filter], headers: Mapping[str, str]) -> None:
        """`name` stands in the keys. Raises ValueError: `url` is no http address."""
        self._name, self._url, self._filters, self._headers = name, _checked(url), filters, dict(headers)
        self._series: dict[str, dict[tuple[tuple[str, str], ...], int]] = {}
        self._count = 0

    def read(self) -> Values:
        """`openmetrics.<endpoint>.<metric>.<series>`; series are numbered per metric as they come. Raises OSError."""
        return self._values(parse_exposition(_fetched(self._url, self._headers)))

    def close(self) -> None:
        """Nothing is held open."""

    def _values(self, samples: Iterable[Sample]) -> Values:
        values: Values = {}
        for sample in samples:
            if not _passes(f"{self._name}.{sample.name}", dict(sample.labels), self._filters):
                continue
            known = self._series.setdefault(sample.name, {})
            if sample.labels not in known:
                if self._count >= _SERIES_MAX:
                    continue
                known[sample.labels] = len(known)
                self._count += 1
                if self._count == _SERIES_MAX:
                    term.warn(
                        f"{self._url} shows more than {_SERIES_MAX:,} series; the first ones are recorded. "
                        f"Choose some with settings.x_stats_open_metrics_filters."
                    )
            if math.isfinite(sample.value):
                values[f"openmetrics.{self._name}.{sample.name}.{known[sample.labels]}"] = sample.value
        return values


class DcgmSource:
    """GPUs as an exporter of DCGM shows them: its `/metrics`, or the answer of a Prometheus to a query."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        """`url` ends in `/metrics`, or is `.../api/v1/query?query=...`. Raises ValueError: it is no http address."""
        self._headers = dict(headers)
        parts = urllib.parse.urlsplit(_checked(url))
        queries = urllib.parse.parse_qs(parts.query).get("query", [])
        self._is_query = parts.path.endswith("/api/v1/query")
        if self._is_query and not queries:
            raise ValueError(f"{url!r} asks nothing. Write it as .../api/v1/query?query=DCGM_FI_DEV_GPU_UTIL")
        encoded = [urllib.parse.urlencode({"query": query}) for query in queries] if self._is_query else [parts.query]
        self._urls = [urllib.parse.urlunsplit((parts.scheme, parts.netloc, parts.path, text, "")) for text in encoded]

    def read(self) -> Values:
        """See `dcgm_values`. Raises OSError or ValueError: no answer."""
        values: Values = {}
        for url in self._urls:
            text = _fetched(url, self._headers)
            values |= dcgm_values(samples_of_query(json.loads(text)) if self._is_query else parse_exposition(text))
        return values

    def close(self) -> None:
        """Nothing is held open."""


def dcgm_values(samples: Iterable[Sample]) -> Values:
    """`gpu.<i>.<key>`, with `/l:<node>` where the samples name one; fields we have no key for are left out."""
    values: Values = {}
    for sample in samples:
        labels = dict(sample.labels)
        index = labels.get("gpu") or labels.get("device", "").removeprefix("nvidia")
        name, factor = _DCGM.get(sample.name, ("", 0.0))
        if not name or not index or not abs(sample.value) < _BLANK_FROM:
            continue
        node = labels.get("node") or labels.get("Hostname") or labels.get("hostname")
        values[f"gpu.{index}.{name}" + (f"/l:{node}" if node else "")] = sample.value * factor
    return _with_shares(values)


def _with_shares(values: Values) -> Values:
    """Memory and power in % of what there is, where the exporter shows both."""
    for key in list(values):
        head, _, label = key.partition("/l:")
        tail = f"/l:{label}" if label else ""
        gpu, _, name = head.rpartition(".")
        if name == "memoryAllocatedBytes":
            free, total = values.get(f"{gpu}.memoryFreeBytes{tail}"), values.get(f"{gpu}.memoryTotalBytes{tail}")
            whole = total or (None if free is None else values[key] + free)
            if whole:
                values[f"{gpu}.memoryAllocated{tail}"] = values[key] / whole * 100
        limit = values.get(f"{gpu}.enforcedPowerLimitWatts{tail}")
        if name == "powerWatts" and limit:
            values[f"{gpu}.powerPercent{tail}"] = values[key] / limit * 100
    return values


def samples_of_query(document: Any) -> list[Sample]:
    """The vector that Prometheus' query API answered. Raises ValueError: it is no such answer."""
    try:
        if document["status"] != "success" or document["data"]["resultType"] != "vector":
            raise ValueError(f"not a vector: {document.get('error') or document['data']['resultType']}")
        samples = []
        for entry in document["data"]["result"]:
            labels = {str(name): str(text) for name, text in entry["metric"].items()}
            name = labels.pop("__name__", "")
            samples.append(Sample(name, tuple(sorted(labels.items())), float(entry["value"][1])))
    except (KeyError, TypeError, IndexError, AttributeError) as exc:
        raise ValueError(f"not an answer of Prometheus: {document!r:.80}") from exc
    return samples


def filters_of(given: Mapping[str, Mapping[str, str]] | Sequence[str] | None) -> list[Filter]:
    """Filters from the setting: patterns of `<endpoint>.<metric>`, each with patterns of labels, or without.

    Raises:
        ValueError: a pattern is no regular expression.
    """
    entries = given if isinstance(given, Mapping) else {pattern: {} for pattern in given or ()}
    try:
        return [
            (re.compile(pattern), tuple((name, re.compile(text)) for name, text in (labels or {}).items()))
            for pattern, labels in entries.items()
        ]
    except re.error as exc:
        raise ValueError(f"x_stats_open_metrics_filters: {exc.pattern!r} is no regular expression: {exc}") from exc


def _passes(name: str, labels: Mapping[str, str], filters: Sequence[Filter]) -> bool:
    """Without filters everything does; else what one of them matches, with all of its labels."""
    return not filters or any(
        pattern.search(name)
        and all(label in labels and expected.search(labels[label]) for label, expected in wanted)
        for pattern, wanted in filters
    )


def _checked(url: str) -> str:
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise ValueError(f"{url!r} is no http address")
    return url


def _fetched(url: str, headers: Mapping[str, str]) -> str:
    request = urllib.request.Request(url, headers=dict(headers))
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
        return str(answer.read(_BYTES_MAX).decode("utf-8", "replace"))
