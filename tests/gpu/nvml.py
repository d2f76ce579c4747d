"""NVML through ctypes: the reference that real.py holds the program to. Source: NVIDIA's NVML API reference."""

import ctypes as c

ALL_LINKS = 0xFFFFFFFF


class FieldValue(c.Structure):
    _fields_ = [("id", c.c_uint), ("scope", c.c_uint), ("timestamp", c.c_longlong), ("latency", c.c_longlong),
                ("type", c.c_uint), ("failure", c.c_uint), ("value", c.c_ulonglong)]


class Memory(c.Structure):
    _fields_ = [("version", c.c_uint), ("total", c.c_ulonglong), ("reserved", c.c_ulonglong),
                ("free", c.c_ulonglong), ("used", c.c_ulonglong)]


class Process(c.Structure):
    _fields_ = [("pid", c.c_uint), ("memory", c.c_ulonglong), ("gpu", c.c_uint), ("compute", c.c_uint)]


class Metric(c.Structure):
    _fields_ = [("id", c.c_uint), ("failure", c.c_uint), ("value", c.c_double), ("names", c.c_void_p * 3)]


class Metrics(c.Structure):
    _fields_ = [("version", c.c_uint), ("count", c.c_uint), ("first", c.c_void_p), ("second", c.c_void_p),
                ("metrics", Metric * 400)]


class Nvml:
    """The library, begun; every answer is None where NVML refuses."""

    def __init__(self):
        for place in ("libnvidia-ml.so.1", "/usr/local/nvidia/lib64/libnvidia-ml.so.1"):
            try:
                self.nvml = c.CDLL(place)
                break
            except OSError:
                self.nvml = None
        if self.nvml is None or self.nvml.nvmlInit_v2() != 0:
            raise SystemExit("no NVML, or it does not begin: this check needs a GPU")

    def count(self):
        count = c.c_uint()
        self.nvml.nvmlDeviceGetCount_v2(c.byref(count))
        return count.value

    def device(self, index):
        device = c.c_void_p()
        if self.nvml.nvmlDeviceGetHandleByIndex_v2(c.c_uint(index), c.byref(device)) != 0:
            raise SystemExit(f"GPU {index} does not answer")
        return Device(self.nvml, device)

    def text(self, function):
        buffer = c.create_string_buffer(96)
        return buffer.value.decode() if getattr(self.nvml, function)(buffer, 96) == 0 else None


class Device:
    """A GPU."""

    def __init__(self, library, device):
        self.nvml, self.device = library, device

    def number(self, function, *choices, kind=c.c_uint, of=1):
        values = [kind() for _ in range(of)]
        arguments = [c.c_uint(choice) for choice in choices] + [c.byref(value) for value in values]
        if getattr(self.nvml, function)(self.device, *arguments) != 0:
            return None
        return values[0].value if of == 1 else [value.value for value in values]

    def wide(self, function):
        return self.number(function, kind=c.c_ulonglong)

    def text(self, function, *choices):
        buffer = c.create_string_buffer(96)
        answer = getattr(self.nvml, function)(self.device, *[c.c_uint(x) for x in choices], buffer, 96)
        return buffer.value.decode() if answer == 0 else None

    def pci(self):
        buffer = c.create_string_buffer(128)
        self.nvml.nvmlDeviceGetPciInfo_v3(self.device, buffer)
        return buffer.raw[36:68].split(b"\0")[0].decode()

    def array(self, function, kind, length):
        values = (kind * length)()
        return list(values) if getattr(self.nvml, function)(self.device, values) == 0 else [None] * length

    def field(self, number, scope=0):
        value = FieldValue(id=number, scope=scope, failure=999)
        self.nvml.nvmlDeviceGetFieldValues(self.device, c.c_int(1), c.byref(value))
        # Success of type 0 is a field that the library does not know.
        return None if value.failure or value.type == 0 else value.value & (0xFFFFFFFF if value.type == 1 else ~0)

    def memory(self):
        memory = Memory(version=c.sizeof(Memory) | 2 << 24)
        return memory if self.nvml.nvmlDeviceGetMemoryInfo_v2(self.device, c.byref(memory)) == 0 else None

    def processes(self):
        found = {}
        for kind in ("Compute", "Graphics"):
            processes, count = (Process * 256)(), c.c_uint(256)
            function = getattr(self.nvml, f"nvmlDeviceGet{kind}RunningProcesses_v3")
            if function(self.device, c.byref(count), processes) == 0:
                found.update({p.pid: p.memory for p in processes[:count.value]})
        return found

    def sample(self):
        sample = c.c_void_p()
        if self.nvml.nvmlGpmSampleAlloc(c.byref(sample)) or self.nvml.nvmlGpmSampleGet(self.device, sample):
            return None
        return sample

    def between(self, first, second, numbers):
        get = Metrics(version=1, count=len(numbers), first=first, second=second)
        for slot, number in zip(get.metrics, numbers):
            slot.id = number
        if first is None or second is None or self.nvml.nvmlGpmMetricsGet(c.byref(get)) != 0:
            return {}
        return {slot.id: slot.value for slot in get.metrics[:len(numbers)] if slot.failure == 0}
