# SPDX-License-Identifier: Apache-2.0
"""machines.py - the command lines of what is compared: native, QEMU TCG and Holon, with the same kernel, initrd and disk."""
import os
import shlex

MEMORY_MIB = 512
RAM = MEMORY_MIB << 20
CMDLINE = "console=ttyS0 quiet panic=-1"


class Machines:
    def __init__(self, holon, guest, root, tsc_frequency):
        self.holon_program = holon
        self.guest = guest
        self.root = root
        self.tsc_frequency = tsc_frequency

    def native(self):
        """The guest program in the same root, with a tmpfs of its own at /tmp, in a mount namespace that ends with it."""
        root = shlex.quote(os.path.join(self.root, "root"))
        guest = shlex.quote(self.guest)
        script = (f"mount -t tmpfs tmp {root}/tmp && mount --rbind /dev {root}/dev && mount -t proc proc {root}/proc && "
                  f"cp -r {guest}/guest {guest}/files {root}/tmp/ && exec chroot {root} /tmp/guest serve")
        return ["unshare", "-m", "sh", "-c", script]

    def qemu(self, machine="q35", cpu="max", disk=None, cmdline=CMDLINE, initrd="initrd.gz", cpus=1, snapshot=False):
        command = ["qemu-system-x86_64", "-accel", "tcg", "-M", machine, "-cpu", cpu, "-m", str(MEMORY_MIB), "-smp", str(cpus),
                   "-nodefaults", "-no-user-config", "-display", "none", "-monitor", "none", "-serial", "stdio", "-no-reboot",
                   "-kernel", os.path.join(self.guest, "vmlinuz"), "-initrd", os.path.join(self.guest, initrd), "-append", cmdline]
        if disk:
            path = disk.replace(",", ",,")
            protect = "snapshot=on" if snapshot else "readonly=on"
            command += ["-drive", f"if=none,id=disk,format=raw,{protect},file={path}", "-device", "virtio-blk-pci,drive=disk"]
        return command

    def qemu_microvm(self):
        """TCG shows its guest no frequency leaf, and a loaded host's boots hang or fail in calibration: the kernel is told too."""
        return self.qemu(machine="microvm", cpu=f"max,tsc-frequency={self.tsc_frequency}",
                         cmdline=f"{CMDLINE} tsc_early_khz={int(self.tsc_frequency) // 1000}")

    def holon(self, engine="jit", disk=None, cmdline=CMDLINE, initrd="initrd.gz", cpus=1, writable=False, net="none"):
        command = [self.holon_program, "run", "--engine", engine, "--memory", f"{MEMORY_MIB}M", "--cpus", str(cpus), "--no-reboot", "--net", net,
                   "--kernel", os.path.join(self.guest, "vmlinuz"), "--initrd", os.path.join(self.guest, initrd),
                   "--cmdline", cmdline]
        if disk:
            command += ["--disk", disk.replace(",", ",,") + ("" if writable else ",readonly")]
        return command

    def qemu_devices(self, root, disks, cmdline):
        """On a loaded host TCG's timer comes too late for the kernel's check of it."""
        command = self.qemu(disk=root, cmdline=f"{CMDLINE} no_timer_check {cmdline}")
        for index, path in enumerate(disks):
            command += ["-drive", f"if=none,id=disk{index},format=raw,file={path}", "-device", f"virtio-blk-pci,drive=disk{index}"]
        return command + ["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net"]

    def holon_devices(self, engine, root, disks, cmdline):
        command = self.holon(engine=engine, disk=root, cmdline=f"{CMDLINE} {cmdline}", net="user,host")
        for path in disks:
            command += ["--disk", path]
        return command

    def disk(self):
        return os.path.join(self.root, "root.img")

    def workload_commands(self):
        """What a round compares, by name, in table order."""
        return {
            "native": self.native(),
            "tcg": self.qemu(disk=self.disk()),
            "holon": self.holon(disk=self.disk()),
        }
