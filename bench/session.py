# SPDX-License-Identifier: Apache-2.0
"""session.py - a process that bench/run talks to by lines: a VM's serial console, or the guest program run natively.

Session starts it, waits for lines with a deadline, reads its processor time and memory, and ends it whatever happens.
The other end of run() is serve() in bench/guest/main.c.
"""
import os
import re
import select
import subprocess
import time


class Failure(Exception):
    """What went wrong on one machine, in one line. The rest of the benchmark goes on."""


class Session:
    def __init__(self, name, command, log_path=None):
        self.name = name
        self.begin = time.monotonic()
        self.errors = open(log_path or os.devnull, "ab")
        try:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, bufsize=0)
        except OSError as error:
            self.errors.close()
            raise Failure(f"{name}: could not start {command[0]}: {error.strerror}") from error
        self.pending = b""
        self.last = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        self.errors.close()

    def cpu_seconds(self):
        """Processor time of all its threads, by the process's own clock (clock_getcpuclockid's encoding)."""
        try:
            return time.clock_gettime((~self.process.pid << 3) | 2)
        except OSError as error:
            raise Failure(f"{self.name}: it ended") from error

    def wait_for(self, pattern, seconds):
        """The match of the first line, or the beginning of one, that holds the pattern."""
        deadline = time.monotonic() + seconds
        pattern = re.compile(pattern)
        while True:
            *lines, self.pending = self.pending.split(b"\n")
            for index, line in enumerate(lines):
                text = line.decode(errors="replace").strip("\r")
                self.last = (self.last + [text])[-5:]
                match = pattern.search(text)
                failed = re.search(r"^failed (.*)|Kernel panic.*|BUG: .*", text)
                if match or failed:
                    self.pending = b"\n".join(lines[index + 1:] + [self.pending])
                if match:
                    return match
                if failed:
                    raise Failure(f"{self.name}: {failed.group(0)}")
            match = pattern.search(self.pending.decode(errors="replace"))
            if match and not lines and b"\r" not in self.pending and pattern.pattern.endswith(":"):
                return match
            left = deadline - time.monotonic()
            if left <= 0:
                said = self.last[-1] if self.last else "nothing"
                raise Failure(f"{self.name}: no '{pattern.pattern}' within {seconds:.0f} s; its last line: {said}")
            if not select.select([self.process.stdout], [], [], left)[0]:
                continue
            data = os.read(self.process.stdout.fileno(), 65536)
            if not data:
                status = self.process.wait()
                said = self.last[-1] if self.last else "nothing"
                raise Failure(f"{self.name}: ended with status {status} while '{pattern.pattern}' was awaited; its last line: {said}")
            self.pending += data

    def send(self, line):
        try:
            self.process.stdin.write(line.encode() + b"\n")
        except OSError as error:
            raise Failure(f"{self.name}: it ended") from error

    def run(self, workload, seconds):
        """Runs one workload: its seconds by its own clock, processor seconds, seconds by our clock, checksum."""
        self.send(workload)
        self.wait_for(f"prepared {workload}$", seconds)
        cpu = self.cpu_seconds()
        begin = time.monotonic()
        self.send("")
        match = self.wait_for(rf"result {workload} ([0-9.]+) ([0-9.]+) ([0-9a-f]+)$", seconds)
        return {
            "seconds": float(match.group(1)),
            "cpu_seconds": self.cpu_seconds() - cpu,
            "own_cpu_seconds": float(match.group(2)),
            "host_seconds": time.monotonic() - begin,
            "checksum": match.group(3),
        }

    def memory_beyond_ram(self, ram):
        """Bytes of private and of shared dirty pages outside guest RAM: Holon's is a memfd of that name, QEMU's a mapping of that size."""
        total = 0
        counted = False
        with open(f"/proc/{self.process.pid}/smaps", encoding="ascii", errors="replace") as file:
            for line in file:
                match = re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line)
                if match:
                    size = int(match.group(2), 16) - int(match.group(1), 16)
                    counted = "holon-ram" not in line and size < ram
                elif counted and re.match(r"(Private_Clean|Private_Dirty|Shared_Dirty):", line):
                    total += int(line.split()[1]) * 1024
        return total
