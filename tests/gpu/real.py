"""Holds the program to NVML and nvidia-smi on a real GPU, idle and under load. Called by real.sh."""

import re
import statistics
import subprocess
import sys
import time
import urllib.request
from ctypes import c_uint, c_ulonglong
from pathlib import Path

from nvml import ALL_LINKS, Nvml

BINARY, FOLDER, FLAGS = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
MIB = 1 << 20

# A load of about 30 s that says when it has begun; its memory and activity are what is looked for.
LOAD = r"""
import ctypes, time
end = time.monotonic() + 30
try:
    import torch
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    b = a @ a
    torch.cuda.synchronize()
    print("begun: matrix product", flush=True)
    while time.monotonic() < end:
        for _ in range(20):
            b = a @ a
        torch.cuda.synchronize()
except ImportError:
    cuda = ctypes.CDLL("libcuda.so.1")
    context, memory = ctypes.c_void_p(), ctypes.c_uint64()
    size = 1 << 30
    calls = [cuda.cuInit(0), cuda.cuCtxCreate_v2(ctypes.byref(context), 0, 0),
             cuda.cuMemAlloc_v2(ctypes.byref(memory), ctypes.c_size_t(size))]
    if any(calls):
        raise SystemExit(f"CUDA refuses: {calls}")
    print("begun: memory is written", flush=True)
    while time.monotonic() < end:
        for _ in range(20):
            cuda.cuMemsetD32_v2(memory, ctypes.c_uint(7), ctypes.c_size_t(size // 4))
        cuda.cuCtxSynchronize()
"""


class Program:
    """The binary, serving on a port of the kernel's choice."""

    def __init__(self, *arguments):
        command = [BINARY, "--web.listen-address=127.0.0.1:0", "--collector.disable-defaults", "--collector.gpu",
                   "--collector.min-interval=0s", "--collector.gpu.hostname=real", *FLAGS, *arguments]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.address = None
        for line in self.process.stderr:
            found = re.search(r'msg="Listening on" address=(\S+)', line)
            if found:
                self.address = found[1]
                break
        if self.address is None:
            raise SystemExit("the program did not start")

    def scrape(self):
        with urllib.request.urlopen(f"http://{self.address}/metrics", timeout=20) as answer:
            return answer.read().decode()

    def stop(self):
        self.process.terminate()
        rest = self.process.stderr.read()
        self.process.wait()
        return rest


def samples(text):
    """Name -> list of (labels, value)."""
    found = {}
    for name, labels, value in re.findall(r"^(\w+)(?:\{(.*)\})? (\S+)$", text, re.M):
        found.setdefault(name, []).append((dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels)), float(value)))
    return found


def scaled(value, factor):
    return None if value is None else value * factor


def references(device):
    """What NVML says: family -> (value or None, tolerance)."""
    clock = "nvmlDeviceGetClockInfo"
    util = device.array("nvmlDeviceGetUtilizationRates", c_uint, 2)
    bar1 = device.array("nvmlDeviceGetBAR1MemoryInfo", c_ulonglong, 3)
    memory = device.memory()
    ecc = device.number("nvmlDeviceGetEccMode", of=2) or [None, None]
    limits = device.number("nvmlDeviceGetPowerManagementLimitConstraints", of=2) or [None, None]
    links = [device.field(number, ALL_LINKS) for number in (138, 139)]
    enc = device.number("nvmlDeviceGetEncoderUtilization", of=2) or [None]
    dec = device.number("nvmlDeviceGetDecoderUtilization", of=2) or [None]
    mib = lambda value: None if value is None else value // MIB
    milli = lambda function: scaled(device.number(function), 0.001)
    d = "DCGM_FI_DEV_"
    table = {
        d + "SM_CLOCK": (device.number(clock, 1), 100), d + "MEM_CLOCK": (device.number(clock, 2), 10),
        d + "VIDEO_CLOCK": (device.number(clock, 3), 100),
        d + "MAX_SM_CLOCK": (device.number("nvmlDeviceGetMaxClockInfo", 1), 0),
        d + "MAX_MEM_CLOCK": (device.number("nvmlDeviceGetMaxClockInfo", 2), 0),
        d + "APP_SM_CLOCK": (device.number("nvmlDeviceGetApplicationsClock", 1), 0),
        d + "APP_MEM_CLOCK": (device.number("nvmlDeviceGetApplicationsClock", 2), 0),
        d + "CLOCK_THROTTLE_REASONS": (device.wide("nvmlDeviceGetCurrentClocksThrottleReasons"), 0),
        d + "MEMORY_TEMP": (device.field(82), 3), d + "GPU_TEMP": (device.number("nvmlDeviceGetTemperature", 0), 3),
        d + "SHUTDOWN_TEMP": (device.number("nvmlDeviceGetTemperatureThreshold", 0), 0),
        d + "SLOWDOWN_TEMP": (device.number("nvmlDeviceGetTemperatureThreshold", 1), 0),
        d + "POWER_USAGE": (milli("nvmlDeviceGetPowerUsage"), 40),
        d + "POWER_USAGE_INSTANT": (scaled(device.field(186), 0.001), 150),
        d + "POWER_MGMT_LIMIT": (milli("nvmlDeviceGetPowerManagementLimit"), 0),
        d + "POWER_MGMT_LIMIT_DEF": (milli("nvmlDeviceGetPowerManagementDefaultLimit"), 0),
        d + "POWER_MGMT_LIMIT_MIN": (scaled(limits[0], 0.001), 0),
        d + "POWER_MGMT_LIMIT_MAX": (scaled(limits[1], 0.001), 0),
        d + "ENFORCED_POWER_LIMIT": (milli("nvmlDeviceGetEnforcedPowerLimit"), 0),
        d + "TOTAL_ENERGY_CONSUMPTION": (device.wide("nvmlDeviceGetTotalEnergyConsumption"), 0),
        d + "PCIE_REPLAY_COUNTER": (device.number("nvmlDeviceGetPcieReplayCounter"), 0),
        d + "PCIE_LINK_GEN": (device.number("nvmlDeviceGetCurrPcieLinkGeneration"), 0),
        d + "PCIE_LINK_WIDTH": (device.number("nvmlDeviceGetCurrPcieLinkWidth"), 0),
        d + "PCIE_MAX_LINK_GEN": (device.number("nvmlDeviceGetMaxPcieLinkGeneration"), 0),
        d + "PCIE_MAX_LINK_WIDTH": (device.number("nvmlDeviceGetMaxPcieLinkWidth"), 0),
        d + "GPU_UTIL": (util[0], 10), d + "MEM_COPY_UTIL": (util[1], 10),
        d + "ENC_UTIL": (enc[0], 5), d + "DEC_UTIL": (dec[0], 5),
        d + "FB_TOTAL": (memory and mib(memory.total), 0), d + "FB_FREE": (memory and mib(memory.free), 1),
        d + "FB_USED": (memory and mib(memory.used), 1), d + "FB_RESERVED": (memory and mib(memory.reserved), 0),
        d + "BAR1_TOTAL": (mib(bar1[0]), 0), d + "BAR1_FREE": (mib(bar1[1]), 2), d + "BAR1_USED": (mib(bar1[2]), 2),
        d + "ECC_CURRENT": (ecc[0], 0), d + "ECC_PENDING": (ecc[1], 0),
        d + "FAN_SPEED": (device.number("nvmlDeviceGetFanSpeed"), 2),
        d + "PSTATE": (device.number("nvmlDeviceGetPerformanceState"), 0),
        d + "COMPUTE_MODE": (device.number("nvmlDeviceGetComputeMode"), 0),
        d + "PERSISTENCE_MODE": (device.number("nvmlDeviceGetPersistenceMode"), 0),
        d + "NVLINK_BANDWIDTH_TOTAL": (None if None in links else sum(links), 0),
    }
    for name, number in {
        "ECC_SBE_VOL_TOTAL": 3, "ECC_DBE_VOL_TOTAL": 4, "ECC_SBE_AGG_TOTAL": 5, "ECC_DBE_AGG_TOTAL": 6,
        "RETIRED_SBE": 29, "RETIRED_DBE": 30, "RETIRED_PENDING": 31, "NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL": 38,
        "NVLINK_CRC_DATA_ERROR_COUNT_TOTAL": 45, "NVLINK_REPLAY_ERROR_COUNT_TOTAL": 52,
        "NVLINK_RECOVERY_ERROR_COUNT_TOTAL": 59, "POWER_VIOLATION": 74, "THERMAL_VIOLATION": 75,
        "SYNC_BOOST_VIOLATION": 76, "BOARD_LIMIT_VIOLATION": 77, "LOW_UTIL_VIOLATION": 78,
        "RELIABILITY_VIOLATION": 79, "TOTAL_APP_CLOCKS_VIOLATION": 80, "TOTAL_BASE_CLOCKS_VIOLATION": 81,
        "CORRECTABLE_REMAPPED_ROWS": 142, "UNCORRECTABLE_REMAPPED_ROWS": 143, "ROW_REMAP_PENDING": 144,
        "ROW_REMAP_FAILURE": 145,
    }.items():
        table[d + name] = (device.field(number), 0)
    return table


# Performance monitor metrics: number, factor, tolerance.
ACTIVITY = {
    "GR_ENGINE_ACTIVE": (1, 0.01, 0.1), "SM_ACTIVE": (2, 0.01, 0.1), "SM_OCCUPANCY": (3, 0.01, 0.1),
    "PIPE_INT_ACTIVE": (4, 0.01, 0.1), "PIPE_TENSOR_ACTIVE": (5, 0.01, 0.1),
    "PIPE_TENSOR_DFMA_ACTIVE": (6, 0.01, 0.1), "PIPE_TENSOR_HMMA_ACTIVE": (7, 0.01, 0.1),
    "PIPE_TENSOR_IMMA_ACTIVE": (9, 0.01, 0.1), "DRAM_ACTIVE": (10, 0.01, 0.1), "PIPE_FP64_ACTIVE": (11, 0.01, 0.1),
    "PIPE_FP32_ACTIVE": (12, 0.01, 0.1), "PIPE_FP16_ACTIVE": (13, 0.01, 0.1),
    "PCIE_TX_BYTES": (20, MIB, 30 * MIB), "PCIE_RX_BYTES": (21, MIB, 30 * MIB),
    "NVLINK_RX_BYTES": (60, MIB, MIB), "NVLINK_TX_BYTES": (61, MIB, MIB),
}

bad = []


def row(family, ours, low, high, tolerance, note=""):
    if ours is None or low is None or high is None:
        fits = ours is None and (low is None or high is None)
        verdict = "absent, as NVML refuses" if fits else "DIFFERS"
    else:
        verdict = "ok" if min(low, high) - tolerance <= ours <= max(low, high) + tolerance else "DIFFERS"
    if verdict == "DIFFERS":
        bad.append(family)
    show = lambda value: "-" if value is None else f"{value:.15g}"
    print(f"{family:45} {show(ours):>22} {show(low):>22} {show(high):>22}  {verdict} {note}")


def compare(program, device, phase):
    """One phase: the reference, our scrape, the reference again."""
    program.scrape()
    first = device.sample()
    time.sleep(1.5)
    before = references(device)
    text = program.scrape()
    second = device.sample()
    after = references(device)
    xml = subprocess.run(["nvidia-smi", "-q", "-x"], capture_output=True, text=True, check=False).stdout
    (FOLDER / f"{phase}.prom").write_text(text)
    (FOLDER / f"{phase}.xml").write_text(xml)
    found = samples(text)
    value = lambda name: next((v for labels, v in found.get(name, []) if labels["gpu"] == "0"), None)
    print(f"\n=== {phase}\n{'family':45} {'ours':>22} {'NVML before':>22} {'NVML after':>22}")
    for family, (low, tolerance) in before.items():
        row(family, value(family), low, after[family][0], tolerance)
    between = device.between(first, second, [number for number, _, _ in ACTIVITY.values()])
    for name, (number, factor, tolerance) in ACTIVITY.items():
        reference = scaled(between.get(number), factor)
        row(f"DCGM_FI_PROF_{name}", value(f"DCGM_FI_PROF_{name}"), reference, reference, tolerance)
    shown = found.get("outrigger_gpu_process_memory_bytes", [])
    seen = {int(labels["pid"]): (labels, v) for labels, v in shown if labels["gpu"] == "0"}
    processes = device.processes()
    for pid in sorted({*processes, *seen}):
        ours = seen.get(pid, ({}, None))
        row(f"process {pid} memory", ours[1], processes.get(pid), processes.get(pid), 0, ours[0].get("process", ""))
    return found, xml


def compare_smi(found, xml, uuid):
    """The names of nvidia_gpu_exporter beside nvidia-smi's own page."""
    print(f"\n{'nvidia_smi_ family':45} {'ours':>22} {'nvidia-smi':>22}")
    number = lambda path: (lambda m: float(m[1]) if m else None)(
        re.search(r"<%s>.*?<%s>\s*([\d.]+)" % path, xml, re.S))
    for family, path, factor, tolerance in [
        ("memory_total_bytes", ("fb_memory_usage", "total"), MIB, MIB),
        ("memory_reserved_bytes", ("fb_memory_usage", "reserved"), MIB, MIB),
        ("memory_used_bytes", ("fb_memory_usage", "used"), MIB, 2 * MIB),
        ("utilization_gpu_ratio", ("utilization", "gpu_util"), 0.01, 0.1),
        ("utilization_memory_ratio", ("utilization", "memory_util"), 0.01, 0.1),
        ("temperature_gpu", ("temperature", "gpu_temp"), 1, 3),
        ("temperature_memory", ("temperature", "memory_temp"), 1, 3),
        ("power_limit_watts", ("gpu_power_readings", "current_power_limit"), 1, 0),
        ("power_max_limit_watts", ("gpu_power_readings", "max_power_limit"), 1, 0),
        ("clocks_current_sm_clock_hz", ("clocks", "sm_clock"), 1e6, 1e8),
        ("clocks_current_memory_clock_hz", ("clocks", "mem_clock"), 1e6, 1e7),
        ("clocks_max_sm_clock_hz", ("max_clocks", "sm_clock"), 1e6, 0),
        ("pcie_link_width_max", ("link_widths", "max_link_width"), 1, 0),
    ]:
        reference = scaled(number(path), factor)
        all_gpus = found.get("nvidia_smi_" + family, [])
        ours = next((v for labels, v in all_gpus if "GPU-" + labels["uuid"] == uuid), None)
        row("nvidia_smi_" + family, ours, reference, reference, tolerance)


def cost(program, passes=40):
    """CPU and time of a pass, memory of the program."""
    before, durations = samples(program.scrape()), []
    began = time.monotonic()
    for _ in range(passes):
        time.sleep(0.15)
        found = samples(program.scrape())
        durations.append(found["node_scrape_collector_duration_seconds"][0][1] * 1e3)
    cpu = lambda found: found["process_cpu_seconds_total"][0][1]
    used = (cpu(found) - cpu(before)) / passes * 1e3
    print(f"pass: {statistics.median(durations):.1f} ms median, {min(durations):.1f} to {max(durations):.1f} ms; "
          f"CPU {used:.2f} ms a scrape ({passes} scrapes in {time.monotonic() - began:.0f} s); "
          f"RSS {found['process_resident_memory_bytes'][0][1] / 1e6:.1f} MB")


def main():
    nvml = Nvml()
    device = nvml.device(0)
    print(f"{nvml.count()} GPU(s), the first {device.text('nvmlDeviceGetName')}, driver "
          f"{nvml.text('nvmlSystemGetDriverVersion')}")
    default = Program()
    for _ in range(2):
        time.sleep(0.3)
        (FOLDER / "default.prom").write_text(default.scrape())
    names = re.findall(r"^# TYPE (DCGM_\S+)", (FOLDER / "default.prom").read_text(), re.M)
    print(f"by default: {len(names)} families of DCGM: {' '.join(names)}")
    print("default fields, idle: ", end="")
    cost(default)
    (FOLDER / "default.log").write_text(default.stop())

    program = Program("--collector.gpu.fields=all", "--collector.gpu.nvidia-smi-names")
    found, xml = compare(program, device, "idle")
    compare_smi(found, xml, device.text("nvmlDeviceGetUUID"))
    labels = found["DCGM_FI_DEV_GPU_TEMP"][0][0]
    for label, reference in {
        "UUID": device.text("nvmlDeviceGetUUID"), "modelName": device.text("nvmlDeviceGetName"), "gpu": "0",
        "device": "nvidia0", "pci_bus_id": device.pci(), "DCGM_FI_DRIVER_VERSION": nvml.text("nvmlSystemGetDriverVersion"),
        "DCGM_FI_NVML_VERSION": nvml.text("nvmlSystemGetNVMLVersion"),
        "DCGM_FI_DEV_SERIAL": device.text("nvmlDeviceGetSerial"),
        "DCGM_FI_DEV_VBIOS_VERSION": device.text("nvmlDeviceGetVbiosVersion"),
        "DCGM_FI_DEV_OEM_INFOROM_VER": device.text("nvmlDeviceGetInforomVersion", 0),
        "DCGM_FI_DEV_ECC_INFOROM_VER": device.text("nvmlDeviceGetInforomVersion", 1),
        "DCGM_FI_DEV_INFOROM_IMAGE_VER": device.text("nvmlDeviceGetInforomImageVersion"),
    }.items():
        verdict = "ok" if labels.get(label) == reference else "DIFFERS"
        bad.extend([label] if verdict == "DIFFERS" else [])
        print(f"label {label:39} {labels.get(label)!s:>45} {reference!s:>45}  {verdict}")

    load = subprocess.Popen([sys.executable, "-c", LOAD], stdout=subprocess.PIPE, text=True)
    begun = load.stdout.readline().strip()
    if not begun:
        raise SystemExit("the load did not begin")
    print(f"\nload, pid {load.pid}: {begun}")
    time.sleep(4)
    found, xml = compare(program, device, "busy")
    compare_smi(found, xml, device.text("nvmlDeviceGetUUID"))
    for labels, value in found.get("outrigger_gpu_process_utilization_ratio", []):
        print("process", labels["pid"], labels["process"], labels["engine"], value)
    print("all fields and nvidia_smi names, busy: ", end="")
    cost(program)
    load.terminate()
    load.wait()
    time.sleep(1)
    left = samples(program.scrape()).get("outrigger_gpu_process_memory_bytes", [])
    print(f"after the load: {len(left)} processes shown, {len(device.processes())} by NVML")
    log = program.stop()
    (FOLDER / "program.log").write_text(log)
    if bad:
        raise SystemExit(f"\ndiffers: {' '.join(bad)}")
    print("\nall as NVML and nvidia-smi say")


main()
