/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvm_test.c - the KVM engine against a kernel that the test plays (fake_kvm.h): states, exits, kicks, interrupts, doorbells, dirty pages, and every call that
 * fails in its turn. What a real KVM makes of it is test/kvm's to show.
 */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <holon/vm.h>

#include "engine/kvm/kvm_call.h"
#include "engine/kvm/kvm_probe.h"
#include "test/engine/fake_kvm.h"
#include "x86/cpuid.h"
#include "x86/execute.h"
#include "x86/state.h"

extern const struct engine engine_kvm;

#define RAM_SIZE (UINT64_C(16) << 20)
#define DEVICE_GPA UINT64_C(0xd0000000)
#define DEVICE_PORT 0x700

static struct vm vm;
static struct vm_config config;
static struct x86_cpu_model model;
static uint8_t *ram;

/* A device in both spaces that notes what it is asked. */
static struct {
	struct bus_region memory, port;
	unsigned reads, writes, writes_at_read;
	uint64_t offset[16], value[16];
	unsigned size[16];
	_Atomic unsigned rung;
} device;

static uint64_t device_read(void *object, uint64_t offset, unsigned size)
{
	(void)object;
	device.reads++;
	device.writes_at_read = device.writes;
	(void)size;
	return 0x1122334455667788 + offset;
}

static void device_write(void *object, uint64_t offset, unsigned size, uint64_t value)
{
	unsigned at = device.writes++ % 16;

	(void)object;
	device.offset[at] = offset;
	device.size[at] = size;
	device.value[at] = value;
	if (offset >= 0x800)
		device.rung++;
}

static void machine_describe(unsigned cpus)
{
	struct reason why;

	memset(&device, 0, sizeof(device));
	config = (struct vm_config){
		.name = "test", .engine = "kvm", .cpu_model = "max", .cpus = cpus, .memory = RAM_SIZE, .cmdline = ""};
	ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_int_equal(vm_create(&vm, &config, &engine_kvm, ram, &why), STATUS_OK);
	/* As on a PC: two slots, the second at an odd page of RAM. */
	assert_int_equal(guest_memory_slot_add(&vm.memory, 0, 0x9f000, 0, false), STATUS_OK);
	assert_int_equal(guest_memory_slot_add(&vm.memory, 0x100000, 0x200000, 0x9f000, false), STATUS_OK);
	assert_int_equal(x86_cpu_model_find(&model, "max", cpus, vm.clock.tsc_khz, &why), STATUS_OK);
	vm.cpu_model = &model;
	device.memory = (struct bus_region){.name = "device",
					    .base = DEVICE_GPA,
					    .length = 0x1000,
					    .read = device_read,
					    .write = device_write,
					    .doorbell_offset = 0x800,
					    .doorbells = 2};
	device.port = (struct bus_region){
		.name = "device", .base = DEVICE_PORT, .posted = 4, .length = 8, .read = device_read, .write = device_write};
	assert_int_equal(bus_enable(&vm.mmio, &device.memory), STATUS_OK);
	assert_int_equal(bus_enable(&vm.ports, &device.port), STATUS_OK);
}

static void machine_end(void)
{
	vm_destroy(&vm);
	munmap(ram, RAM_SIZE);
}

static void machine_create(unsigned cpus)
{
	struct reason why = {""};

	fake_kvm_on();
	machine_describe(cpus);
	assert_int_equal(vm_vcpus_create(&vm, &why), STATUS_OK);
}

static unsigned fds_open(void)
{
	DIR *directory = opendir("/proc/self/fd");
	unsigned count = 0;

	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

/* Mappings that only the engine makes: of its vcpus. The fake's own are one each. */
static unsigned maps_of_vcpus(void)
{
	FILE *file = fopen("/proc/self/maps", "re");
	char line[512];
	unsigned count = 0;

	while (fgets(line, sizeof(line), file))
		count += strstr(line, "fake-kvm") != NULL;
	fclose(file);
	return count;
}

static void state_make(struct x86_state *s)
{
	memset(s, 0, sizeof(*s));
	for (unsigned i = 0; i < 16; i++)
		s->gpr[i] = 0x100 + i;
	s->rip = 0x1000;
	s->rflags = 0x202;
	for (unsigned i = 0; i < 6; i++)
		s->segment[i] = (struct x86_segment){.limit = UINT32_MAX, .selector = 0x10, .attributes = 0xc093};
	s->segment[X86_CS].attributes = 0xc09b;
	s->segment[X86_GS].attributes = X86_SEGMENT_UNUSABLE | 0x60;
	s->ldtr.attributes = X86_SEGMENT_UNUSABLE;
	s->tr = (struct x86_segment){.limit = 0x67, .attributes = 0x8b};
	s->cr0 = X86_CR0_PE | X86_CR0_ET | X86_CR0_NE;
	s->cr4 = X86_CR4_OSFXSR;
	s->dr6 = X86_DR6_FIXED;
	s->dr7 = X86_DR7_FIXED;
	s->xcr0 = 3;
	s->pat = 0x0007040600070406;
	s->amd_hwcr = 1u << 24;
	s->star = 0x123;
	s->x87.fcw = 0x37f;
	s->x87.mxcsr = 0x1f80;
	s->x87.mxcsr_mask = 0xffff;
	for (unsigned i = 0; i < 16; i++)
		memset(s->vector[i].byte, (int)(0x10 + i), model.xcr0_allowed & X86_XCR0_AVX ? 32 : 16);
	s->nmi_masked = 1;
	s->interrupt_shadow = X86_SHADOW_STI;
	s->sipi_vector = 9;
	s->apic.base_msr = 0xfee00900;
	s->apic.reg[0x32] = 0x40000 | 0xec; /* TSC deadline */
	s->apic.tsc_deadline = 123456789;
	s->apic.timer_next_ns = 77;
	s->apic.reg[0x20] = 0x80;
	s->apic.reg[1] = 0x40;
}

static void state_set(unsigned cpu, const struct x86_state *s)
{
	assert_int_equal(engine_kvm.vcpu_set(vm.vcpu[cpu], s), STATUS_OK);
}

/* --- states --- */

static void assert_states_equal(const struct x86_state *a, const struct x86_state *b)
{
	for (size_t i = 0; i < sizeof(*a); i++)
		if (((const uint8_t *)a)[i] != ((const uint8_t *)b)[i])
			fail_msg("byte %zu of struct x86_state: %x, not %x", i, ((const uint8_t *)b)[i], ((const uint8_t *)a)[i]);
}

static void test_get_after_set_is_what_was_set(void **unused)
{
	struct x86_state in, out;

	(void)unused;
	machine_create(1);
	state_make(&in);
	state_set(0, &in);
	assert_int_equal(engine_kvm.vcpu_get(vm.vcpu[0], &out), STATUS_OK);
	assert_states_equal(&in, &out);
	machine_end();
}

static void test_set_after_get_is_what_was_there(void **unused)
{
	struct x86_state first, second;

	(void)unused;
	machine_create(1);
	state_make(&first);
	state_set(0, &first);
	fake.vcpu[0].regs.rip = 0x5000;
	assert_int_equal(engine_kvm.vcpu_get(vm.vcpu[0], &first), STATUS_OK);
	state_set(0, &first);
	assert_int_equal(engine_kvm.vcpu_get(vm.vcpu[0], &second), STATUS_OK);
	assert_states_equal(&first, &second);
	machine_end();
}

static void test_what_kvm_refuses_or_changes_is_kept(void **unused)
{
	struct x86_state in, out;

	(void)unused;
	machine_create(1);
	fake.msr_refused = 0xc0010015;
	state_make(&in);
	state_set(0, &in);
	assert_int_equal(engine_kvm.vcpu_get(vm.vcpu[0], &out), STATUS_OK);
	assert_int_equal(out.amd_hwcr, in.amd_hwcr);
	/* What the guest changes since is seen. */
	fake.vcpu[0].sregs.gs.selector = 0x33;
	*fake_kvm_msr(&fake.vcpu[0], X86_MSR_STAR) = 0x999;
	fake.vcpu[0].events.nmi.masked = 0;
	assert_int_equal(engine_kvm.vcpu_get(vm.vcpu[0], &out), STATUS_OK);
	assert_int_equal(out.segment[X86_GS].selector, 0x33);
	assert_int_equal(out.star, 0x999);
	assert_int_equal(out.nmi_masked, 0);
	assert_int_equal(out.amd_hwcr, in.amd_hwcr);
	machine_end();
}

static void test_a_needed_msr_that_is_refused_is_an_error(void **unused)
{
	struct x86_state in;

	(void)unused;
	machine_create(1);
	fake.msr_refused = X86_MSR_LSTAR;
	state_make(&in);
	assert_int_equal(engine_kvm.vcpu_set(vm.vcpu[0], &in), STATUS_INVALID);
	machine_end();
}

static void test_events_go_there_and_back(void **unused)
{
	static const struct x86_pending_event events[] = {{1, 0x80, X86_EVENT_INTERRUPT, 0, 0},
							  {1, 2, X86_EVENT_NMI, 0, 0},
							  {1, 14, X86_EVENT_EXCEPTION, 1, 6},
							  {1, 0x20, X86_EVENT_SOFTWARE, 0, 0}};
	struct x86_state in, out;

	(void)unused;
	machine_create(1);
	state_make(&in);
	for (unsigned i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
		in.pending = events[i];
		state_set(0, &in);
		assert_int_equal(fake.vcpu[0].events.interrupt.injected,
				 events[i].type == X86_EVENT_INTERRUPT || events[i].type == X86_EVENT_SOFTWARE);
		assert_int_equal(fake.vcpu[0].events.nmi.injected, events[i].type == X86_EVENT_NMI);
		assert_int_equal(fake.vcpu[0].events.exception.injected, events[i].type == X86_EVENT_EXCEPTION);
		assert_int_equal(engine_kvm.vcpu_get(vm.vcpu[0], &out), STATUS_OK);
		assert_memory_equal(&out.pending, &events[i], sizeof(events[i]));
	}
	machine_end();
}

static void test_activities(void **unused)
{
	static const uint32_t mp_state[] = {KVM_MP_STATE_RUNNABLE, KVM_MP_STATE_HALTED, KVM_MP_STATE_INIT_RECEIVED};
	struct x86_state in, out;

	(void)unused;
	machine_create(1);
	state_make(&in);
	for (in.activity = 0; in.activity < 3; in.activity++) {
		state_set(0, &in);
		assert_int_equal(fake.vcpu[0].mp_state.mp_state, mp_state[in.activity]);
		assert_int_equal(engine_kvm.vcpu_get(vm.vcpu[0], &out), STATUS_OK);
		assert_int_equal(out.activity, in.activity);
	}
	in.activity = X86_SHUTDOWN;
	state_set(0, &in);
	assert_int_equal(engine_kvm.vcpu_run(vm.vcpu[0]), RUN_SHUTDOWN);
	assert_int_equal(fake.runs, 0);
	machine_end();
}

/* The deadline is armed only while the vcpu runs. */
static int guest_deadline(struct fake_vcpu *vcpu, unsigned index)
{
	(void)index;
	assert_int_equal(*fake_kvm_msr(vcpu, X86_MSR_TSC_DEADLINE), 123456789 + 1000);
	atomic_fetch_or(&vm.vcpu[0]->requests, VCPU_PAUSE);
	return -EINTR;
}

static void test_the_deadline_timer_stands_while_the_vcpu_does(void **unused)
{
	struct x86_state in, out;

	(void)unused;
	machine_create(1);
	fake.guest = guest_deadline;
	state_make(&in);
	in.tsc_adjust = 1000;
	state_set(0, &in);
	assert_int_equal(*fake_kvm_msr(&fake.vcpu[0], X86_MSR_TSC_DEADLINE), 0);
	assert_int_equal(engine_kvm.vcpu_run(vm.vcpu[0]), RUN_KICKED);
	assert_int_equal(fake.runs, 1);
	assert_int_equal(*fake_kvm_msr(&fake.vcpu[0], X86_MSR_TSC_DEADLINE), 0);
	assert_int_equal(fake.vcpu[0].tsc_offset, vm.clock.stopped_tsc - vm.clock.tsc_base + 1000);
	assert_int_equal(engine_kvm.vcpu_get(vm.vcpu[0], &out), STATUS_OK);
	assert_int_equal(out.apic.tsc_deadline, 123456789);
	machine_end();
}

static uint64_t count_at_entry, arrived_at_entry;

/* KVM's count, 1,000 ticks after the entry. */
static int guest_count(struct fake_vcpu *vcpu, unsigned index)
{
	(void)index;
	count_at_entry = *fake_kvm_lapic(vcpu, 0x39);
	arrived_at_entry = *fake_kvm_lapic(vcpu, 0x22);
	*fake_kvm_lapic(vcpu, 0x39) = (uint32_t)count_at_entry - 1000;
	atomic_fetch_or(&vm.vcpu[0]->requests, VCPU_PAUSE);
	return -EINTR;
}

static void count_make(struct x86_state *s, uint32_t mode)
{
	state_make(s);
	s->apic.reg[0x32] = mode | 0xec;
	s->apic.reg[0x38] = 2000000;
	s->apic.reg[0x3e] = 0xb; /* by 1: ns */
	s->apic.tsc_deadline = 0;
	s->apic.timer_next_ns = vm_clock_ns(&vm.clock) + 1500000;
}

/* KVM's count runs on while the guest's clock and the vcpu stand. */
static void test_a_count_goes_on_where_it_stood(void **unused)
{
	static const uint32_t modes[] = {0, 0x20000}; /* one-shot, periodic */
	struct x86_state in, out;

	(void)unused;
	for (unsigned i = 0; i < 2; i++) {
		machine_create(1);
		fake.guest = guest_count;
		for (unsigned j = 0; j < 100; j++)
			irq_msi(&vm.irq, 0xfee00000, 0x41);
		assert_int_equal(fake.irqfds, 1);
		count_make(&in, modes[i]);
		state_set(0, &in);
		*fake_kvm_lapic(&fake.vcpu[0], 0x39) = 3;
		*fake_kvm_lapic(&fake.vcpu[0], 0x22) = 0x80; /* arrived meanwhile */
		assert_int_equal(engine_kvm.vcpu_run(vm.vcpu[0]), RUN_KICKED);
		assert_int_equal(count_at_entry, 1500000);
		assert_int_equal(arrived_at_entry, 0x80);
		/* No message was on its way when the page was written. */
		assert_int_equal(fake.irqfds, 2);
		assert_true(fake.irqfd[1].flags & KVM_IRQFD_FLAG_DEASSIGN);
		assert_int_equal(engine_kvm.vcpu_get(vm.vcpu[0], &out), STATUS_OK);
		assert_int_equal(out.apic.reg[0x39], 1499000);
		assert_int_equal(out.apic.timer_next_ns - vm_clock_ns(&vm.clock), 1499000);
		/* The clock has not stood: KVM's count is right. */
		*fake_kvm_lapic(&fake.vcpu[0], 0x39) = 1400000;
		atomic_store(&vm.vcpu[0]->requests, 0);
		assert_int_equal(engine_kvm.vcpu_run(vm.vcpu[0]), RUN_KICKED);
		assert_int_equal(count_at_entry, 1400000);
		machine_end();
	}
}

static void test_a_count_that_is_due_is_not_set_to_nothing(void **unused)
{
	struct x86_state in;

	(void)unused;
	machine_create(1);
	fake.guest = guest_count;
	count_make(&in, 0);
	in.apic.timer_next_ns = 0;
	state_set(0, &in);
	assert_int_equal(engine_kvm.vcpu_run(vm.vcpu[0]), RUN_KICKED);
	assert_int_equal(count_at_entry, 50000);
	machine_end();
}

static int guest_ends_count(struct fake_vcpu *vcpu, unsigned index)
{
	(void)index;
	*fake_kvm_lapic(vcpu, 0x39) = 0;
	vcpu->timer_due = 0xec;
	atomic_fetch_or(&vm.vcpu[0]->requests, VCPU_PAUSE);
	return -EINTR;
}

static void test_an_interrupt_of_the_timer_that_kvm_still_has_is_in_the_state(void **unused)
{
	struct x86_state in, out;

	(void)unused;
	machine_create(1);
	fake.guest = guest_ends_count;
	count_make(&in, 0);
	state_set(0, &in);
	assert_int_equal(engine_kvm.vcpu_run(vm.vcpu[0]), RUN_KICKED);
	assert_int_equal(fake.runs, 1);
	assert_true(fake.turned_back >= 1);
	assert_int_equal(engine_kvm.vcpu_get(vm.vcpu[0], &out), STATUS_OK);
	assert_int_equal(out.apic.reg[0x20 + 0xec / 32], 1u << 0xec % 32);
	assert_true(out.apic.timer_next_ns == UINT64_MAX);
	machine_end();
}

/* --- exits --- */

static unsigned exits_left;
static void (*exit_make)(struct kvm_run *run);
static uint64_t deadline_at_pause;

/* One exit of the kind that the test wants, then a pause. */
static int guest_once(struct fake_vcpu *vcpu, unsigned index)
{
	(void)index;
	if (!exits_left) {
		deadline_at_pause = *fake_kvm_msr(vcpu, X86_MSR_TSC_DEADLINE);
		atomic_fetch_or(&vm.vcpu[0]->requests, VCPU_PAUSE);
		return -EINTR;
	}
	exits_left--;
	exit_make(vcpu->run);
	return 0;
}

static enum run_end run_exit(void (*make)(struct kvm_run *run))
{
	struct x86_state state;

	machine_create(1);
	fake.guest = guest_once;
	exits_left = 1;
	exit_make = make;
	state_make(&state);
	state_set(0, &state);
	return engine_kvm.vcpu_run(vm.vcpu[0]);
}

static void exit_outs(struct kvm_run *run)
{
	static const uint16_t words[] = {0x1111, 0x2222, 0x3333};

	run->exit_reason = KVM_EXIT_IO;
	run->io.direction = KVM_EXIT_IO_OUT;
	run->io.size = 2;
	run->io.port = DEVICE_PORT + 2;
	run->io.count = 3;
	run->io.data_offset = 4096;
	memcpy((uint8_t *)run + 4096, words, sizeof(words));
}

static void test_a_string_of_ports_is_written(void **unused)
{
	(void)unused;
	assert_int_equal(run_exit(exit_outs), RUN_KICKED);
	assert_int_equal(device.writes, 3);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(device.offset[i], 2);
		assert_int_equal(device.size[i], 2);
		assert_int_equal(device.value[i], 0x1111 * (i + 1));
	}
	machine_end();
}

static void exit_in(struct kvm_run *run)
{
	run->exit_reason = KVM_EXIT_IO;
	run->io.direction = KVM_EXIT_IO_IN;
	run->io.size = 4;
	run->io.port = DEVICE_PORT;
	run->io.count = 1;
	run->io.data_offset = 4096;
}

static void test_a_port_is_read(void **unused)
{
	uint32_t value;

	(void)unused;
	assert_int_equal(run_exit(exit_in), RUN_KICKED);
	memcpy(&value, (uint8_t *)fake.vcpu[0].run + 4096, sizeof(value));
	assert_int_equal(value, 0x55667788);
	machine_end();
}

static void exit_mmio_odd(struct kvm_run *run)
{
	run->exit_reason = KVM_EXIT_MMIO;
	run->mmio.phys_addr = DEVICE_GPA + 8;
	run->mmio.len = 7;
	run->mmio.is_write = 1;
	memcpy(run->mmio.data, "\1\2\3\4\5\6\7", 7);
}

static void test_memory_is_written_in_parts_where_its_length_is_odd(void **unused)
{
	(void)unused;
	assert_int_equal(run_exit(exit_mmio_odd), RUN_KICKED);
	assert_int_equal(device.writes, 3);
	assert_int_equal(device.value[0], 0x04030201);
	assert_int_equal(device.value[1], 0x0605);
	assert_int_equal(device.value[2], 0x07);
	assert_int_equal(device.offset[2], 14);
	/* The access was finished before vcpu_run returned. */
	assert_int_equal(fake.runs, 2);
	machine_end();
}

static void exit_shutdown(struct kvm_run *run)
{
	run->exit_reason = KVM_EXIT_SHUTDOWN;
}

static void exit_fail_entry(struct kvm_run *run)
{
	run->exit_reason = KVM_EXIT_FAIL_ENTRY;
	run->fail_entry.hardware_entry_failure_reason = 0x80000021;
}

static void exit_internal(struct kvm_run *run)
{
	run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
	run->internal.suberror = KVM_INTERNAL_ERROR_DELIVERY_EV;
}

static void exit_unknown(struct kvm_run *run)
{
	run->exit_reason = 999;
}

static void test_exits_that_end_the_vm(void **unused)
{
	(void)unused;
	assert_int_equal(run_exit(exit_shutdown), RUN_SHUTDOWN);
	/* And it stays so, without a further entry. */
	assert_int_equal(engine_kvm.vcpu_run(vm.vcpu[0]), RUN_SHUTDOWN);
	assert_int_equal(fake.runs, 1);
	machine_end();
	assert_int_equal(run_exit(exit_fail_entry), RUN_FAILED);
	machine_end();
	assert_int_equal(run_exit(exit_internal), RUN_FAILED);
	machine_end();
	assert_int_equal(run_exit(exit_unknown), RUN_FAILED);
	machine_end();
}

static int guest_faulty(struct fake_vcpu *vcpu, unsigned index)
{
	(void)vcpu;
	(void)index;
	return -EFAULT;
}

static void test_a_run_that_fails_ends_the_vm(void **unused)
{
	struct x86_state state;

	(void)unused;
	machine_create(1);
	fake.guest = guest_faulty;
	state_make(&state);
	state_set(0, &state);
	assert_int_equal(engine_kvm.vcpu_run(vm.vcpu[0]), RUN_FAILED);
	assert_int_equal(fake.runs, 1);
	machine_end();
}

static void exit_emulation(struct kvm_run *run)
{
	run->exit_reason = KVM_EXIT_INTERNAL_ERROR;
	run->internal.suberror = KVM_INTERNAL_ERROR_EMULATION;
}

static void test_an_instruction_that_kvm_gave_up_is_executed(void **unused)
{
	static const uint8_t movaps[] = {0x0f, 0x29, 0x0b}; /* movaps %xmm1, (%ebx) */
	struct x86_state state;
	enum run_end end;

	(void)unused;
	machine_create(1);
	fake.guest = guest_once;
	exits_left = 1;
	exit_make = exit_emulation;
	deadline_at_pause = 0;
	state_make(&state);
	state.interrupt_shadow = 0;
	state.gpr[X86_RBX] = DEVICE_GPA + 0x20;
	memcpy(ram + 0x1000, movaps, sizeof(movaps));
	state_set(0, &state);
	end = engine_kvm.vcpu_run(vm.vcpu[0]);
	assert_int_equal(end, RUN_KICKED);
	assert_int_equal(fake.vcpu[0].regs.rip, 0x1003);
	assert_true(device.writes >= 2);
	assert_int_equal(device.value[0] & 0xff, 0x11);
	/* The timer went on meanwhile. */
	assert_int_equal(deadline_at_pause, state.apic.tsc_deadline);
	machine_end();
}

static void test_an_instruction_on_the_apic_page_is_not_executed_halfway(void **unused)
{
	static const uint8_t movaps[] = {0x0f, 0x29, 0x0b};
	struct x86_state state;

	(void)unused;
	machine_create(1);
	fake.guest = guest_once;
	exits_left = 1;
	exit_make = exit_emulation;
	state_make(&state);
	state.gpr[X86_RBX] = 0xfee00080;
	memcpy(ram + 0x1000, movaps, sizeof(movaps));
	state_set(0, &state);
	assert_int_equal(engine_kvm.vcpu_run(vm.vcpu[0]), RUN_FAILED);
	assert_int_equal(fake.vcpu[0].regs.rip, 0x1000);
	machine_end();
}

static void exit_eoi(struct kvm_run *run)
{
	run->exit_reason = KVM_EXIT_IOAPIC_EOI;
	run->eoi.vector = 0x55;
}

static uint8_t eoi_heard;

static void eoi_hear(void *ioapic, uint8_t vector)
{
	(void)ioapic;
	eoi_heard = vector;
}

static void test_an_eoi_reaches_the_ioapic(void **unused)
{
	struct x86_state state;

	(void)unused;
	machine_create(1);
	vm.irq.eoi = eoi_hear;
	fake.guest = guest_once;
	exits_left = 1;
	exit_make = exit_eoi;
	state_make(&state);
	state_set(0, &state);
	assert_int_equal(engine_kvm.vcpu_run(vm.vcpu[0]), RUN_KICKED);
	assert_int_equal(eoi_heard, 0x55);
	machine_end();
}

static int guest_owes_eoi(struct fake_vcpu *vcpu, unsigned index)
{
	(void)index;
	vcpu->eoi_due = 0x56;
	atomic_fetch_or(&vm.vcpu[0]->requests, VCPU_PAUSE);
	return -EINTR;
}

static void test_an_eoi_that_kvm_still_has_reaches_the_ioapic(void **unused)
{
	struct x86_state state;

	(void)unused;
	machine_create(1);
	vm.irq.eoi = eoi_hear;
	fake.guest = guest_owes_eoi;
	state_make(&state);
	state_set(0, &state);
	assert_int_equal(engine_kvm.vcpu_run(vm.vcpu[0]), RUN_KICKED);
	assert_int_equal(eoi_heard, 0x56);
	assert_int_equal(fake.turned_back, 2);
	machine_end();
}

static void exit_clock_msr(struct kvm_run *run)
{
	run->exit_reason = KVM_EXIT_X86_WRMSR;
	run->msr.index = 0x4b564d01;
	run->msr.data = 0x2001;
	run->msr.error = 7;
}

static void test_the_paravirtual_clock_is_ours(void **unused)
{
	(void)unused;
	assert_int_equal(run_exit(exit_clock_msr), RUN_KICKED);
	assert_int_equal(fake.vcpu[0].run->msr.error, 0);
	assert_int_equal(vm.vcpu[0]->pvclock_msr, 0x2001);
	assert_int_not_equal(*(uint32_t *)(ram + 0x2000), 0); /* its version */
	machine_end();
}

/* --- kicks --- */

static _Atomic unsigned inside;

/* A guest that runs until a signal comes. As in the kernel, none is lost between the look at immediate_exit and the guest. */
static int guest_long(struct fake_vcpu *vcpu, unsigned index)
{
	sigset_t kick, old;

	(void)index;
	sigemptyset(&kick);
	sigaddset(&kick, SIGRTMIN);
	pthread_sigmask(SIG_BLOCK, &kick, &old);
	inside++;
	if (!__atomic_load_n(&vcpu->run->immediate_exit, __ATOMIC_SEQ_CST))
		sigsuspend(&old);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -EINTR;
}

static void vcpu_main_of_test(void *argument)
{
	struct vcpu *vcpu = argument;

	while (!(atomic_load(&vcpu->requests) & VCPU_STOP))
		engine_kvm.vcpu_run(vcpu);
}

static void test_a_kick_ends_a_run(void **unused)
{
	struct host_thread *thread;
	struct x86_state state;

	(void)unused;
	machine_create(1);
	inside = 0;
	fake.guest = guest_long;
	state_make(&state);
	state_set(0, &state);
	assert_int_equal(host_thread_start(&thread, "vcpu0", vcpu_main_of_test, vm.vcpu[0]), STATUS_OK);
	for (unsigned i = 1; i <= 100; i++) {
		while (inside < i)
			host_yield();
		vcpu_request(vm.vcpu[0], VCPU_INTERRUPT);
	}
	vcpu_request(vm.vcpu[0], VCPU_STOP);
	host_thread_join(thread);
	machine_end();
}

static void test_requests_become_what_kvm_knows(void **unused)
{
	struct x86_state state;

	(void)unused;
	machine_create(2);
	fake.guest = guest_once;
	exits_left = 0;
	state_make(&state);
	state_set(1, &state);
	atomic_store(&vm.vcpu[1]->sipi_vector, 0x9a);
	atomic_store(&vm.vcpu[1]->requests, VCPU_NMI | VCPU_SIPI | VCPU_PAUSE);
	assert_int_equal(engine_kvm.vcpu_run(vm.vcpu[1]), RUN_KICKED);
	assert_int_equal(fake.nmis, 1);
	assert_int_equal(fake.last_msi.address_lo, 0xfee01000);
	assert_int_equal(fake.last_msi.data & 0x7ff, 0x69a);
	assert_int_equal(atomic_load(&vm.vcpu[1]->requests), VCPU_PAUSE);
	assert_int_equal(fake.runs, 0);
	machine_end();
}

/* --- interrupts --- */

static bool pic_high;

static bool pic_pending(void *pic)
{
	(void)pic;
	return pic_high;
}

static int pic_accept(void *pic)
{
	(void)pic;
	pic_high = false;
	irq_lint0(&vm.irq, false);
	return 0x28;
}

/* The first entry waits for the window, in the second the event is there. */
static int guest_window(struct fake_vcpu *vcpu, unsigned index)
{
	(void)index;
	if (fake.runs == 1) {
		assert_true(vcpu->run->request_interrupt_window);
		assert_false(vcpu->events.interrupt.injected);
		vcpu->run->exit_reason = KVM_EXIT_IRQ_WINDOW_OPEN;
		vcpu->run->ready_for_interrupt_injection = 1;
		return 0;
	}
	assert_true(vcpu->events.interrupt.injected);
	assert_int_equal(vcpu->events.interrupt.nr, 0x28);
	assert_int_equal(vcpu->mp_state.mp_state, KVM_MP_STATE_RUNNABLE);
	assert_false(vcpu->run->request_interrupt_window);
	atomic_fetch_or(&vm.vcpu[0]->requests, VCPU_PAUSE);
	return -EINTR;
}

static void test_the_pic_interrupts_a_halted_vcpu_when_it_can_take_it(void **unused)
{
	struct x86_state state;

	(void)unused;
	machine_create(1);
	vm.irq.extint_pending = pic_pending;
	vm.irq.extint_accept = pic_accept;
	state_make(&state);
	state.activity = X86_HALTED;
	state_set(0, &state);
	fake.guest = guest_window;
	pic_high = true;
	irq_lint0(&vm.irq, true);
	assert_true(atomic_load(&vm.vcpu[0]->requests) & VCPU_INTERRUPT);
	assert_int_equal(engine_kvm.vcpu_run(vm.vcpu[0]), RUN_KICKED);
	assert_int_equal(fake.runs, 2);
	machine_end();
}

static void test_level_triggered_pins_are_routed_before_they_interrupt(void **unused)
{
	(void)unused;
	machine_create(1);
	irq_route_set(&vm.irq, 9, true, 0xfee00000, 0xc031);
	irq_route_set(&vm.irq, 4, false, 0xfee00000, 0x22);
	assert_int_equal(fake.gsi_routings, 1); /* of attach */
	irq_msi(&vm.irq, 0xfee00000, 0x22);
	assert_int_equal(fake.gsi_routings, 1);
	irq_msi(&vm.irq, 0xfee00000, 0xc031);
	assert_int_equal(fake.gsi_routings, 2);
	assert_int_equal(fake.routes, 1);
	assert_int_equal(fake.route[0].gsi, 9);
	assert_int_equal(fake.route[0].u.msi.data, 0xc031);
	assert_int_equal(fake.msis, 2);
	machine_end();
}

static void test_a_frequent_message_gets_an_eventfd(void **unused)
{
	uint64_t count = 0;

	(void)unused;
	machine_create(1);
	for (unsigned i = 0; i < 100; i++)
		irq_msi(&vm.irq, 0xfee00000, 0x41);
	assert_int_equal(fake.irqfds, 1);
	assert_int_equal(fake.route[0].gsi, fake.irqfd[0].gsi);
	assert_true(fake.irqfd[0].gsi >= IRQ_GSIS);
	assert_int_equal(read((int)fake.irqfd[0].fd, &count, sizeof(count)), sizeof(count));
	assert_int_equal(fake.msis + count, 100);
	machine_end();
}

static void test_messages_that_are_no_interrupts_go_nowhere(void **unused)
{
	(void)unused;
	machine_create(1);
	irq_msi(&vm.irq, 0x1000, 0x41);
	irq_msi(&vm.irq, 0xfee00000, 0x8041); /* a deassertion */
	assert_int_equal(fake.msis, 0);
	machine_end();
}

static unsigned messages_before;

static void msi_before(void *owner, uint64_t address, uint32_t data)
{
	(void)owner;
	(void)address;
	(void)data;
	messages_before++;
}

static void test_the_local_apics_are_given_back(void **unused)
{
	struct reason why;

	(void)unused;
	fake_kvm_on();
	machine_describe(1);
	vm.irq.msi = msi_before;
	vm.irq.msi_owner = &vm;
	assert_int_equal(vm_vcpus_create(&vm, &why), STATUS_OK);
	assert_ptr_not_equal(vm.irq.msi, msi_before);
	atomic_store(&vm.vcpu[0]->attached, false);
	engine_kvm.vcpu_destroy(vm.vcpu[0]);
	engine_kvm.vm_detach(&vm);
	assert_ptr_equal(vm.irq.msi, msi_before);
	assert_ptr_equal(vm.irq.msi_owner, &vm);
	assert_null(vm.mmio.observe);
	vm.attached = false;
	vm.vcpus_created = 0;
	machine_end();
}

/* --- doorbells --- */

static void test_a_doorbell_is_served_on_a_thread_of_its_own(void **unused)
{
	static const uint64_t one = 1;

	(void)unused;
	machine_create(1);
	assert_int_equal(fake.ioeventfds, 2);
	assert_int_equal(fake.ioeventfd[1].addr, DEVICE_GPA + 0x804);
	assert_int_equal(write(fake.ioeventfd[1].fd, &one, sizeof(one)), sizeof(one));
	while (!device.rung)
		host_yield();
	assert_int_equal(device.offset[0], 0x804);
	/* The region goes: so do its doorbells. */
	bus_disable(&vm.mmio, &device.memory);
	assert_int_equal(fake.ioeventfds, 4);
	assert_true(fake.ioeventfd[2].flags & KVM_IOEVENTFD_FLAG_DEASSIGN);
	machine_end();
}

static int guest_rings(struct fake_vcpu *vcpu, unsigned index)
{
	static const uint64_t one = 1;

	(void)vcpu;
	(void)index;
	assert_int_equal(write(fake.ioeventfd[0].fd, &one, sizeof(one)), sizeof(one));
	atomic_fetch_or(&vm.vcpu[0]->requests, VCPU_PAUSE);
	return -EINTR;
}

static void test_a_vcpu_that_stands_has_had_its_doorbells_served(void **unused)
{
	struct x86_state state;

	(void)unused;
	machine_create(1);
	state_make(&state);
	state_set(0, &state);
	fake.guest = guest_rings;
	for (unsigned i = 1; i <= 200; i++) {
		atomic_store(&vm.vcpu[0]->requests, 0);
		engine_kvm.vcpu_run(vm.vcpu[0]);
		assert_int_equal(device.rung, i);
	}
	machine_end();
}

/* --- posted writes --- */

/* The guest writes an index, and reads the data: one exit. */
static void exit_after_posted(struct kvm_run *run)
{
	struct kvm_coalesced_mmio_ring *ring = (void *)((uint8_t *)run + FAKE_RING);

	ring->coalesced_mmio[0] =
		(struct kvm_coalesced_mmio){.phys_addr = DEVICE_PORT, .len = 4, .pio = 1, .data = "\x78\x56\x34\x12"};
	ring->last = 1;
	exit_in(run);
}

static void test_posted_writes_come_before_what_follows_them(void **unused)
{
	(void)unused;
	assert_int_equal(run_exit(exit_after_posted), RUN_KICKED);
	assert_int_equal(fake.zone.addr, DEVICE_PORT);
	assert_int_equal(fake.zone.size, 4);
	assert_int_equal(device.writes, 1);
	assert_int_equal(device.value[0], 0x12345678);
	assert_int_equal(device.reads, 1);
	assert_int_equal(device.writes_at_read, 1);
	machine_end();
}

static void test_a_posted_write_is_done_within_a_second_or_so(void **unused)
{
	struct kvm_coalesced_mmio_ring *ring;

	(void)unused;
	machine_create(1);
	ring = (void *)((uint8_t *)fake.vcpu[0].run + FAKE_RING);
	ring->coalesced_mmio[0] = (struct kvm_coalesced_mmio){.phys_addr = DEVICE_PORT + 1, .len = 1, .pio = 1, .data = "\6"};
	__atomic_store_n(&ring->last, 1, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&device.writes, __ATOMIC_SEQ_CST))
		host_yield();
	assert_int_equal(device.value[0], 6);
	machine_end();
}

/* --- dirty pages --- */

static void test_dirty_pages_of_both_sides_are_merged(void **unused)
{
	uint64_t bitmap[RAM_SIZE / 4096 / 64] = {0};

	(void)unused;
	machine_create(1);
	assert_int_equal(engine_kvm.dirty_start(&vm), STATUS_OK);
	assert_true(fake.slot[0].flags & fake.slot[1].flags & KVM_MEM_LOG_DIRTY_PAGES);
	assert_int_equal(engine_kvm.dirty_collect(&vm, bitmap), STATUS_OK);
	fake.dirty[0] = 1u << 3;
	fake.dirty[1] = UINT64_C(1) << 63 | 1;
	assert_int_equal(guest_memory_write(&vm.memory, 0x5000, "x", 1), STATUS_OK);
	assert_int_equal(engine_kvm.dirty_collect(&vm, bitmap), STATUS_OK);
	for (unsigned page = 0; page < RAM_SIZE / 4096; page++) {
		bool expected = page == 3 || page == 5 || page == 0x9f || page == 0x9f + 63;

		assert_int_equal(bitmap[page / 64] >> page % 64 & 1, expected);
	}
	engine_kvm.dirty_stop(&vm);
	assert_false((fake.slot[0].flags | fake.slot[1].flags) & KVM_MEM_LOG_DIRTY_PAGES);
	machine_end();
}

/* --- the CPU model --- */

static const struct x86_cpuid_leaf *leaf(uint32_t number)
{
	for (unsigned i = 0; i < model.leaves; i++)
		if (model.leaf[i].leaf == number && !model.leaf[i].subleaf)
			return &model.leaf[i];
	return NULL;
}

static void test_a_model_shows_what_kvm_has_and_who_the_host_is(void **unused)
{
	struct x86_cpuid_leaf host1;
	struct reason why;

	(void)unused;
	fake_kvm_on();
	__asm__("cpuid" : "=a"(host1.eax), "=b"(host1.ebx), "=c"(host1.ecx), "=d"(host1.edx) : "a"(1), "c"(0));
	assert_int_equal(x86_cpu_model_find(&model, "max", 4, 2000000, &why), STATUS_OK);
	assert_true(x86_has(&model, X86_FEATURE_POPCNT));
	fake.supported[1].ecx &= ~(1u << 23); /* POPCNT */
	fake.supported[2].edx |= 1u << 26;    /* IBRS and IBPB */
	fake.arch_capabilities = 0x40;
	assert_int_equal(engine_kvm.model_fit(&model, &why), STATUS_OK);
	assert_false(x86_has(&model, X86_FEATURE_POPCNT));
	assert_false(leaf(1)->ecx & 1u << 23);
	assert_true(leaf(1)->ecx & 1u << 21); /* x2APIC is the kernel's */
	assert_int_equal(leaf(1)->eax, host1.eax);
	assert_int_equal(model.arch_capabilities, 0x40);
	assert_true(leaf(7)->edx & 1u << 26);
	assert_int_equal(model.speculation & (X86_SPECULATION_SPEC_CTRL | X86_SPECULATION_PRED_CMD),
			 X86_SPECULATION_SPEC_CTRL | X86_SPECULATION_PRED_CMD);
}

static void test_every_vcpu_has_its_apic_id_in_cpuid(void **unused)
{
	(void)unused;
	machine_create(2);
	for (unsigned cpu = 0; cpu < 2; cpu++)
		for (unsigned i = 0; i < fake.vcpu[cpu].cpuids; i++)
			if (fake.vcpu[cpu].cpuid[i].function == 1)
				assert_int_equal(fake.vcpu[cpu].cpuid[i].ebx >> 24, cpu);
	machine_end();
}

/* --- failures --- */

static void test_every_call_may_fail_and_nothing_is_left(void **unused)
{
	struct reason why;
	int calls, failures = 0;

	(void)unused;
	machine_create(2);
	calls = fake.calls;
	machine_end();
	fake_kvm_on();
	machine_describe(2);
	for (int at = 0; at < calls; at++) {
		unsigned fds = fds_open(), maps;
		enum status status;

		fake_kvm_on();
		maps = maps_of_vcpus();
		fake.fail_at = at;
		why.text[0] = 0;
		status = vm_vcpus_create(&vm, &why);
		if (status) {
			failures++;
			assert_int_equal(strncmp(why.text, "kvm: ", 5), 0);
			assert_non_null(strchr(why.text, ';') ? strchr(why.text, ';') : strchr(why.text + 5, ':'));
		}
		while (vm.vcpus_created)
			engine_kvm.vcpu_destroy(vm.vcpu[--vm.vcpus_created]);
		if (vm.attached)
			engine_kvm.vm_detach(&vm);
		vm.attached = false;
		for (unsigned i = 0; i < vm.vcpus; i++)
			atomic_store(&vm.vcpu[i]->attached, false);
		assert_null(vm.engine_data);
		assert_int_equal(fds_open(), fds);
		fake_kvm_on(); /* takes the fake's own mappings down */
		assert_int_equal(maps_of_vcpus(), maps);
	}
	/* All but a few capabilities that Holon can do without. */
	assert_true(failures > calls * 2 / 3);
	machine_end();
}

static void test_every_call_of_get_and_set_may_fail(void **unused)
{
	struct x86_state in, out;
	int before, calls;

	(void)unused;
	machine_create(1);
	state_make(&in);
	state_set(0, &in);
	before = fake.calls;
	in.star++; /* some MSR must be written */
	state_set(0, &in);
	calls = fake.calls - before;
	for (int at = 0; at < calls; at++) {
		in.star++;
		fake.fail_at = fake.calls + at;
		assert_int_not_equal(engine_kvm.vcpu_set(vm.vcpu[0], &in), STATUS_OK);
	}
	fake.fail_at = -1;
	state_set(0, &in);
	before = fake.calls;
	assert_int_equal(engine_kvm.vcpu_get(vm.vcpu[0], &out), STATUS_OK);
	calls = fake.calls - before;
	for (int at = 0; at < calls; at++) {
		fake.fail_at = fake.calls + at;
		assert_int_not_equal(engine_kvm.vcpu_get(vm.vcpu[0], &out), STATUS_OK);
	}
	machine_end();
}

/* Between a set and the end of a run: the clock, the timer, the way out. */
static void test_every_call_of_a_run_may_fail(void **unused)
{
	static const uint32_t modes[] = {0x40000, 0x20000}; /* deadline, periodic */

	(void)unused;
	for (unsigned i = 0; i < 2; i++) {
		struct x86_state in;
		int calls = 0;

		for (int at = -1; at < calls; at++) {
			int before;

			machine_create(1);
			fake.guest = guest_once;
			exits_left = 0;
			if (modes[i] == 0x40000)
				state_make(&in);
			else
				count_make(&in, modes[i]);
			state_set(0, &in);
			before = fake.calls;
			fake.fail_at = at < 0 ? -1 : before + at;
			assert_int_equal(engine_kvm.vcpu_run(vm.vcpu[0]), at < 0 ? RUN_KICKED : RUN_FAILED);
			if (at < 0)
				calls = fake.calls - before;
			machine_end();
		}
		assert_true(calls >= 6);
	}
}

/* A lost interrupt is said and costs nothing else; a log that cannot be had is an error. */
static void test_calls_of_devices_and_of_the_dirty_log_may_fail(void **unused)
{
	uint64_t bitmap[RAM_SIZE / 4096 / 64] = {0};
	int calls;

	(void)unused;
	machine_create(1);
	calls = fake.calls;
	for (unsigned i = 0; i < 100; i++)
		irq_msi(&vm.irq, 0xfee00000, 0x41);
	calls = fake.calls - calls;
	machine_end();
	for (int at = 0; at < calls; at++) {
		machine_create(1);
		fake.fail_at = fake.calls + at;
		for (unsigned i = 0; i < 100; i++)
			irq_msi(&vm.irq, 0xfee00000, 0x41);
		fake.fail_at = -1;
		machine_end();
	}
	machine_create(1);
	for (int at = 0; at < 2; at++) {
		fake.fail_at = fake.calls + at;
		assert_int_equal(engine_kvm.dirty_start(&vm), STATUS_IO);
		assert_false(vm.memory.logging);
	}
	fake.fail_at = -1;
	assert_int_equal(engine_kvm.dirty_start(&vm), STATUS_OK);
	for (int at = 0; at < 2; at++) {
		fake.fail_at = fake.calls + at;
		assert_int_equal(engine_kvm.dirty_collect(&vm, bitmap), STATUS_IO);
	}
	engine_kvm.dirty_stop(&vm);
	machine_end();
}

/* The parts of the probe before its guest. */
static void test_the_probe_says_what_is_missing(void **unused)
{
	struct kvm_probe found;
	struct reason why;

	(void)unused;
	fake_kvm_on();
	fake.open_error = ENOENT;
	assert_int_equal(kvm_probe(&found, &why), STATUS_NOT_FOUND);
	assert_false(found.present);
	fake.open_error = EACCES;
	assert_int_equal(kvm_probe(&found, &why), STATUS_PERMISSION);
	assert_true(found.present && !found.permitted);
	assert_non_null(strstr(why.text, "group kvm"));
	fake.open_error = 0;
	fake.api_version = 13;
	assert_int_equal(kvm_probe(&found, &why), STATUS_UNSUPPORTED);
	assert_true(found.permitted && !found.interface_good);
	assert_non_null(strstr(why.text, "version 13"));
	fake.api_version = KVM_API_VERSION;
	fake.capability_lacking = KVM_CAP_SPLIT_IRQCHIP;
	assert_int_equal(kvm_probe(&found, &why), STATUS_UNSUPPORTED);
	assert_non_null(strstr(why.text, "KVM_CAP_SPLIT_IRQCHIP"));
	fake.capability_lacking = -1;
	fake.fail_at = fake.calls + 18; /* some call of the child's */
	assert_int_equal(kvm_probe(&found, &why), STATUS_UNSUPPORTED);
	assert_true(found.interface_good && !found.runs);
}

static int guest_never(struct fake_vcpu *vcpu, unsigned index)
{
	(void)vcpu;
	(void)index;
	while (!fake.refuse)
		pause();
	return -EINTR;
}

static void test_a_probe_guest_that_never_returns_is_killed_in_time(void **unused)
{
	struct kvm_probe found;
	struct reason why;
	uint64_t begin = host_time_ns();

	(void)unused;
	fake_kvm_on();
	fake.guest = guest_never;
	assert_int_equal(kvm_probe(&found, &why), STATUS_UNSUPPORTED);
	assert_true(host_time_ns() - begin < UINT64_C(4000000000)); /* 2 s where the machine is not busy */
	assert_true(found.elapsed_ms >= KVM_PROBE_DEADLINE_MS - 10);
	assert_non_null(strstr(why.text, "did not get through"));
}

static int teardown(void **unused)
{
	(void)unused;
	fake_kvm_off();
	return 0;
}

#define TEST(name) cmocka_unit_test_teardown(test_##name, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(get_after_set_is_what_was_set),
		TEST(set_after_get_is_what_was_there),
		TEST(what_kvm_refuses_or_changes_is_kept),
		TEST(a_needed_msr_that_is_refused_is_an_error),
		TEST(events_go_there_and_back),
		TEST(activities),
		TEST(the_deadline_timer_stands_while_the_vcpu_does),
		TEST(a_count_goes_on_where_it_stood),
		TEST(a_count_that_is_due_is_not_set_to_nothing),
		TEST(an_interrupt_of_the_timer_that_kvm_still_has_is_in_the_state),
		TEST(a_string_of_ports_is_written),
		TEST(a_port_is_read),
		TEST(memory_is_written_in_parts_where_its_length_is_odd),
		TEST(exits_that_end_the_vm),
		TEST(a_run_that_fails_ends_the_vm),
		TEST(an_instruction_that_kvm_gave_up_is_executed),
		TEST(an_instruction_on_the_apic_page_is_not_executed_halfway),
		TEST(an_eoi_reaches_the_ioapic),
		TEST(an_eoi_that_kvm_still_has_reaches_the_ioapic),
		TEST(the_paravirtual_clock_is_ours),
		TEST(a_kick_ends_a_run),
		TEST(requests_become_what_kvm_knows),
		TEST(the_pic_interrupts_a_halted_vcpu_when_it_can_take_it),
		TEST(level_triggered_pins_are_routed_before_they_interrupt),
		TEST(a_frequent_message_gets_an_eventfd),
		TEST(messages_that_are_no_interrupts_go_nowhere),
		TEST(the_local_apics_are_given_back),
		TEST(a_doorbell_is_served_on_a_thread_of_its_own),
		TEST(a_vcpu_that_stands_has_had_its_doorbells_served),
		TEST(posted_writes_come_before_what_follows_them),
		TEST(a_posted_write_is_done_within_a_second_or_so),
		TEST(dirty_pages_of_both_sides_are_merged),
		TEST(a_model_shows_what_kvm_has_and_who_the_host_is),
		TEST(every_vcpu_has_its_apic_id_in_cpuid),
		TEST(every_call_may_fail_and_nothing_is_left),
		TEST(every_call_of_get_and_set_may_fail),
		TEST(every_call_of_a_run_may_fail),
		TEST(calls_of_devices_and_of_the_dirty_log_may_fail),
		TEST(the_probe_says_what_is_missing),
		TEST(a_probe_guest_that_never_returns_is_killed_in_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
