# SPDX-License-Identifier: Apache-2.0
"""devices.py - how fast the devices are: TCP through the user network, and disks, under Holon's engines and QEMU TCG with the like devices.

Called by run; bench/guest/io.c is what the guests do. Each round boots a fresh guest of each kind and runs every workload on them one right after the
other. Disks: `file` is a file, `null` one in the host's memory, so that nothing but the way to it counts.
"""
import os
import random
import statistics
import subprocess
import tempfile

from session import Failure

DISK_MIB = 128
# What a workload moves, and in which unit its speed is told.
WORKLOADS = {
    "net-send": (128, "MiB/s"), "net-receive": (128, "MiB/s"), "net-rtt": (3000, "round trips/s"),
    "file-read": (DISK_MIB, "MiB/s"), "file-write": (DISK_MIB, "MiB/s"), "file-random": (8000, "IOPS"),
    "null-read": (DISK_MIB, "MiB/s"), "null-write": (DISK_MIB, "MiB/s"), "null-random": (8000, "IOPS"),
}
BOOT_SECONDS = 300
WORKLOAD_SECONDS = 180


def disk_make(folder):
    handle, path = tempfile.mkstemp(prefix="holon-bench-", suffix=".img", dir=folder)
    with os.fdopen(handle, "wb") as file:
        for _ in range(DISK_MIB):
            file.write(os.urandom(1 << 20))
    return path


class Devices:
    def __init__(self, bench):
        self.bench = bench
        self.machines = bench.machines
        self.port = random.randrange(20000, 30000)
        self.seconds = {workload: {} for workload in WORKLOADS}
        self.cpu_seconds = {workload: {} for workload in WORKLOADS}

    def commands(self, disks, interp):
        """Disks of its own for each: images are locked while they are in use."""
        cmdline = f"BENCH_PORT={self.port}"
        root = self.machines.disk()
        commands = {
            "tcg": self.machines.qemu_devices(root, disks["tcg"], cmdline),
            "holon jit": self.machines.holon_devices("jit", root, disks["holon jit"], cmdline),
        }
        if interp:
            commands["holon interp"] = self.machines.holon_devices("interp", root, disks["holon interp"], cmdline)
        return commands

    def round(self, number, last, disks):
        sessions = {}
        try:
            for name, command in self.commands(disks, last).items():
                sessions[name] = self.bench.session(name, command)
                sessions[name].wait_for("ready$", BOOT_SECONDS)
            for workload in WORKLOADS:
                order = list(sessions)
                for name in order[number % len(order):] + order[:number % len(order)]:
                    run = sessions[name].run(workload, WORKLOAD_SECONDS)
                    # The host's seconds: a guest's clock may be slow.
                    self.seconds[workload].setdefault(name, []).append(run["host_seconds"])
                    self.cpu_seconds[workload].setdefault(name, []).append(run["cpu_seconds"])
        finally:
            for session in sessions.values():
                session.close()

    def measure(self, rounds):
        disks = {name: [disk_make(None), disk_make("/dev/shm")] for name in ("tcg", "holon jit", "holon interp")}
        server = subprocess.Popen([os.path.join(self.machines.guest, "guest"), "net-server", str(self.port)], stdout=subprocess.PIPE)
        try:
            if server.stdout.readline() != b"ready\n":
                raise Failure("the benchmark's server could not start")
            for number in range(rounds):
                self.round(number, number == rounds - 1, disks)
        finally:
            server.kill()
            server.wait()
            server.stdout.close()
            for pair in disks.values():
                for disk in pair:
                    os.unlink(disk)
        return self.summary()

    def summary(self):
        rows = {}
        for workload, (amount, unit) in WORKLOADS.items():
            speed = {name: amount / statistics.median(seconds) for name, seconds in self.seconds[workload].items()}
            rows[workload] = {"unit": unit, "speed": speed, "seconds": self.seconds[workload]}
            if "tcg" in speed and "holon jit" in speed:
                rows[workload]["over_tcg"] = speed["holon jit"] / speed["tcg"]
                # What other programs on the host leave alone, mostly.
                cpu = {name: statistics.median(seconds) for name, seconds in self.cpu_seconds[workload].items()}
                rows[workload]["cpu_over_tcg"] = cpu["tcg"] / max(cpu["holon jit"], 1e-3)
        return rows


def lines(rows):
    text = [f"{'':12} {'TCG':>9} {'jit':>9} {'interp':>9}  {'':14} jit/TCG  in processor time"]
    for workload, row in rows.items():
        cells = [f"{row['speed'][name]:9.0f}" if name in row["speed"] else f"{'-':>9}" for name in ("tcg", "holon jit", "holon interp")]
        ratio = f"{row['over_tcg']:7.2f} {row['cpu_over_tcg']:7.2f}" if "over_tcg" in row else ""
        text.append(f"{workload:12} {' '.join(cells)}  {row['unit']:14} {ratio}")
    return text
