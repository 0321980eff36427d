/* SPDX-License-Identifier: Apache-2.0 */
/*
 * identity_test.c - what an engine is given as struct x86_state it gives back, every bit of it, and another engine takes it and gives the same: `identity_test GUEST
 * [SEED]`. States are random within what the architecture allows, in every mode; what is refused changes nothing. `identity_test GUEST SEED kvm` is about that
 * engine alone, inside the bed (test/kvm/state_test): its host decides what it takes, and a state is set part by part.
 *
 * A local APIC keeps of a random state what a guest could have brought about, so it is compared from the first get on.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "test/engine/machine.h"
#include "x86/cpuid.h"
#include "x86/state.h"

#define ROUNDS 4000
#define CPUS 2

static uint64_t seed;
static struct machine *machines[8];
static unsigned count_of_machines, accepted, refused;
static bool host_decides;

static uint64_t random_next(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed * UINT64_C(0x2545f4914f6cdd1d);
}

static unsigned below(unsigned limit)
{
	return (unsigned)(random_next() >> 33) % limit;
}

static void random_fill(void *at, size_t size)
{
	for (size_t i = 0; i < size; i++)
		((uint8_t *)at)[i] = (uint8_t)(random_next() >> 40);
}

static uint64_t canonical(void)
{
	return (uint64_t)((int64_t)(random_next() << 16) >> 16);
}

/* MTRR and PAT bytes. */
static uint64_t memory_types(void)
{
	static const uint8_t type[] = {0, 1, 4, 5, 6};
	uint64_t types = 0;

	for (unsigned i = 0; i < 8; i++)
		types = types << 8 | type[below(5)];
	return types;
}

/* Real mode, VM86, protected, 32-bit paging, PAE, compatibility, 64-bit. */
static void mode_make(struct x86_state *s, const struct x86_cpu_model *model)
{
	unsigned mode = below(7);
	bool lma = mode >= 5;

	s->cr0 = X86_CR0_ET |
		 (random_next() & (X86_CR0_MP | X86_CR0_EM | X86_CR0_TS | X86_CR0_NE | X86_CR0_WP | X86_CR0_AM | X86_CR0_CD));
	s->cr0 |= (mode ? X86_CR0_PE : 0) | (mode >= 3 ? X86_CR0_PG : 0);
	s->cr4 = random_next() & model->cr4_allowed & ~(lma ? 0 : X86_CR4_PCIDE) & ~X86_CR4_LA57;
	s->cr4 = mode >= 4 ? s->cr4 | X86_CR4_PAE : mode == 3 ? s->cr4 & ~X86_CR4_PAE : s->cr4;
	s->efer = random_next() & model->efer_allowed & ~(X86_EFER_LMA | (mode == 3 || mode == 4 ? X86_EFER_LME : 0));
	s->efer |= lma ? X86_EFER_LMA | X86_EFER_LME : 0;
	s->rflags = (random_next() & 0x3c7fd7 & ~X86_FLAG_VM) | X86_FLAG_FIXED | (mode == 1 ? X86_FLAG_VM : 0);
	for (unsigned i = 0; i < 6; i++) {
		s->segment[i].base = lma && i >= X86_FS ? canonical() : (uint32_t)random_next();
		s->segment[i].attributes &= 0xf1ff;
	}
	s->segment[X86_CS].attributes &= (uint16_t) ~(mode == 5 ? X86_SEGMENT_L : lma ? X86_SEGMENT_DB : 0);
	s->segment[X86_CS].attributes |= mode == 6 ? X86_SEGMENT_L : 0;
	if (lma)
		for (unsigned i = 0; i < 4; i++)
			s->pdpte[i] = 0;
	else
		for (unsigned i = 0; i < 4; i++)
			s->pdpte[i] &= 0xffff7000 | 0xe19;
}

static void msrs_make(struct x86_state *s, const struct x86_cpu_model *model)
{
	uint64_t physical = (UINT64_C(1) << model->physical_bits) - 1;

	s->cr3 &= physical;
	s->cr8 &= 15;
	s->xcr0 = (random_next() & model->xcr0_allowed & ~X86_XCR0_AVX) | X86_XCR0_X87;
	if (below(2) && model->xcr0_allowed & X86_XCR0_AVX)
		s->xcr0 |= X86_XCR0_SSE | X86_XCR0_AVX;
	s->lstar = canonical();
	s->cstar = canonical();
	s->kernel_gs_base = canonical();
	s->sysenter_esp = canonical();
	s->sysenter_eip = canonical();
	s->sfmask &= UINT32_MAX;
	s->tsc_aux &= UINT32_MAX;
	s->sysenter_cs &= UINT32_MAX;
	s->xss = 0;
	s->spec_ctrl &= 7;
	s->pat = memory_types();
	s->mtrr_def_type = (random_next() & 0xc00) | 6;
	for (unsigned i = 0; i < 11; i++)
		s->mtrr_fixed[i] = memory_types();
	for (unsigned i = 0; i < 16; i++)
		s->mtrr_variable[i] = (random_next() & physical & ~UINT64_C(0xfff)) | (i & 1 ? below(2) << 11 : 6);
}

static void state_make(struct x86_state *s, const struct x86_cpu_model *model)
{
	memset(s, 0, sizeof(*s));
	random_fill(s, offsetof(struct x86_state, msr_reserved));
	random_fill(&s->pvclock_msr, sizeof(*s) - offsetof(struct x86_state, pvclock_msr));
	mode_make(s, model);
	msrs_make(s, model);
	s->ldtr.base = canonical();
	s->tr.base = canonical();
	s->gdtr = (struct x86_table){canonical(), random_next() & 0xffff};
	s->idtr = (struct x86_table){canonical(), random_next() & 0xffff};
	s->dr6 = X86_DR6_FIXED | (random_next() & 0xe00f);
	s->dr7 = X86_DR7_FIXED | (random_next() & UINT32_MAX);
	s->x87.mxcsr &= 0xffff;
	s->x87.mxcsr_mask &= 0xffff;
	s->activity = below(4);
	s->interrupt_shadow &= 3;
	s->nmi_masked &= 1;
	s->nmi_pending &= 1;
	s->pending_debug &= 15 | X86_DR6_BS | X86_DR6_BT;
	s->pending.valid &= 1;
	s->pending.has_error &= 1;
	s->pending.type = (uint8_t[]){0, 2, 3, 4}[below(4)];
	s->pending.vector &= 31;
	/* A state in ten is nonsense somewhere: most of those are refused. */
	if (!below(10))
		((uint8_t *)s)[below(sizeof(*s))] ^= (uint8_t)(1u << below(8));
}

static void get(unsigned machine, unsigned cpu, struct x86_state *out)
{
	struct vm *vm = &machines[machine]->vm;

	memset(out, 0x5a, sizeof(*out));
	if (vm->engine->vcpu_get(vm->vcpu[cpu], out))
		abort();
}

static enum status set(unsigned machine, unsigned cpu, const struct x86_state *in)
{
	struct vm *vm = &machines[machine]->vm;

	return vm->engine->vcpu_set(vm->vcpu[cpu], in);
}

/* false, and where: they differ before `length`. */
static bool same(const char *what, const struct x86_state *a, const struct x86_state *b, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (((const uint8_t *)a)[i] != ((const uint8_t *)b)[i]) {
			printf("# %s: byte %zu of struct x86_state is %#x and %#x\n", what, i, ((const uint8_t *)a)[i],
			       ((const uint8_t *)b)[i]);
			return false;
		}
	return true;
}

static bool round_run(unsigned machine)
{
	static struct x86_state before, made, first, second;
	unsigned cpu = below(CPUS), other = (machine + 1) % count_of_machines;

	get(machine, cpu, &before);
	state_make(&made, machines[machine]->vm.cpu_model);
	/* What KVM takes of these is no question of modes. */
	if (host_decides) {
		made.apic = before.apic;
		if (!(made.efer & X86_EFER_LMA))
			made.segment[X86_CS].attributes &= (uint16_t)~X86_SEGMENT_L;
	}
	if (set(machine, cpu, &made)) {
		refused++;
		get(machine, cpu, &first);
		return host_decides || same("a state that was refused changed something", &before, &first, sizeof(first));
	}
	accepted++;
	get(machine, cpu, &first);
	first.cr8 = made.cr8; /* the task priority is the local APIC's */
	if (!same("set, get", &made, &first, offsetof(struct x86_state, apic)))
		return false;
	get(machine, cpu, &first);
	if (set(machine, cpu, &first)) {
		printf("# a state that was taken out is refused\n");
		return false;
	}
	get(machine, cpu, &second);
	if (!same("get, set, get", &first, &second, sizeof(first)))
		return false;
	if (set(other, cpu, &first)) {
		printf("# a state that one engine gave is refused by another\n");
		return false;
	}
	get(other, cpu, &second);
	return same("another engine's get", &first, &second, sizeof(first));
}

int main(int count, char **arguments)
{
	unsigned cases = 0, failures = 0, rounds;
	const char *only = count > 3 ? arguments[3] : NULL;

	seed = count > 2 ? strtoull(arguments[2], NULL, 0) : (uint64_t)time(NULL) * 1000003 + (uint64_t)getpid();
	printf("# seed %llu\n", (unsigned long long)seed);
	if (count < 2)
		return 64;
	for (unsigned i = 0; engines[i] && i < 8; i++) {
		if (only ? strcmp(engines[i]->name, only) : !strcmp(engines[i]->name, "kvm"))
			continue;
		machines[count_of_machines] = machine_describe(engines[i]->name, arguments[1], "", CPUS);
		machine_create(machines[count_of_machines++]);
	}
	host_decides = only;
	rounds = only ? ROUNDS / 10 : ROUNDS;
	for (unsigned i = 0; i < count_of_machines; i++) {
		bool good = true;

		accepted = refused = 0;
		for (unsigned round = 0; good && round < rounds; round++)
			good = round_run(i);
		good = good && accepted > (host_decides ? rounds / 4 : rounds * 3 / 4) && (host_decides || refused > rounds / 400);
		printf("%sok %u - get, set, get is the identity: %u states, %u refused [%s]\n", good ? "" : "not ", ++cases,
		       accepted, refused, machines[i]->config.engine);
		failures += !good;
	}
	for (unsigned i = 0; i < count_of_machines; i++)
		machine_destroy(machines[i]);
	printf("1..%u\n", cases);
	return failures != 0;
}
