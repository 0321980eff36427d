/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvm_machine.c - see kvm_machine.h.
 */
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <setjmp.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "test/engine/kvm_machine.h"

struct vm vm;
struct x86_cpu_model model;
uint8_t *ram;
struct noting_device device;
unsigned exits_left;
void (*exit_make)(struct kvm_run *run);
uint64_t deadline_at_pause;

static struct vm_config config;

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
	unsigned at = device.writes % 16;

	(void)object;
	device.offset[at] = offset;
	device.size[at] = size;
	device.value[at] = value;
	__atomic_store_n(&device.writes, device.writes + 1, __ATOMIC_SEQ_CST); /* a test may wait for it on another thread */
	if (offset >= 0x800)
		device.rung++;
}

void machine_describe(unsigned cpus)
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
					    .posted = 8,
					    .doorbell_offset = 0x800,
					    .doorbells = 2};
	device.port = (struct bus_region){
		.name = "device", .base = DEVICE_PORT, .posted = 4, .length = 8, .read = device_read, .write = device_write};
	assert_int_equal(bus_enable(&vm.mmio, &device.memory), STATUS_OK);
	assert_int_equal(bus_enable(&vm.ports, &device.port), STATUS_OK);
}

void machine_end(void)
{
	vm_destroy(&vm);
	munmap(ram, RAM_SIZE);
}

void machine_create(unsigned cpus)
{
	struct reason why = {""};

	fake_kvm_on();
	machine_describe(cpus);
	assert_int_equal(vm_vcpus_create(&vm, &why), STATUS_OK);
}

void state_make(struct x86_state *s)
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

void state_set(unsigned cpu, const struct x86_state *s)
{
	assert_int_equal(engine_kvm.vcpu_set(vm.vcpu[cpu], s), STATUS_OK);
}

void count_make(struct x86_state *s, uint32_t mode)
{
	state_make(s);
	s->apic.reg[0x32] = mode | 0xec;
	s->apic.reg[0x38] = 2000000;
	s->apic.reg[0x3e] = 0xb; /* by 1: ns */
	s->apic.tsc_deadline = 0;
	s->apic.timer_next_ns = vm_clock_ns(&vm.clock) + 1500000;
}

/* One exit of the kind that the test wants, then a pause. */
int guest_once(struct fake_vcpu *vcpu, unsigned index)
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

enum run_end run_exit(void (*make)(struct kvm_run *run))
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

void exit_in(struct kvm_run *run)
{
	run->exit_reason = KVM_EXIT_IO;
	run->io.direction = KVM_EXIT_IO_IN;
	run->io.size = 4;
	run->io.port = DEVICE_PORT;
	run->io.count = 1;
	run->io.data_offset = 4096;
}

int teardown(void **unused)
{
	(void)unused;
	fake_kvm_off();
	return 0;
}
