/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine.h - what runs vcpus. One row a engine in engine/engines.c; program/ picks.
 *
 * vcpu_run serves the guest's device accesses by itself (bus_read, bus_write) and returns only for the ends below.
 * NULL members are things that an engine does not need: the caller checks those marked optional.
 */
#ifndef HOLON_ENGINE_H
#define HOLON_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include <holon/status.h>

struct vm;
struct vcpu;
struct memory_slot;
struct x86_state;
struct x86_cpu_model;

enum run_end {
	RUN_KICKED,   /* vcpu_kick: look at vcpu->requests */
	RUN_HALTED,   /* HLT with nothing to deliver, or waiting for SIPI */
	RUN_SHUTDOWN, /* triple fault */
	RUN_FAILED,   /* host or engine failure: the log has it */
};

/* What --stats writes. An engine fills in what it can; 0 where it cannot. */
struct engine_stats {
	uint64_t instructions;
	uint64_t blocks_translated;
	uint64_t cache_flushes;
	uint64_t tlb_misses;
	uint64_t slow_path_calls; /* of C by translated code: TLB and jump cache misses, instructions that are not native */
	uint64_t exits_port, exits_mmio, exits_halt, exits_interrupt, exits_exception, exits_kick, exits_fallback;
};

struct engine {
	const char *name;
	bool counts;           /* can keep COUNTED time (config->deterministic) */
	bool maps_large_pages; /* gains from RAM in the host's large pages */
	bool serves_paravirt;  /* KVM's paravirtual features: vm/paravirt.c has nothing to do */
	/* Can it run a 64-bit guest here? `why` says what was found, good or bad, as "NAME: ...". */
	enum status (*probe)(struct reason *why);
	/*
	 * Takes out of a CPU model what this engine cannot show on this host (optional). Before anything is built on the model; where a VM is to
	 * change engines, each of them gets its turn.
	 */
	enum status (*model_fit)(struct x86_cpu_model *model, struct reason *why);
	/*
	 * A VM's engine may change while it lives (vm_engine_switch): vcpu_destroy and vm_detach give back all that vm_attach and vcpu_create took over
	 * (vm->irq.msi, vcpu->apic_ops ...) and leave nothing in guest memory's page flags. No vcpu runs then and every device is quiet.
	 */
	enum status (*vm_attach)(struct vm *vm, struct reason *why);
	void (*vm_detach)(struct vm *vm);
	enum status (*vcpu_create)(struct vcpu *vcpu, struct reason *why);
	void (*vcpu_destroy)(struct vcpu *vcpu);
	/* On the vcpu's own thread. */
	enum run_end (*vcpu_run)(struct vcpu *vcpu);
	/* Any thread: vcpu_run returns or looks at vcpu->requests soon. Costs little when repeated. */
	void (*vcpu_kick)(struct vcpu *vcpu);
	/* No vcpu executes guest instructions while fn runs. From any thread, a vcpu's own too, with no lock held that a vcpu may wait for. */
	void (*run_exclusive)(struct vm *vm, void (*fn)(void *argument), void *argument);
	/* While the vcpu is not in vcpu_run. get then set is the identity. */
	enum status (*vcpu_get)(struct vcpu *vcpu, struct x86_state *out);
	enum status (*vcpu_set)(struct vcpu *vcpu, const struct x86_state *in);
	/* Dirty logging of all of RAM, merged with what devices write. collect fills a bit a RAM page and re-arms. */
	enum status (*dirty_start)(struct vm *vm);
	enum status (*dirty_collect)(struct vm *vm, uint64_t *bitmap);
	void (*dirty_stop)(struct vm *vm);
	/* Any thread, while the vcpu runs too: it drops every translation and TLB entry before its next block (optional; tests flush at random points). */
	void (*flush)(struct vcpu *vcpu);
	void (*stats)(struct vm *vm, struct engine_stats *out);
};

/* engine/engines.c: the table, ended by NULL, best first. */
extern const struct engine *const engines[];

#endif
