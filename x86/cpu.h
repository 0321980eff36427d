/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpu.h - struct x86_cpu: one running processor, for the interpreter and for the JIT alike.
 *
 * x86_state is the portable form; this is the form that is quick to run on. Most of the state lives in `s` as it
 * is; what is hot has a live copy here (reg, flags), and x86_cpu_get/x86_cpu_set convert. Only the vcpu's own thread touches it, except `attention`.
 *
 * Status flags are kept as the host's LAHF and SETO leave them in AX ("lahf; seto %al"): AH = SF ZF 0 AF 0 PF 1 CF, AL = OF. Handlers
 * execute the guest's operation as a host instruction and store AX: all flags, the undefined ones too, are what the host's processor gives.
 */
#ifndef HOLON_X86_CPU_H
#define HOLON_X86_CPU_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <holon/guest_memory.h>
#include <holon/irq.h>

#include "x86/insn.h"
#include "x86/registers.h"
#include "x86/state.h"
#include "x86/tlb.h"

/* cpu->attention: why the engine must look up from its work before the next block. */
#define X86_ATTENTION_REQUEST 1u    /* vcpu->requests has something (any thread sets this) */
#define X86_ATTENTION_EVENT 2u      /* single step, debug trap, shadow, window: x86_events_serve */
#define X86_ATTENTION_CODE 4u       /* a store hit translated code: leave the block after this instruction */
#define X86_ATTENTION_MODE 8u       /* CPL, code size, paging or CR0/CR4/EFER changed: look the block up anew */
#define X86_ATTENTION_ACTIVITY 16u  /* HLT, shutdown */
#define X86_ATTENTION_EXCLUSIVE 32u /* an exclusive section waits (any thread) */

/* What the core asks of the machine around it; vm/vcpu.c fills it in. All calls on the vcpu's thread. */
struct x86_platform {
	uint64_t (*port_read)(void *machine, uint16_t port, unsigned size);
	void (*port_write)(void *machine, uint16_t port, unsigned size, uint64_t value);
	uint64_t (*mmio_read)(void *machine, uint64_t gpa, unsigned size);
	void (*mmio_write)(void *machine, uint64_t gpa, unsigned size, uint64_t value);
	uint64_t (*tsc)(void *machine); /* without IA32_TSC_ADJUST */
	/* MSRs that are not the CPU's: paravirtual clock, and what the machine adds. false: #GP(0). */
	bool (*msr_read)(void *machine, uint32_t msr, uint64_t *value);
	bool (*msr_write)(void *machine, uint32_t msr, uint64_t value);
	/* Runs fn while no other vcpu executes: split locked accesses, first code on a page. */
	void (*exclusive)(void *machine, void (*fn)(void *argument), void *argument);
	/* VMCALL, VMMCALL: RAX, and RBX RCX RDX RSI, 32 bits of each unless wide. What RAX becomes. NULL: there are no hypercalls. */
	int64_t (*hypercall)(void *machine, bool wide, uint64_t number, const uint64_t argument[4]);
};

struct x86_cpu_model;

/* How a data access is made; selects the TLB's arrays and the checks of the page walk. */
enum x86_access_mode {
	X86_MODE_SUPERVISOR,      /* CPL < 3, and SMAP is off or EFLAGS.AC is set */
	X86_MODE_SUPERVISOR_SMAP, /* CPL < 3 with SMAP in force; implicit supervisor accesses at any CPL when CR4.SMAP */
	X86_MODE_USER,
	X86_MODES
};

struct x86_cpu {
	/* --- hot: the JIT addresses these with short displacements --- */
	uint64_t reg[18]; /* 16 GPRs, zero, RIP of the next instruction */
	uint16_t flags;   /* LAHF/SETO form, see above */
	uint8_t cpl;
	uint8_t code_size; /* 2, 4, 8 */
	_Atomic uint32_t attention;
	uint8_t mode;        /* enum x86_access_mode of explicit data accesses */
	uint8_t stack_size;  /* 2, 4, 8: width of rSP for implicit stack accesses */
	uint8_t flat;        /* bit per segment register: base 0 and no limit, type or null check can fail for reads and writes */
	uint8_t pauses;      /* PAUSEs executed, to yield now and then */
	struct x86_tlb *tlb; /* the current context's */
	const struct x86_insn *insn; /* being executed, NULL between instructions: a fault's RIP is reg[X86_RIP] - insn->length */
	uint64_t instructions;       /* executed so far (engines update it per block); one that faults counts too */
	bool unfinished; /* a string instruction was left with RIP on itself: counted when it is done. See x86_executed */
	/* --- the rest --- */
	struct x86_state s; /* canonical but for: gpr, rip (reg), status flags in rflags (flags), apic (the APIC's own) */
	/* X86_TLB_CONTEXTS of them and one that stays empty: in use while #AC is armed, so that every access is checked. `tlb_stride` bytes apart */
	struct x86_tlb *tlb_contexts;
	uint64_t tlb_stride;
	bool tlb_own; /* allocated by x86_tlb_create */
	uint16_t tlb_pcid[X86_TLB_CONTEXTS];
	uint64_t tlb_random; /* which context goes when a PCID has none */
	uint8_t tlb_current; /* CR3's context */
	void *unwind[5];     /* __builtin_setjmp: where a fault goes */
	/* The fault being raised */
	uint8_t fault_vector;
	bool fault_has_error;
	uint32_t fault_error;
	uint64_t fault_address; /* CR2 */
	/* Data breakpoints that matched during this instruction: DR6 bits */
	uint64_t debug_hits;
	bool event_external; /* an event that is not the program's own is being delivered: EXT in error codes */
	bool event_waiting; /* an NMI or interrupt was pending and not allowed when an engine last looked: look again when IF may have changed */
	bool step_armed;   /* TF was set when the instruction began */
	bool shadow_fresh; /* s.interrupt_shadow was set by the instruction that just ran: it ages with the next */
	/* A store of this instruction hit a page with flags: finish with x86_store_done. */
	uint8_t *special_store;
	unsigned special_store_length;
	const struct x86_platform *platform;
	void *machine;
	const struct local_apic_ops *apic_ops;
	void *apic;
	struct guest_memory *memory;
	const struct x86_cpu_model *model;
	void *host_run; /* x86/host_run.c: per-cpu scratch for host-executed instructions */
	void *engine;
	/* Optional: entries of the TLB are dropped, and whatever an engine keeps of the like must go. On the vcpu's thread, or while that stands still. */
	void (*dropped)(struct x86_cpu *cpu, enum x86_drop what, uint64_t which);
	unsigned id;
	uint64_t tlb_misses;
	uint64_t port_accesses, device_accesses; /* each IN, OUT, and access to memory that is no RAM */
						 /* The TSC: guest = platform tsc + s.tsc_adjust */
	struct x86_tlb_written tlb_written[X86_TLB_WRITTEN];
};

/* Creation: `memory`, `platform`, `machine`, `apic*`, `model` are set by the caller before. Allocates the TLB. */
/* Its TLB is at tlb_contexts if that is set already: zeroed memory that the caller gives and takes back. */
enum status x86_cpu_create(struct x86_cpu *cpu) must_check;
void x86_cpu_destroy(struct x86_cpu *cpu);
/* Power-on or RESET state (SDM vol. 3, table 10-1); INIT keeps what INIT keeps. bsp: starts at 0xfffffff0, else waits for SIPI. */
void x86_cpu_reset(struct x86_cpu *cpu, bool bsp);
void x86_cpu_init(struct x86_cpu *cpu, bool bsp);
void x86_cpu_sipi(struct x86_cpu *cpu, uint8_t vector);
/* Lossless both ways; the APIC through apic_ops. set flushes the TLB and recomputes everything derived. */
void x86_cpu_get(const struct x86_cpu *cpu, struct x86_state *out);
enum status x86_cpu_set(struct x86_cpu *cpu, const struct x86_state *in) must_check;
/* After any change of CR0, CR4, EFER, CPL, segments or AC: recomputes cpl, code_size, stack_size, flat, mode; sets ATTENTION_MODE. */
void x86_cpu_mode_changed(struct x86_cpu *cpu);

static inline struct x86_tlb *x86_tlb_context(const struct x86_cpu *cpu, unsigned context)
{
	return (struct x86_tlb *)((uint8_t *)cpu->tlb_contexts + context * cpu->tlb_stride);
}

static inline uint64_t x86_status_to_rflags(uint16_t flags)
{
	return ((uint64_t)(flags >> 8) & (X86_FLAG_CF | X86_FLAG_PF | X86_FLAG_AF | X86_FLAG_ZF | X86_FLAG_SF)) |
	       ((uint64_t)(flags & 1) << 11);
}
static inline uint16_t x86_status_from_rflags(uint64_t rflags)
{
	return (uint16_t)(((rflags & 0xd5) | 2) << 8 | (rflags >> 11 & 1));
}
/* The whole RFLAGS, VM and RF too. */
static inline uint64_t x86_rflags(const struct x86_cpu *cpu)
{
	return (cpu->s.rflags & ~X86_FLAGS_STATUS) | x86_status_to_rflags(cpu->flags);
}
static inline void x86_attention(struct x86_cpu *cpu, uint32_t why)
{
	atomic_fetch_or(&cpu->attention, why);
}
static inline bool x86_long_mode(const struct x86_cpu *cpu)
{
	return cpu->s.efer & X86_EFER_LMA;
}
static inline bool x86_protected(const struct x86_cpu *cpu) /* and not VM86 */
{
	return (cpu->s.cr0 & X86_CR0_PE) && !(cpu->s.rflags & X86_FLAG_VM);
}

#endif
