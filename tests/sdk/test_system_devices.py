"""Devices of all makers, on recorded answers of their tools and libraries: no such device is needed here."""

from __future__ import annotations

import json
import os
import plistlib
import stat
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from nvml_fake import FakeNvml

from tracker.sdk.system import amd, apple, nvidia, tpu, trainium
from tracker.sdk.system.host import DiskSource, NetworkSource, ProcessSource
from tracker.sdk.system.line_tool import LineTool
from tracker.sdk.system.source import json_of_tool, number_of

# rocm-smi -a --json on a node with MI250, driver 6.2.4; the fields that matter. From the public test data of wandb's
# repository (core/pkg/monitor/gpu_amd_test.go)
ROCM_SMI = {
    "card0": {
        "GPU ID": "0x740c", "Unique ID": "0x719d230578348e8c", "VBIOS version": "113-D65209-073",
        "Temperature (Sensor edge) (C)": "32.0", "Temperature (Sensor junction) (C)": "35.0",
        "Temperature (Sensor memory) (C)": "43.0", "Performance Level": "auto", "GPU OverDrive value (%)": "0",
        "GPU Memory OverDrive value (%)": "0", "Max Graphics Package Power (W)": "560.0",
        "Average Graphics Package Power (W)": "89.0", "GPU use (%)": "10", "GFX Activity": "2469071528",
        "GPU memory use (%)": "0", "Memory Activity": "2189510857", "Card model": "0x0b0c", "Card SKU": "D65209",
        "Card series": "AMD INSTINCT MI250 (MCM) OAM AC MBA", "Card vendor": "Advanced Micro Devices, Inc. [AMD/ATI]",
        "Valid sclk range": "500Mhz - 1700Mhz", "Valid mclk range": "400Mhz - 1600Mhz",
    },
    "card1": {"GPU use (%)": "20", "GPU Memory Allocated (VRAM%)": "55", "GPU Memory Read/Write Activity (%)": "12",
              "Current Socket Graphics Package Power (W)": "N/A"},
    "system": {"Driver version": "6.2.4"},
}  # fmt: skip

# amd-smi metric --json, AMDSMI 26.2.2 with ROCm 7.2.1, on a node with MI300X: from AMD's repository `hyperloom`
# (tests of its GPU source, where it stands as captured); the temperatures were added here, in the tool's form
AMD_SMI = {
    "gpu_data": [
        {
            "gpu": 0,
            "usage": {
                "gfx_activity": {"value": 94, "unit": "%"},
                "umc_activity": {"value": 61, "unit": "%"},
                "mm_activity": "N/A",
            },
            "power": {"socket_power": {"value": 612, "unit": "W"}, "gfx_voltage": "N/A"},
            "temperature": {"edge": "N/A", "hotspot": {"value": 71, "unit": "C"}, "mem": {"value": 58, "unit": "C"}},
            "mem_usage": {
                "total_vram": {"value": 196592, "unit": "MB"},
                "used_vram": {"value": 17153, "unit": "MB"},
            },
        },
        {
            "gpu": 1,
            "usage": {"gfx_activity": {"value": 0, "unit": "%"}, "umc_activity": "N/A"},
            "power": {"socket_power": "N/A"},
            "mem_usage": {"total_vram": {"value": 196592, "unit": "MB"}, "used_vram": {"value": 284, "unit": "MB"}},
        },
    ]
}

# one line of `macmon pipe`, from the readme of macmon
MACMON = """{"timestamp": "2025-02-24T20:38:15.427569+00:00",
"temp": {"cpu_temp_avg": 43.73614, "gpu_temp_avg": 36.95167},
"memory": {"ram_total": 25769803776, "ram_usage": 20985479168, "swap_total": 4294967296, "swap_usage": 2602434560},
"ecpu_usage": [1181, 0.082656614], "pcpu_usage": [1974, 0.015181795], "gpu_usage": [461, 0.021497859],
"cpu_power": 0.20486385, "gpu_power": 0.017451683, "ane_power": 0.0, "all_power": 0.22231553, "sys_power": 5.876533,
"ram_power": 0.11635789, "gpu_ram_power": 0.0009615385}"""

# a report of neuron-monitor: the example in AWS' own neuron-monitor-prometheus.py, two of its runtimes and cores
NEURON = {
    "neuron_runtime_data": [
        {
            "pid": pid, "neuron_runtime_tag": "1", "error": "",
            "report": {
                "memory_used": {
                    "period": 5.000727574,
                    "neuron_runtime_used_bytes": {
                        "host": 2605992, "neuron_device": 63105088,
                        "usage_breakdown": {
                            "host": {"application_memory": 12328, "constants": 0, "dma_buffers": 16384,
                                     "tensors": 2577280},
                            "neuroncore_memory_usage": {
                                str(core): {"constants": 61766864 * busy, "model_code": 1295008 * busy,
                                            "model_shared_scratchpad": 0, "runtime_memory": 43216 * busy, "tensors": 0}
                                for core, busy in enumerate(used)
                            },
                        },
                    },
                },
                "neuroncore_counters": {
                    "period": 5.000727893,
                    "neuroncores_in_use": {str(core): {"neuroncore_utilization": share * busy}
                                           for core, busy in enumerate(used)},
                    "error": "",
                },
            },
        }
        for pid, share, used in ((20843, 2.926414908153532, (1, 0)), (21050, 3.0803098003189486, (0, 1)))
    ]
}  # fmt: skip


def named(names: tuple[str, ...], values: tuple[int, ...]) -> Any:
    """What psutil answers: values by name."""
    return SimpleNamespace(**dict(zip(names, values, strict=True)))


def fake_tool(folder: Path, name: str, body: str) -> str:
    """A command that runs `body` in a shell."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_the_process_has_its_share_of_all_processors_and_its_memory() -> None:
    """SYS-3"""
    source = ProcessSource(psutil, os.getpid())
    spent = time.process_time() + 0.15
    while time.process_time() < spent:
        sum(range(1000))
    values = source.read()
    assert set(values) == {
        "cpu", "proc.cpu.threads", "memory_percent", "proc.memory.availableMB", "proc.memory.rssMB",
        "proc.memory.percent",
    }  # fmt: skip
    processors = psutil.cpu_count()
    assert 0 < values["cpu"] <= 100
    assert values["cpu"] <= 130 / processors, "one busy thread is one processor of all"
    resident_mib = psutil.Process().memory_info().rss / 2**20
    assert values["proc.memory.rssMB"] == pytest.approx(resident_mib, rel=0.2)
    assert values["proc.memory.percent"] == pytest.approx(
        resident_mib * 2**20 / psutil.virtual_memory().total * 100, rel=0.2
    )


def test_a_process_that_ended_leaves_the_memory_of_the_machine() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    source = ProcessSource(psutil, child.pid)
    child.communicate()
    assert set(source.read()) == {"memory_percent", "proc.memory.availableMB"}


def test_disks_show_space_by_path_and_traffic_since_the_start(tmp_path: Path) -> None:
    """SYS-3: `disk.<path>.*` per path, `disk.in` and `disk.out` in MB since the start."""
    counters = iter([(100 * 2**20, 7 * 2**20), (112 * 2**20, 7 * 2**20 + 2**19)])
    fake = SimpleNamespace(
        disk_usage=psutil.disk_usage,
        disk_io_counters=lambda: named(("read_bytes", "write_bytes"), next(counters)),
    )
    values = DiskSource(fake, ["/", str(tmp_path / "missing")]).read()
    assert values["disk.in"] == 12
    assert values["disk.out"] == 0.5
    assert values["disk./.usagePercent"] == psutil.disk_usage("/").percent
    assert values["disk./.usageGB"] == pytest.approx(psutil.disk_usage("/").used / 2**30, rel=0.05)
    assert not [key for key in values if "missing" in key]


def test_a_machine_that_hides_its_disks_still_shows_space() -> None:
    fake = SimpleNamespace(disk_usage=psutil.disk_usage, disk_io_counters=lambda: None)
    assert set(DiskSource(fake, ["/"]).read()) == {"disk./.usagePercent", "disk./.usageGB"}


def test_network_counts_bytes_since_the_start() -> None:
    """SYS-3"""
    counters = iter([(1000, 50), (1900, 51)])
    fake = SimpleNamespace(
        net_io_counters=lambda: named(("bytes_sent", "bytes_recv"), next(counters))
    )
    assert NetworkSource(fake).read() == {"network.sent": 900, "network.recv": 1}


GPU_0 = {
    "gpu": 97,
    "memory": 41,
    "memoryAllocated": pytest.approx(25.0, abs=0.01),
    "memoryAllocatedBytes": 21_380_202_496,
    "temp": 45,
    "powerWatts": 350.0,
    "enforcedPowerLimitWatts": 700.0,
    "powerPercent": 50.0,
    "smClock": 1975,
    "memoryClock": 2619,
    "graphicsClock": 1980,
    "correctedMemoryErrors": 3,
    "uncorrectedMemoryErrors": 0,
    "fanSpeed": 30,
    "encoderUtilization": 7,
    "pcieLinkGen": 5,
    "pcieLinkSpeed": 32_000_000_000,
    "pcieLinkWidth": 16,
    "maxPcieLinkGen": 5,
    "maxPcieLinkWidth": 16,
}


def test_nvidia_gpus_by_index() -> None:
    """SYS-4: exactly these keys for each GPU."""
    values = nvidia.NvidiaSource(FakeNvml(), os.getpid()).read()
    assert values == {f"gpu.{index}.{name}": value for index in (0, 1) for name, value in GPU_0.items()}


def test_gpus_that_this_process_or_a_child_uses_are_repeated() -> None:
    """SYS-5"""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        nvml = FakeNvml(3, {0: [1, os.getppid()], 1: [1, child.pid], 2: [os.getpid()]})
        values = nvidia.NvidiaSource(nvml, os.getpid()).read()
    finally:
        child.communicate()
    ours = {key for key in values if key.startswith("gpu.process.")}
    names = (
        "gpu", "memory", "memoryAllocated", "memoryAllocatedBytes", "temp", "powerWatts", "enforcedPowerLimitWatts",
        "powerPercent",
    )  # fmt: skip
    assert ours == {f"gpu.process.{index}.{name}" for index in (1, 2) for name in names}
    assert values["gpu.process.1.powerWatts"] == 350.0


def test_only_the_chosen_gpus_are_read() -> None:
    """SET-4: x_stats_gpu_device_ids"""
    values = nvidia.NvidiaSource(FakeNvml(4), os.getpid(), (1, 3, 9)).read()
    assert {key.split(".")[1] for key in values} == {"1", "3"}


def test_what_a_gpu_does_not_support_is_asked_once() -> None:
    nvml = FakeNvml(1)
    nvml.unsupported = {"nvmlDeviceGetFanSpeed", "nvmlDeviceGetMemoryErrorCounter"}
    source = nvidia.NvidiaSource(nvml, os.getpid())
    for _ in range(3):
        values = source.read()
    absent = {"gpu.0.fanSpeed", "gpu.0.correctedMemoryErrors", "gpu.0.uncorrectedMemoryErrors"}
    assert not absent & set(values)
    assert len(values) == len(GPU_0) - 3
    assert nvml.calls["nvmlDeviceGetFanSpeed"] == 1


def test_a_gpu_that_fell_off_the_bus_leaves_the_others() -> None:
    nvml = FakeNvml(2)
    nvml.lost = {0}
    values = nvidia.NvidiaSource(nvml, os.getpid()).read()
    assert {key.split(".")[1] for key in values} == {"1"}


def test_nvidia_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    """META-1: gpu, gpu_count, gpu_nvidia, cudaVersion."""
    nvml = FakeNvml(2)
    monkeypatch.setattr(nvidia, "load_nvml", lambda: nvml)
    gpu = {
        "name": "NVIDIA H100 80GB HBM3", "memoryTotal": 85_520_809_984, "cudaCores": 16896, "architecture": "Hopper",
    }  # fmt: skip
    assert nvidia.describe_nvidia() == {
        "gpu": "NVIDIA H100 80GB HBM3",
        "gpu_count": 2,
        "gpu_nvidia": [gpu | {"uuid": "GPU-00000000"}, gpu | {"uuid": "GPU-00000001"}],
        "cudaVersion": "12.4",
    }
    assert nvml.users == 0


def test_the_names_that_are_called_exist_in_the_real_library() -> None:
    """The fake says what NVML says only as long as the real module has the same names."""
    import pynvml

    for name in dir(FakeNvml):
        if name.startswith(("nvml", "NVML")):
            assert hasattr(pynvml, name), name
    arch = {name for name in dir(pynvml) if name.startswith("NVML_DEVICE_ARCH_")}
    assert "NVML_DEVICE_ARCH_BLACKWELL" in arch


def test_amd_by_rocm_smi() -> None:
    """SYS-6"""
    assert amd.parse_rocm_smi(ROCM_SMI) == {
        0: {
            "gpu": 10.0, "memoryAllocated": 0.0, "memoryOverDrive": 0.0, "temp": 43.0, "powerWatts": 89.0,
            "powerPercent": pytest.approx(15.892857142857142),
        },
        1: {"gpu": 20.0, "memoryAllocated": 55.0, "memoryReadWriteActivity": 12.0},
    }  # fmt: skip
    assert amd.parse_rocm_smi("Invalid platform") == {}


def test_amd_by_amd_smi() -> None:
    """SYS-6. What is not known is left out, not zero. ROCm 6 prints the bare list."""
    expected = {
        0: {
            "gpu": 94.0, "memoryAllocated": pytest.approx(17153 / 196592 * 100), "memoryReadWriteActivity": 61.0,
            "temp": 58.0, "powerWatts": 612.0,
        },
        1: {"gpu": 0.0, "memoryAllocated": pytest.approx(284 / 196592 * 100)},
    }  # fmt: skip
    assert amd.parse_amd_smi(AMD_SMI) == expected
    assert amd.parse_amd_smi(AMD_SMI["gpu_data"]) == expected


def test_amd_source_falls_back_to_what_the_tool_knows(tmp_path: Path) -> None:
    """An older rocm-smi refuses the options for a few parts; then all of it is asked for, from then on."""
    asked = tmp_path / "asked"
    answer = tmp_path / "answer.json"
    answer.write_text("WARNING: AMD GPU device(s) is/are in a low-power state.\n" + json.dumps(ROCM_SMI))
    tool = fake_tool(tmp_path, "rocm-smi", f'echo "$@" >> {asked}\n[ "$1" = "-a" ] || exit 2\ncat {answer}')
    source = amd.AmdSource([[tool, "--showuse", "--json"], [tool, "-a", "--json"]], amd.parse_rocm_smi, (1,))
    assert source.read() == source.read() == {
        "gpu.1.gpu": 20.0, "gpu.1.memoryAllocated": 55.0, "gpu.1.memoryReadWriteActivity": 12.0,
    }  # fmt: skip
    assert asked.read_text().splitlines() == ["--showuse --json", "-a --json", "-a --json"]


def test_amd_by_the_files_of_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SYS-6, without tools. Names and units as the kernel documents them."""
    files = {
        "gpu_busy_percent": "37", "mem_busy_percent": "5", "mem_info_vram_used": "1073741824",
        "mem_info_vram_total": "4294967296", "hwmon/hwmon3/temp1_input": "31000", "hwmon/hwmon3/temp1_label": "edge",
        "hwmon/hwmon3/temp3_input": "44000", "hwmon/hwmon3/temp3_label": "mem",
        "hwmon/hwmon3/power1_average": "89000000", "hwmon/hwmon3/power1_cap": "178000000",
    }  # fmt: skip
    drm = tmp_path / "drm"
    for node, address, held in (("card2", "0000:03:00.0", files), ("card1", "0000:c3:00.0", {"gpu_busy_percent": "1"}),
                                ("card0", "0000:00:01.0", {"vendor": "0x1a03"})):  # fmt: skip
        device = tmp_path / "devices" / address
        for name, text in held.items():
            (device / name).parent.mkdir(parents=True, exist_ok=True)
            (device / name).write_text(f"{text}\n")
        (drm / node).mkdir(parents=True)
        (drm / node / "device").symlink_to(device)
    (drm / "card2-HDMI-A-1").mkdir()
    (drm / "renderD128").mkdir()
    (drm / "renderD128" / "device").symlink_to(tmp_path / "devices" / "0000:03:00.0")
    (tmp_path / "initstate").write_text("live\n")
    monkeypatch.setattr(amd, "_DRIVER", tmp_path / "initstate")
    monkeypatch.setattr(amd, "DRM", drm)
    monkeypatch.setattr(amd, "find_tool", lambda name, *places: None)
    source = amd.open_amd(None)
    assert source is not None
    assert source.read() == {
        "gpu.0.gpu": 37.0, "gpu.0.memoryReadWriteActivity": 5.0, "gpu.0.memoryAllocated": 25.0, "gpu.0.temp": 44.0,
        "gpu.0.powerWatts": 89.0, "gpu.0.powerPercent": 50.0, "gpu.1.gpu": 1.0,
    }  # fmt: skip
    monkeypatch.setattr(amd, "DRM", tmp_path / "none")
    assert amd.open_amd(None) is None


def test_amd_metadata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """META-1: gpu_amd"""
    answer = tmp_path / "answer.json"
    answer.write_text(json.dumps(ROCM_SMI))
    tool = fake_tool(tmp_path, "rocm-smi", f"cat {answer}")
    (tmp_path / "initstate").write_text("live\n")
    monkeypatch.setattr(amd, "_DRIVER", tmp_path / "initstate")
    monkeypatch.setattr(amd, "find_tool", lambda name, *places: tool if name == "rocm-smi" else None)
    found = amd.describe_amd()
    assert (found["gpu"], found["gpu_count"]) == ("AMD INSTINCT MI250 (MCM) OAM AC MBA", 2)
    assert found["gpu_amd"][0]["uniqueId"] == "0x719d230578348e8c"
    assert found["gpu_amd"][0]["maxPower"] == "560.0"


def test_apple_by_macmon() -> None:
    """SYS-6"""
    assert apple.parse_macmon(json.loads(MACMON)) == {
        "cpu.avg_temp": 43.73614, "gpu.0.temp": 36.95167, "memory.used": 20985479168.0,
        "memory.used_percent": pytest.approx(81.43438), "swap.used": 2602434560.0,
        "swap.used_percent": pytest.approx(60.5926), "cpu.powerWatts": 0.20486385, "gpu.0.powerWatts": 0.017451683,
        "ane.power": 0.0, "system.powerWatts": 5.876533, "cpu.ecpu_freq": 1181.0,
        "cpu.ecpu_percent": pytest.approx(8.2656614), "cpu.pcpu_freq": 1974.0,
        "cpu.pcpu_percent": pytest.approx(1.5181795), "gpu.0.freq": 461.0, "gpu.0.gpu": pytest.approx(2.1497859),
    }  # fmt: skip


def test_apple_without_swap_or_sensors_leaves_them_out() -> None:
    document = json.loads(MACMON) | {"memory": {"ram_total": 8, "ram_usage": 4, "swap_total": 0, "swap_usage": 0}}
    del document["temp"]
    values = apple.parse_macmon(document)
    assert "swap.used_percent" not in values
    assert "gpu.0.temp" not in values
    assert values["memory.used_percent"] == 50


def test_apple_by_ioreg() -> None:
    """Keys as in the registry of macOS 14 (class IOAccelerator)."""
    statistics = {"Device Utilization %": 37, "Alloc system memory": 9}
    listing = plistlib.dumps([{"IOClass": "AGXAcceleratorG14G", "PerformanceStatistics": statistics}])
    assert apple.parse_ioreg(plistlib.loads(listing)) == {"gpu.0.gpu": 37.0}
    assert apple.parse_ioreg([{"IOClass": "other"}]) == {}


def test_a_tool_that_prints_lines_shows_its_newest(tmp_path: Path) -> None:
    lines = "\n".join(json.dumps({"gpu_usage": [461, share]}) for share in (0.5, 0.25))
    source = apple.MacmonSource(LineTool([fake_tool(tmp_path, "macmon", f"echo '{lines}'; exec sleep 60")]))
    try:
        for _ in range(200):
            if source.read().get("gpu.0.gpu") == 25.0:
                break
            time.sleep(0.02)
        assert source.read() == {"gpu.0.freq": 461.0, "gpu.0.gpu": 25.0}
    finally:
        source.close()
    with pytest.raises(OSError, match="ended with code"):
        source.read()


class Monitoring:
    """As `libtpu.sdk.tpumonitoring`; answers as in Google's documentation of the TPU monitoring library."""

    def __init__(self, **metrics: Any) -> None:
        self.metrics = metrics

    def get_metric(self, name: str) -> Any:
        return SimpleNamespace(data=lambda: self.metrics[name])


def test_tpus() -> None:
    """SYS-7"""
    monitoring = Monitoring(
        hbm_capacity_usage=["8000000000", "0"], hbm_capacity_total=["16000000000", "16000000000"],
        duty_cycle_pct=["45.32", "47.11"],
    )  # fmt: skip
    assert tpu.TpuSource(monitoring).read() == {
        "tpu.0.memoryUsage": 50.0, "tpu.0.memoryUsageBytes": 8e9, "tpu.0.dutyCycle": 45.32,
        "tpu.1.memoryUsage": 0.0, "tpu.1.memoryUsageBytes": 0.0, "tpu.1.dutyCycle": 47.11,
    }  # fmt: skip


def test_two_devices_of_a_chip_share_its_duty_cycle() -> None:
    monitoring = Monitoring(
        hbm_capacity_usage=["1", "2", "3", "4"], hbm_capacity_total=["4"] * 4, duty_cycle_pct=["10", "20"]
    )
    values = tpu.TpuSource(monitoring).read()
    assert [values[f"tpu.{n}.dutyCycle"] for n in range(4)] == [10, 10, 20, 20]


def test_no_program_uses_the_tpus_yet() -> None:
    assert tpu.TpuSource(Monitoring(hbm_capacity_usage=[], hbm_capacity_total=[], duty_cycle_pct=[])).read() == {}


def test_tpu_chips_are_found_on_the_bus(tmp_path: Path) -> None:
    """META-1: tpu"""
    for n, (vendor, device) in enumerate([("0x1ae0", "0x0063"), ("0x1ae0", "0x0063"), ("0x8086", "0x0063")]):
        folder = tmp_path / f"0000:0{n}"
        folder.mkdir()
        (folder / "vendor").write_text(f"{vendor}\n")
        (folder / "device").write_text(f"{device}\n")
    assert tpu.find_chips(tmp_path) == {"name": "v5e", "count": 2, "hbmGib": 16, "devicesPerChip": 1}
    assert tpu.find_chips(tmp_path / "missing") == {}


def test_trainium_reports_the_runtime_of_this_process() -> None:
    """SYS-7"""
    values = trainium.parse_report(NEURON, 21050)
    assert values["trn.1.neuroncore_utilization"] == 3.0803098003189486
    assert values["trn.0.neuroncore_utilization"] == 0
    assert values["trn.host_total_memory_usage"] == 2605992
    assert values["trn.neuron_device_total_memory_usage"] == 63105088
    assert {key.rpartition(".")[2] for key in values if key.startswith("trn.host_total_memory_usage.")} == {
        "application_memory", "constants", "dma_buffers", "tensors",
    }  # fmt: skip
    assert values["trn.1.neuroncore_memory_usage.constants"] == 61766864
    assert {key.rpartition(".")[2] for key in values if key.startswith("trn.0.neuroncore_memory_usage.")} == {
        "constants", "model_code", "model_shared_scratchpad", "runtime_memory", "tensors",
    }  # fmt: skip


def test_trainium_under_a_launcher_reports_the_core_of_the_rank() -> None:
    values = trainium.parse_report(NEURON, 1, local_rank="0")
    assert {key.split(".")[1] for key in values if key.split(".")[1].isdigit()} == {"0"}
    assert trainium.parse_report(NEURON, 1) == {}, "the runtimes of others"


def test_trainium_source_runs_its_tool_with_a_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = tmp_path / "report.json"
    report.write_text(json.dumps(NEURON).replace("20843", str(os.getpid())) + "\n")
    tool = fake_tool(tmp_path, "neuron-monitor", f'cp "$2" {tmp_path}/config.json; cat {report}; exec sleep 60')
    monkeypatch.setattr(trainium, "find_tool", lambda name, *places: tool)
    source = trainium.open_trainium(os.getpid(), 15.0, None)
    assert source is not None
    try:
        for _ in range(200):
            values = source.read()
            if values:
                break
            time.sleep(0.02)
    finally:
        source.close()
    assert values["trn.0.neuroncore_utilization"] == 2.926414908153532
    assert json.loads((tmp_path / "config.json").read_text())["period"] == "15s"


def test_numbers_of_tools() -> None:
    assert [number_of(value) for value in (3, "3.5", {"value": 7, "unit": "W"}, True, "N/A", None, "nan", [])] == [
        3.0, 3.5, 7.0, None, None, None, None, None,
    ]  # fmt: skip


def test_a_tool_that_prints_no_json_says_what_it_printed(tmp_path: Path) -> None:
    tool = fake_tool(tmp_path, "amd-smi", "echo Invalid platform")
    with pytest.raises(ValueError, match="Invalid platform"):
        json_of_tool([tool, "metric", "--json"])
