# SPDX-License-Identifier: Apache-2.0
# The front door. Every target first installs the Debian packages that it needs (tool/packages says which), then calls
# meson or a script under tool/. `make help` lists the targets.
BUILD ?= build
N ?= 10000000
# For make iso: how Holon leaves the machine, and what it runs there. (QEMU's emulator raises no #XM, which fpu_test is about.)
WORDS ?= end=off
GUESTS ?= fault paging syscall debug apic timer io smc storm smp protected task vm86 real paging32
export DEBIAN_FRONTEND = noninteractive

.PHONY: all run test soak boot-many test-kvm test-net iso bench bench-kvm lint fuzz-cpu crash-disk crash-fio help clean
.DEFAULT_GOAL := all

# Build $(BUILD)/holon, optimized
all:
	@tool/packages build
	@tool/build $(BUILD) holon

# Boot a small Debian guest: a shell on its serial console, or a self-check where stdin is no terminal
run: all
	@tool/packages guest
	@tool/run $(BUILD)/holon $(RUN)

# Every test: unit, cpu, device, guest and system tests, sanitizers; ends in `N passed, N failed`
test:
	@tool/packages build guest test bed iso metal
	@tool/test-run

# The KVM engine on a real KVM, in a nested machine under QEMU's emulator: about 6 minutes; most of it is part of `make test` too
test-kvm:
	@tool/packages build guest test bed
	@KVM_TESTS_ALL=1 tool/test-run system/kvm

# apt-get and iperf3 in a guest, against servers on the host
test-net: all
	@tool/packages guest bench net
	@HOLON=$(BUILD)/holon test/system/net_programs

# Make $(BUILD)/holon.iso: Holon for the bare machine, with the test guests; BIOS and UEFI, CD and disk
iso:
	@tool/packages build iso
	@tool/build $(BUILD) host/metal/holon-metal.elf $(GUESTS:%=test/guest/%_test.elf)
	@tool/iso $(BUILD)/holon.iso $(BUILD)/host/metal/holon-metal.elf "$(WORDS)" $(GUESTS:%="$(BUILD)/test/guest/%_test.elf")

# Move Debian guests between engines and rebuild them for MINUTES (30); the record goes to doc/soak.md
soak: all
	@tool/packages guest test
	@MINUTES=$(MINUTES) test/system/soak

# Boot Debian with systemd to its login BOOTS (50) times under load; the record goes to doc/boot-many.md
boot-many: all
	@tool/packages guest bench
	@BOOTS=$(BOOTS) ENGINE=$(ENGINE) test/system/boot_many

# Measure speed, memory and idle use, printed with the machine they were taken on
bench: all
	@tool/packages guest bench
	@bench/run $(BUILD)/holon

# Count exits, system calls and memory of a boot on KVM, under Holon and QEMU, in the nested machine of test-kvm
bench-kvm: all
	@tool/packages guest bed
	@bench/kvm $(BUILD)/holon

# Format, clang-tidy, include layers, freestanding symbols, documents, shell scripts
lint:
	@tool/packages build test lint
	@tool/lint

# Compare N random instruction blocks with the host's processor (N=10000000, SEED=random, ENGINE=interp)
fuzz-cpu:
	@tool/packages build test
	@tool/build $(BUILD) test/cpu/fuzz_oracle
	@$(BUILD)/test/cpu/fuzz_oracle --blocks $(N) $(if $(SEED),--seed $(SEED)) --engine $(or $(ENGINE),interp)

# Kill a writer of qcow2 images CRASHES=200 times, and cut its power ten times as often
crash-disk:
	@tool/packages build test
	@tool/build $(BUILD) test/block/qcow2_crash
	@$(BUILD)/test/block/qcow2_crash kill $(or $(CRASHES),200) $(SEED)
	@$(BUILD)/test/block/qcow2_crash power $(or $(CRASHES),200)0 $(SEED)

# Kill Holon KILLS=200 times while fio writes to qcow2 in a guest; each next boot verifies what was flushed
crash-fio: all
	@tool/packages guest storage
	@HOLON=$(CURDIR)/$(BUILD)/holon KILLS=$(or $(KILLS),200) SEED=$(SEED) test/system/crash_fio_test

# Show this
help:
	@awk '/^# [A-Z]/ { text = substr($$0, 3) } /^[a-z-]+:/ { sub(":.*", ""); if (text) printf "make %-10s %s\n", $$0, text; text = "" } /^$$/ { text = "" }' Makefile
	@echo
	@echo 'make run RUN="--cpus 4 --memory 1G" hands options to holon run. Guest images are cached in $${HOLON_CACHE:-~/.cache/holon}.'

# Remove the build folders
clean:
	@rm -rf build build-*
