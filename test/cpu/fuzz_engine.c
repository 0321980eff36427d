/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_engine.c - runs a block in Holon: on a bare struct x86_cpu with x86_step ("step"), or through an engine's vcpu.
 *
 * A guest of 2 MiB: page tables that show the window and the code pages to user mode at the addresses of the native side, and above
 * the canonical hole a GDT laid out as Linux's, an IDT whose 256 handlers are a HLT each, a TSS and a stack. Handler n at HANDLERS + 16 n: where the
 * CPU stands after the block says which exception came, and the frame on the stack where from.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <asm/prctl.h>

#include <holon/engine.h>
#include <holon/guest_memory.h>
#include <holon/host.h>
#include <holon/vm.h>

#include "host/linux/linux.h"
#include "test/cpu/fuzz.h"
#include "x86/cpu.h"
#include "x86/cpuid.h"
#include "x86/execute.h"

#define RAM_SIZE (UINT64_C(16) << 20)
/* Guest-physical: page tables, kernel pages, frames. */
#define PML4 0x1000u
#define PDPT_LOW 0x2000u
#define PD_LOW 0x3000u
#define PT_LOW 0x4000u
#define PDPT_HIGH 0x5000u
#define PD_HIGH 0x6000u
#define PT_HIGH 0x7000u
#define KERNEL_PHYSICAL 0x10000u
#define KERNEL_PAGES 5
#define FRAMES_PHYSICAL 0x20000u
/* Linear: the kernel pages. */
#define KERNEL UINT64_C(0xffff800000000000)
#define GDT KERNEL
#define IDT (KERNEL + 0x1000)
#define TSS (KERNEL + 0x2000)
#define HANDLERS (KERNEL + 0x3000)
#define STACK_TOP (KERNEL + 0x5000)
#define TSS_SELECTOR 0x40

#define PTE_P 1u
#define PTE_W 2u
#define PTE_U 4u
#define PTE_AD 0x60u
#define PTE_NX X86_BIT(63)

#define STEPS_MAX 4096

static uint8_t *ram;
static int ram_fd;
static struct guest_memory *memory;
static struct x86_state base_state;
static struct x86_cpu_model model;
static volatile bool vcpu_runs;

static uint64_t gdt_entry(uint32_t limit, uint16_t attributes)
{
	return (limit & 0xffff) | (uint64_t)(attributes & 0xff) << 40 | (uint64_t)(limit >> 16 & 0xf) << 48 |
	       (uint64_t)(attributes >> 12) << 52;
}

static void put64(uint32_t gpa, uint64_t value)
{
	memcpy(ram + gpa, &value, 8);
}

#define CODE64 0xa09bu /* + DPL << 5 */
#define CODE32 0xc09bu
#define DATA32 0xc093u
#define DPL3 0x60u

static void tables_make(void)
{
	const uint64_t data_flags = PTE_P | PTE_U | PTE_AD | PTE_NX, table_flags = PTE_P | PTE_W | PTE_U | PTE_AD;
	uint64_t tss = TSS;
	unsigned i;

	put64(PML4, PDPT_LOW | table_flags);
	put64(PDPT_LOW, PD_LOW | table_flags);
	put64(PD_LOW + (FUZZ_WINDOW >> 21 & 511) * 8, PT_LOW | table_flags);
	for (i = 0; i < FUZZ_WINDOW_PAGES; i++)
		if (fuzz_window_frame[i] >= 0)
			put64((uint32_t)(PT_LOW + ((FUZZ_WINDOW >> 12 & 511) + i) * 8),
			      (FRAMES_PHYSICAL + (unsigned)fuzz_window_frame[i] * FUZZ_PAGE) | data_flags |
				      (i == FUZZ_READONLY_PAGE ? 0 : PTE_W));
	for (i = 0; i < FUZZ_CODE_FRAMES; i++)
		put64((uint32_t)(PT_LOW + ((FUZZ_CODE >> 12 & 511) + i) * 8),
		      (FRAMES_PHYSICAL + (FUZZ_DATA_FRAMES + i) * FUZZ_PAGE) | PTE_P | PTE_U | PTE_AD);
	put64(PML4 + 256 * 8, PDPT_HIGH | table_flags);
	put64(PDPT_HIGH, PD_HIGH | table_flags);
	put64(PD_HIGH, PT_HIGH | table_flags);
	for (i = 0; i < KERNEL_PAGES; i++)
		put64(PT_HIGH + i * 8, (KERNEL_PHYSICAL + i * FUZZ_PAGE) | PTE_P | PTE_W | PTE_AD);

	put64(KERNEL_PHYSICAL + 0x10, gdt_entry(0xfffff, CODE64));
	put64(KERNEL_PHYSICAL + 0x18, gdt_entry(0xfffff, DATA32));
	put64(KERNEL_PHYSICAL + 0x20, gdt_entry(0xfffff, CODE32 | DPL3));
	put64(KERNEL_PHYSICAL + 0x28, gdt_entry(0xfffff, DATA32 | DPL3));
	put64(KERNEL_PHYSICAL + 0x30, gdt_entry(0xfffff, CODE64 | DPL3));
	put64(KERNEL_PHYSICAL + TSS_SELECTOR, 0x67 | (tss & 0xffffff) << 16 | UINT64_C(0x8b) << 40 | (tss >> 24 & 0xff) << 56);
	put64(KERNEL_PHYSICAL + TSS_SELECTOR + 8, tss >> 32);
	put64(KERNEL_PHYSICAL + 0x2004, STACK_TOP);
	ram[KERNEL_PHYSICAL + 0x2066] = 0x68; /* the I/O bitmap lies behind the limit: no port is allowed */
	for (i = 0; i < 256; i++) {
		uint64_t handler = HANDLERS + 16 * i, dpl = i == 3 || i == 4 ? 3 : 0;

		put64(KERNEL_PHYSICAL + 0x1000 + 16 * i,
		      (handler & 0xffff) | 0x10 << 16 | (UINT64_C(0x8e) | dpl << 5) << 40 | (handler >> 16 & 0xffff) << 48);
		put64(KERNEL_PHYSICAL + 0x1000 + 16 * i + 8, handler >> 32);
		ram[KERNEL_PHYSICAL + 0x3000 + 16 * i] = 0xf4; /* HLT */
	}
	memset(ram + FRAMES_PHYSICAL + FUZZ_DATA_FRAMES * FUZZ_PAGE, 0xcc, FUZZ_CODE_FRAMES * FUZZ_PAGE);
}

static struct x86_segment segment(uint16_t selector, uint16_t attributes)
{
	return (struct x86_segment){.limit = UINT32_MAX, .selector = selector, .attributes = attributes};
}

static void state_make(void)
{
	struct x86_state *s = &base_state;
	unsigned i;

	memset(s, 0, sizeof(*s));
	for (i = 0; i < 6; i++)
		s->segment[i].attributes = X86_SEGMENT_UNUSABLE;
	s->segment[X86_SS] = segment(FUZZ_SS, DATA32 | DPL3);
	s->segment[X86_GS].base = FUZZ_GS_BASE;
	s->ldtr.attributes = X86_SEGMENT_UNUSABLE;
	s->tr = (struct x86_segment){.base = TSS, .limit = 0x67, .selector = TSS_SELECTOR, .attributes = 0x8b};
	s->gdtr = (struct x86_table){.base = GDT, .limit = TSS_SELECTOR + 15};
	s->idtr = (struct x86_table){.base = IDT, .limit = 4095};
	/* As Linux sets them up, AM included: AC makes misaligned accesses fault. */
	s->cr0 = X86_CR0_PE | X86_CR0_MP | X86_CR0_ET | X86_CR0_NE | X86_CR0_WP | X86_CR0_AM | X86_CR0_PG;
	s->cr3 = PML4;
	s->cr4 = X86_CR4_PAE | X86_CR4_PGE | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT | X86_CR4_OSXSAVE;
	s->efer = X86_EFER_SCE | X86_EFER_LME | X86_EFER_LMA | X86_EFER_NXE;
	s->xcr0 = X86_XCR0_X87 | X86_XCR0_SSE | X86_XCR0_AVX;
	s->dr6 = X86_DR6_FIXED;
	s->dr7 = X86_DR7_FIXED;
	s->pat = UINT64_C(0x0007040600070406);
	s->x87.mxcsr_mask = 0xffff;
	s->activity = X86_RUNNING;
}

static void block_load(struct x86_state *s, const struct fuzz_block *block)
{
	const struct fuzz_state *in = &block->initial;

	*s = base_state;
	if (block->mode == FUZZ_64) {
		s->segment[X86_CS] = segment(FUZZ_CS64, CODE64 | DPL3);
	} else {
		s->segment[X86_CS] = segment(FUZZ_CS32, CODE32 | DPL3);
		s->segment[X86_DS] = s->segment[X86_ES] = s->segment[X86_SS];
	}
	memcpy(s->gpr, in->gpr, sizeof(s->gpr));
	s->rip = in->rip;
	s->rflags = in->rflags;
	s->x87.fcw = in->fcw;
	s->x87.fsw = in->fsw;
	s->x87.ftw = in->ftw;
	s->x87.mxcsr = in->mxcsr;
	/* Of no instruction: they stay unless one leaves its own. */
	s->x87.fop = 0x123;
	s->x87.fip = 0x1122334455667788;
	s->x87.fdp = 0x2211334455667788;
	memcpy(s->x87.st, in->st, sizeof(s->x87.st));
	memcpy(s->vector, in->ymm, sizeof(s->vector));
}

/* The block has ended in handler n: puts its frame and the registers together. */
static void end_store(struct fuzz_result *result, const struct x86_state *s)
{
	static const uint32_t with_error = 1u << 8 | 1u << 10 | 1u << 11 | 1u << 12 | 1u << 13 | 1u << 14 | 1u << 17;
	struct fuzz_state *out = &result->state;
	uint64_t frame[6];
	unsigned i;

	if (s->activity == X86_SHUTDOWN || s->rip < HANDLERS || s->rip >= HANDLERS + 0x1000) {
		result->outcome = FUZZ_BROKEN;
		out->rip = s->rip;
		return;
	}
	result->outcome = FUZZ_EXCEPTION;
	result->vector = (unsigned)((s->rip - HANDLERS) / 16);
	memcpy(frame, ram + KERNEL_PHYSICAL + 0x5000 - 48, sizeof(frame)); /* error, RIP, CS, RFLAGS, RSP, SS */
	result->error = result->vector < 32 && (with_error >> result->vector & 1) ? (uint32_t)frame[0] : 0;
	result->cr2 = result->vector == X86_PF ? s->cr2 : 0;
	memcpy(out->gpr, s->gpr, sizeof(out->gpr));
	out->gpr[X86_RSP] = frame[4];
	out->rip = frame[1];
	out->rflags = frame[3];
	out->mxcsr = s->x87.mxcsr;
	out->fcw = s->x87.fcw;
	out->fsw = s->x87.fsw;
	out->ftw = s->x87.ftw;
	out->fop = s->x87.fop;
	out->fip = s->x87.fip;
	out->fdp = s->x87.fdp;
	for (i = 0; i < 8; i++)
		memcpy(out->st[i], s->x87.st[i], 10);
	memcpy(out->ymm, s->vector, sizeof(out->ymm));
}

static uint8_t *guest_data(void)
{
	return ram + FRAMES_PHYSICAL;
}

static void guest_code_write(unsigned offset, const uint8_t *bytes, unsigned length)
{
	if (guest_memory_write(memory, FRAMES_PHYSICAL + FUZZ_DATA_FRAMES * FUZZ_PAGE + offset, bytes, length))
		abort();
}

static bool ram_make(void)
{
	struct reason why = {.text = ""};

	if (host_ram_create(&ram, &ram_fd, RAM_SIZE, true, &why) || x86_cpu_model_find(&model, "host", 1, host_tsc_khz(), &why)) {
		fprintf(stderr, "fuzz: no guest: %s\n", why.text);
		return false;
	}
	tables_make();
	state_make();
	return true;
}

/* --- step: no engine, no VM --- */

static struct guest_memory bare_memory;
static struct x86_cpu *bare;

static uint64_t no_read(void *machine, uint16_t port, unsigned size)
{
	(void)machine, (void)port, (void)size;
	return UINT64_MAX;
}
static void no_write(void *machine, uint16_t port, unsigned size, uint64_t value)
{
	(void)machine, (void)port, (void)size, (void)value;
}
static uint64_t no_mmio_read(void *machine, uint64_t gpa, unsigned size)
{
	(void)machine, (void)gpa, (void)size;
	return UINT64_MAX;
}
static void no_mmio_write(void *machine, uint64_t gpa, unsigned size, uint64_t value)
{
	(void)machine, (void)gpa, (void)size, (void)value;
}
static uint64_t no_tsc(void *machine)
{
	(void)machine;
	return 0;
}
static bool no_msr_read(void *machine, uint32_t msr, uint64_t *value)
{
	(void)machine, (void)msr, (void)value;
	return false;
}
static bool no_msr_write(void *machine, uint32_t msr, uint64_t value)
{
	(void)machine, (void)msr, (void)value;
	return false;
}
static void alone(void *machine, void (*fn)(void *argument), void *argument)
{
	(void)machine;
	fn(argument);
}
static const struct x86_platform no_platform = {no_read,     no_write,     no_mmio_read, no_mmio_write, no_tsc,
						no_msr_read, no_msr_write, alone,        NULL};

static int apic_pending(void *apic)
{
	(void)apic;
	return -1;
}
static uint8_t apic_tpr_get(void *apic)
{
	(void)apic;
	return 0;
}
static void apic_tpr_set(void *apic, uint8_t cr8)
{
	(void)apic, (void)cr8;
}
static bool apic_msr_read(void *apic, uint32_t msr, uint64_t *value)
{
	return no_msr_read(apic, msr, value);
}
static bool apic_msr_write(void *apic, uint32_t msr, uint64_t value)
{
	return no_msr_write(apic, msr, value);
}
static uint64_t apic_base(void *apic)
{
	(void)apic;
	return UINT64_MAX;
}
static void apic_nothing(void *apic)
{
	(void)apic;
}
static void apic_get(void *apic, struct x86_apic_state *out)
{
	(void)apic;
	memset(out, 0, sizeof(*out));
}
static void apic_set(void *apic, const struct x86_apic_state *in)
{
	(void)apic, (void)in;
}
static const struct local_apic_ops no_apic = {
	.pending = apic_pending,
	.accept = apic_pending,
	.tpr_get = apic_tpr_get,
	.tpr_set = apic_tpr_set,
	.msr_read = apic_msr_read,
	.msr_write = apic_msr_write,
	.mmio_read = no_mmio_read,
	.mmio_write = no_mmio_write,
	.base = apic_base,
	.init = apic_nothing,
	.get = apic_get,
	.set = apic_set,
};

static bool bare_make(void)
{
	bare = host_allocate(sizeof(*bare));
	if (!bare)
		return false;
	bare->memory = memory;
	bare->platform = &no_platform;
	bare->apic_ops = &no_apic;
	bare->model = &model;
	return x86_cpu_create(bare) == STATUS_OK;
}

static bool step_init(const char *name)
{
	(void)name;
	memory = &bare_memory;
	return ram_make() && guest_memory_init(memory, ram, RAM_SIZE) == STATUS_OK &&
	       guest_memory_slot_add(memory, 0, RAM_SIZE, 0, false) == STATUS_OK && bare_make();
}

static void step_run(const struct fuzz_block *block, struct fuzz_result *result)
{
	static struct x86_state state;
	unsigned steps;

	memset(result, 0, sizeof(*result));
	block_load(&state, block);
	if (x86_cpu_set(bare, &state)) {
		result->outcome = FUZZ_BROKEN;
		return;
	}
	for (steps = 0; bare->cpl == 3 && bare->s.activity == X86_RUNNING; steps++) {
		uint64_t at = bare->reg[X86_RIP] - block->initial.rip;

		/* Only bytes that were vetted may run natively afterwards. In nothing, a fault is what comes: any address will do. */
		if (steps == STEPS_MAX ||
		    (bare->reg[X86_RIP] >= FUZZ_CODE && bare->reg[X86_RIP] < FUZZ_CODE + FUZZ_CODE_FRAMES * FUZZ_PAGE &&
		     at < block->length && !block->boundary[at])) {
			result->outcome = steps == STEPS_MAX ? FUZZ_ENDLESS : FUZZ_STRAYED;
			return;
		}
		bare->attention = 0;
		if (!x86_events_serve(bare))
			x86_step(bare);
	}
	x86_cpu_get(bare, &state);
	end_store(result, &state);
}

const struct fuzz_engine fuzz_engine_step = {"step", step_init, guest_data, guest_code_write, step_run};

/* --- through an engine's vcpu --- */

static struct vm vm;
static struct vm_config config;

static bool vcpu_init(const char *name)
{
	struct reason why = {.text = ""};
	unsigned i;

	config = (struct vm_config){.name = "fuzz",
				    .engine = name,
				    .cpu_model = "host",
				    .cpus = 1,
				    .memory = RAM_SIZE,
				    .cmdline = "",
				    .debug_exit_port = -1};
	if (!strcmp(name, "jit-window") || !strcmp(name, "jit-tlb")) {
		config.jit_window = strcmp(name, "jit-tlb") ? JIT_WINDOW_ALWAYS : JIT_WINDOW_NEVER;
		name = config.engine = "jit";
	}
	for (i = 0; engines[i] && strcmp(engines[i]->name, name) != 0; i++)
		continue;
	if (!engines[i]) {
		fprintf(stderr, "fuzz: no engine %s in this build\n", name);
		return false;
	}
	if (!ram_make() || vm_create(&vm, &config, engines[i], ram, &why) ||
	    guest_memory_slot_add(&vm.memory, 0, RAM_SIZE, 0, false))
		goto fail;
	memory = &vm.memory;
	vm.cpu_model = &model;
	vm.vcpu[0]->apic_ops = &no_apic;
	if (vm_vcpus_create(&vm, &why) || !bare_make())
		goto fail;
	return true;
fail:
	fprintf(stderr, "fuzz: no VM for engine %s: %s\n", name, why.text);
	return false;
}

struct vm *fuzz_engine_vm(void)
{
	return &vm;
}

void fuzz_engine_end(void)
{
	if (!vcpu_runs)
		return;
	atomic_store(&vm.vcpu[0]->requests, VCPU_PAUSE);
	vm.engine->vcpu_kick(vm.vcpu[0]);
}

static void vcpu_run_block(const struct fuzz_block *block, struct fuzz_result *result)
{
	static struct x86_state state;
	unsigned long gs;
	enum run_end end;

	memset(result, 0, sizeof(*result));
	result->outcome = FUZZ_BROKEN;
	block_load(&state, block);
	if (vm.engine->vcpu_set(vm.vcpu[0], &state))
		return;
	if (syscall(SYS_arch_prctl, ARCH_GET_GS, &gs))
		return;
	vcpu_runs = true;
	do
		end = vm.engine->vcpu_run(vm.vcpu[0]);
	while (end == RUN_KICKED && !atomic_load(&vm.vcpu[0]->requests));
	vcpu_runs = false;
	/* The native side runs on this thread too, with GS as it has it. */
	if (syscall(SYS_arch_prctl, ARCH_SET_GS, gs))
		return;
	if (atomic_exchange(&vm.vcpu[0]->requests, 0) && end == RUN_KICKED)
		result->outcome = FUZZ_ENDLESS;
	if (vm.engine->vcpu_get(vm.vcpu[0], &state))
		return;
	if (end == RUN_HALTED)
		end_store(result, &state);
}

bool fuzz_engine_traces(const struct fuzz_block *block, struct fuzz_result *result)
{
	struct fuzz_result reference;

	step_run(block, &reference);
	/* It takes the manual's word where the engine took the host's: fuzz_oracle.c lists where. */
	if (reference.outcome != FUZZ_EXCEPTION || reference.vector != result->vector || reference.state.rip != result->state.rip)
		return false;
	result->state.fop = reference.state.fop;
	result->state.fip = reference.state.fip;
	result->state.fdp = reference.state.fdp;
	return true;
}

const struct fuzz_engine fuzz_engine_vcpu = {"vcpu", vcpu_init, guest_data, guest_code_write, vcpu_run_block};

/* --- host: the native side again, to see that blocks do give one result --- */

static uint8_t host_data_copy[FUZZ_DATA_FRAMES * FUZZ_PAGE];

static bool host_init(const char *name)
{
	(void)name;
	return true;
}

static uint8_t *host_data(void)
{
	return host_data_copy;
}

static void host_code_write(unsigned offset, const uint8_t *bytes, unsigned length)
{
	memcpy(fuzz_native_code + offset, bytes, length);
}

static void host_run(const struct fuzz_block *block, struct fuzz_result *result)
{
	memcpy(fuzz_native_data, host_data_copy, sizeof(host_data_copy));
	fuzz_native_run(block, result);
	memcpy(host_data_copy, fuzz_native_data, sizeof(host_data_copy));
}

const struct fuzz_engine fuzz_engine_host = {"host", host_init, host_data, host_code_write, host_run};
