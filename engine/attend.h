/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attend.h - what a vcpu of an engine in this process does when cpu->attention calls it away from the guest: interp's and jit's.
 */
#ifndef HOLON_ENGINE_ATTEND_H
#define HOLON_ENGINE_ATTEND_H

#include <holon/vm.h>

#include "x86/code_page.h"
#include "x86/cpu.h"

struct attend_counts {
	uint64_t halt, interrupt, kick;
};

/*
 * Takes the attention word: exclusive sections, requests of others, events, single steps. On the vcpu's thread between two instructions,
 * with the guest's registers all in `cpu`. Returns true to go on running, else *end says why not.
 */
bool attend(struct vcpu *vcpu, struct x86_cpu *cpu, struct attend_counts *counts, enum run_end *end);

/*
 * COUNTED time: how many instructions there are to the next boundary, at least one; and `executed` more were executed, not more than that. At a
 * boundary the state must be complete: attend_count moves the clock there.
 */
static inline uint64_t attend_room(const struct x86_cpu *cpu)
{
	return VM_CLOCK_QUANTUM - cpu->instructions % VM_CLOCK_QUANTUM;
}
void attend_count(struct vcpu *vcpu, struct x86_cpu *cpu, uint64_t executed);

/* The parts of struct engine that are alike: `cpu_of` finds a vcpu's core. */

enum status attend_dirty_start(struct vm *vm, struct x86_cpu *(*cpu_of)(const struct vcpu *vcpu));
enum status attend_dirty_collect(struct vm *vm, uint64_t *bitmap, struct x86_cpu *(*cpu_of)(const struct vcpu *vcpu));
enum status attend_vcpu_get(struct vcpu *vcpu, struct x86_cpu *cpu, struct x86_state *out);
enum status attend_vcpu_set(struct vcpu *vcpu, struct x86_cpu *cpu, const struct x86_state *in);

#endif
