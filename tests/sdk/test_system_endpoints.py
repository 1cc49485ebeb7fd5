"""OpenMetrics endpoints and DCGM's exporter, on texts as they show them, through a server of the test's own."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from tracker.sdk.system.endpoints import DcgmSource, OpenMetricsSource, filters_of, samples_of_query
from tracker.sdk.system.exposition import Sample, parse_exposition

# the example of prometheus.io, "Exposition formats", with one gauge more
EXPOSITION = r"""
# HELP http_requests_total The total number of HTTP requests.
# TYPE http_requests_total counter
http_requests_total{method="post",code="200"} 1027 1395066363000
http_requests_total{method="post",code="400"}    3 1395066363000

# Escaping in label values:
# TYPE msdos_file_access_time_seconds gauge
msdos_file_access_time_seconds{path="C:\\DIR\\FILE.TXT",error="Cannot find file:\n\"FILE.TXT\""} 1.458255915e9

# Minimalistic line:
metric_without_timestamp_and_labels 12.47

# A weird metric from before the epoch:
# TYPE something_weird gauge
something_weird{problem="division by zero"} +Inf -3982045

# HELP http_request_duration_seconds A histogram of the request duration.
# TYPE http_request_duration_seconds histogram
http_request_duration_seconds_bucket{le="0.05"} 24054
http_request_duration_seconds_bucket{le="+Inf"} 144320
http_request_duration_seconds_sum 53423
http_request_duration_seconds_count 144320

# TYPE rpc_duration_seconds summary
rpc_duration_seconds{quantile="0.99"} 76656
# TYPE go_threads gauge
go_threads 12
"""

# /metrics of dcgm-exporter 3: its readme's form and names, with the labels it adds; the last value is its "not known"
DCGM = """
# HELP DCGM_FI_DEV_SM_CLOCK SM clock frequency (in MHz).
# TYPE DCGM_FI_DEV_SM_CLOCK gauge
DCGM_FI_DEV_SM_CLOCK{gpu="0", UUID="GPU-604ac76c-d9cf-fef3-62e9-d92044ab6e52",Hostname="n1"} 139
# TYPE DCGM_FI_DEV_GPU_UTIL gauge
DCGM_FI_DEV_GPU_UTIL{gpu="0", UUID="GPU-604ac76c-d9cf-fef3-62e9-d92044ab6e52",Hostname="n1"} 88
# TYPE DCGM_FI_DEV_FB_USED gauge
DCGM_FI_DEV_FB_USED{gpu="0", UUID="GPU-604ac76c-d9cf-fef3-62e9-d92044ab6e52",Hostname="n1"} 2048
# TYPE DCGM_FI_DEV_FB_FREE gauge
DCGM_FI_DEV_FB_FREE{gpu="0", UUID="GPU-604ac76c-d9cf-fef3-62e9-d92044ab6e52",Hostname="n1"} 6144
# TYPE DCGM_FI_DEV_MEMORY_TEMP gauge
DCGM_FI_DEV_MEMORY_TEMP{gpu="0", UUID="GPU-604ac76c-d9cf-fef3-62e9-d92044ab6e52",Hostname="n1"} 9223372036854775794
# TYPE DCGM_FI_DEV_XID_ERRORS gauge
DCGM_FI_DEV_XID_ERRORS{gpu="0", UUID="GPU-604ac76c-d9cf-fef3-62e9-d92044ab6e52",Hostname="n1"} 0
"""

Answer = Callable[[str, dict[str, str]], tuple[int, str]]


class Endpoint:
    """A server whose answer a test can change."""

    def __init__(self) -> None:
        self.answer: Answer = lambda path, headers: (200, EXPOSITION)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, text = outer.answer(self.path, dict(self.headers))
                self.send_response(status)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *arguments: object) -> None:
                """Silent."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/metrics"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    served = Endpoint()
    yield served
    served.server.shutdown()
    served.server.server_close()


def test_gauges_and_counters_are_read_with_their_labels() -> None:
    found = list(parse_exposition(EXPOSITION))
    assert [sample.name for sample in found] == [
        "http_requests_total", "http_requests_total", "msdos_file_access_time_seconds", "something_weird", "go_threads",
    ]  # fmt: skip
    assert found[0] == Sample("http_requests_total", (("code", "200"), ("method", "post")), 1027.0)
    assert dict(found[2].labels) == {"path": "C:\\DIR\\FILE.TXT", "error": 'Cannot find file:\n"FILE.TXT"'}
    assert found[3].value == float("inf")


def test_counters_of_openmetrics_end_in_total() -> None:
    """OpenMetrics names the family without the ending of its samples."""
    text = "# TYPE jobs counter\njobs_total 5.0\njobs_created 1.5e9\n# EOF\n"
    assert list(parse_exposition(text)) == [Sample("jobs_total", (), 5.0)]


def test_a_brace_in_a_label_is_no_end_of_the_labels() -> None:
    text = '# TYPE a gauge\na{path="/{id}/x",b="1"} 2\n'
    assert list(parse_exposition(text)) == [Sample("a", (("b", "1"), ("path", "/{id}/x")), 2.0)]


def test_keys_name_endpoint_metric_and_series(endpoint: Endpoint) -> None:
    """SYS-8. A series keeps its number while others come and go; infinities are left out."""
    source = OpenMetricsSource("node", endpoint.url, [], {})
    assert source.read() == {
        "openmetrics.node.http_requests_total.0": 1027.0,
        "openmetrics.node.http_requests_total.1": 3.0,
        "openmetrics.node.msdos_file_access_time_seconds.0": 1.458255915e9,
        "openmetrics.node.go_threads.0": 12.0,
    }
    later = ['# TYPE http_requests_total counter'] + [
        f'http_requests_total{{code="{code}",method="post"}} {count}' for code, count in ((400, 9), (500, 1))
    ]
    endpoint.answer = lambda path, headers: (200, "\n".join(later))
    assert source.read() == {
        "openmetrics.node.http_requests_total.1": 9.0, "openmetrics.node.http_requests_total.2": 1.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("go_", "^other"), {"go_threads"}),
        (("^node.http",), {"http_requests_total"}),
        ({r"node\.http.*": {"code": "^4"}}, {"http_requests_total"}),
        ({r"node\.http.*": {"missing": ".*"}}, set()),
        ({"node.*": {}}, {"http_requests_total", "msdos_file_access_time_seconds", "go_threads"}),
    ],
)
def test_filters_choose_metrics_and_labels(endpoint: Endpoint, given: object, expected: set[str]) -> None:
    """SYS-8: filtered by regular expressions, of `<endpoint>.<metric>` and of labels."""
    source = OpenMetricsSource("node", endpoint.url, filters_of(given), {})  # type: ignore[arg-type]
    values = source.read()
    assert {key.split(".")[2] for key in values} == expected
    if given == {r"node\.http.*": {"code": "^4"}}:
        assert list(values.values()) == [3.0]


def test_headers_are_sent(endpoint: Endpoint) -> None:
    endpoint.answer = lambda path, headers: (
        (200, "# TYPE a gauge\na 1\n") if headers.get("Authorization") == "Bearer t" else (401, "")
    )
    assert OpenMetricsSource("n", endpoint.url, [], {"Authorization": "Bearer t"}).read() == {"openmetrics.n.a.0": 1.0}
    with pytest.raises(OSError, match="401"):
        OpenMetricsSource("n", endpoint.url, [], {}).read()


def test_wrong_settings_say_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="no http address"):
        OpenMetricsSource("n", "file:///etc/passwd", [], {})
    with pytest.raises(ValueError, match=re.escape("'(' is no regular expression")):
        filters_of(["("])


def test_dcgm_metrics_page(endpoint: Endpoint) -> None:
    """SYS-4's names where DCGM has the same; `/l:<node>` tells nodes apart; what is not known is left out."""
    endpoint.answer = lambda path, headers: (200, DCGM)
    assert DcgmSource(endpoint.url, {}).read() == {
        "gpu.0.smClock/l:n1": 139.0, "gpu.0.gpu/l:n1": 88.0, "gpu.0.memoryAllocatedBytes/l:n1": 2048.0 * 2**20,
        "gpu.0.memoryFreeBytes/l:n1": 6144.0 * 2**20, "gpu.0.memoryAllocated/l:n1": 25.0,
    }  # fmt: skip


def test_dcgm_through_a_prometheus_query(endpoint: Endpoint) -> None:
    """The form of Prometheus' HTTP API, "Instant queries"."""
    asked = []

    def answer(path: str, headers: dict[str, str]) -> tuple[int, str]:
        parts = urlsplit(path)
        asked.append((parts.path, parse_qs(parts.query)["query"]))
        labels = {"__name__": "DCGM_FI_DEV_GPU_TEMP", "device": "nvidia3", "node": "l1337"}
        result = [{"metric": labels, "value": [1435781451.781, "41"]}]
        return 200, json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}})

    endpoint.answer = answer
    url = endpoint.url.replace("/metrics", '/api/v1/query?query=DCGM_FI_DEV_GPU_TEMP{node="l1337"}')
    assert DcgmSource(url, {}).read() == {"gpu.3.temp/l:l1337": 41.0}
    assert asked == [("/api/v1/query", ['DCGM_FI_DEV_GPU_TEMP{node="l1337"}'])]
    with pytest.raises(ValueError, match="asks nothing"):
        DcgmSource(endpoint.url.replace("/metrics", "/api/v1/query"), {})


@pytest.mark.parametrize("document", [{"status": "error", "error": "bad", "data": {"resultType": "x"}}, [], {}, 3])
def test_other_answers_of_prometheus_are_refused(document: object) -> None:
    with pytest.raises(ValueError, match="not a"):
        samples_of_query(document)
