/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvm_engine.h - what the files of engine/kvm share: the VM and the vcpu as this engine knows them. kvm.c has the table of functions; read it first.
 */
#ifndef HOLON_ENGINE_KVM_ENGINE_H
#define HOLON_ENGINE_KVM_ENGINE_H

#include <linux/kvm.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <holon/vm.h>

#include "engine/kvm/kvm_call.h"
#include "x86/state.h"

#define KVM_DOORBELLS_MAX 128
#define KVM_MESSAGES 64 /* MSI messages with an eventfd of their own */

/* A guest address with an ioeventfd. */
struct kvm_doorbell {
	struct bus_region *region; /* NULL: the place is free */
	uint32_t offset;           /* in the region */
	uint64_t gpa;
	int event;
};

/* A message that devices send often: written to an eventfd, which the kernel turns into the interrupt. */
struct kvm_message {
	uint64_t address;
	uint32_t data;
	uint32_t sent; /* how often, less how often others were that would have its place */
	int event;     /* -1: none */
};

/* What the engine took over from the board in vm_attach, to be given back. */
struct kvm_irq_before {
	void (*msi)(void *owner, uint64_t address, uint32_t data);
	void (*lint0)(void *owner, bool level);
	void (*route)(void *owner, unsigned pin);
	void *owner;
};

struct kvm_vm {
	struct vm *vm;
	int kvm; /* /dev/kvm */
	int fd;
	size_t run_size; /* of struct kvm_run and what follows it */
	/* What this host's KVM has. */
	bool has_sregs2;
	bool has_tsc_offset;
	bool has_xcrs;
	bool ioeventfd_any_length;
	/* kvm_memory.c */
	unsigned slots;        /* registered so far */
	uint64_t *slot_bitmap; /* while pages are logged */
	uint64_t slot_bitmap_size;
	/* kvm_irq.c */
	struct kvm_irq_before before;
	bool irq_taken;
	_Atomic bool lint0;
	struct host_mutex irq_lock;     /* a leaf: routes and messages */
	struct irq_route pin[IRQ_GSIS]; /* a copy of struct irq's, which is under another lock */
	bool routes_stale;
	struct kvm_message message[KVM_MESSAGES];
	/* kvm_doorbell.c */
	struct host_mutex doorbell_lock; /* around every write that a doorbell makes: before device locks */
	struct kvm_doorbell doorbell[KVM_DOORBELLS_MAX];
	int doorbell_poll; /* epoll */
	int doorbell_stop;
	struct host_thread *doorbell_thread;
	bool observing;
	/* kvm_posted.c */
	size_t ring_offset;            /* of the ring behind a vcpu's struct kvm_run; 0: there is none */
	struct host_mutex posted_lock; /* around every posted write that is done: before device locks */
	struct kvm_coalesced_mmio_ring *ring;
};

struct kvm_counts {
	uint64_t port, mmio, kick, interrupt, fallback, other;
};

struct kvm_vcpu {
	struct vcpu *vcpu;
	struct kvm_vm *vm;
	int fd;
	struct kvm_run *run;
	_Atomic int thread;  /* gettid of who runs it */
	_Atomic bool in_run; /* inside KVM_RUN, or about to: a kick needs a signal */
	bool completion_due; /* KVM finishes an access at the next KVM_RUN */
	bool turned_back;    /* the last KVM_RUN ended without an exit */
	bool ready_known;    /* run->ready_for_interrupt_injection is of this state: KVM_RUN has been called since it was set */
	bool shutdown;       /* a triple fault: nothing runs until the next vcpu_set */
	/* Time: kvm_time.c */
	uint64_t clock_base; /* guest TSC = host TSC + clock_base + IA32_TSC_ADJUST, as told to KVM */
	bool clock_told;
	/* The APIC's timer as of the last set, or of leaving vcpu_run; true: this is the truth, whatever KVM does meanwhile. kvm_state_apic.c */
	bool timer_held;
	uint64_t timer_start_ns, timer_next_ns, tsc_deadline;
	/*
	 * KVM keeps some things in a form of its own (an unusable segment's type, a reserved bit). What was set last, and what KVM made of it: where KVM still says
	 * the same, get answers with what was set. So get after set is the identity. kvm_state.c
	 */
	struct x86_state *set, *echo;
	bool echo_valid;
	/* While kvm_emulate executes an instruction. */
	uint64_t emulation_apic_base;
	bool emulation_failed;
	struct kvm_counts counts;
};

static inline struct kvm_vm *kvm_vm_of(const struct vm *vm)
{
	return vm->engine_data;
}

/* A line for a failed call: "kvm: WHAT: REASON; NEXT STEP". `result` is the negative errno. */
enum status kvm_failed(struct reason *why, const char *what, int result) must_check;

/* kvm_cpuid.c. fit: struct engine's. apply: before the vcpu first runs. */
enum status kvm_cpuid_fit(struct x86_cpu_model *model, struct reason *why) must_check;
enum status kvm_cpuid_apply(struct kvm_vcpu *self, struct reason *why) must_check;

/* kvm_memory.c */
enum status kvm_memory_attach(struct kvm_vm *self, struct reason *why) must_check;
void kvm_memory_detach(struct kvm_vm *self);
enum status kvm_memory_dirty_start(struct vm *vm);
enum status kvm_memory_dirty_collect(struct vm *vm, uint64_t *bitmap);
void kvm_memory_dirty_stop(struct vm *vm);

/* kvm_irq.c. serve: on the BSP's thread before KVM_RUN: the PIC's interrupt, if it has one. false: a call failed. */
enum status kvm_irq_attach(struct kvm_vm *self, struct reason *why) must_check;
void kvm_irq_detach(struct kvm_vm *self);
bool kvm_irq_extint_serve(struct kvm_vcpu *self);
/*
 * Between them no message reaches a local APIC, and none is on its way there. For a moment, on a vcpu's thread, no lock held.
 */
void kvm_irq_messages_stop(struct kvm_vm *self);
void kvm_irq_messages_go(struct kvm_vm *self);
/* Sends VCPU_INIT, SIPI or UNHALT to the vcpu's own APIC. */
int kvm_irq_request_send(struct kvm_vcpu *self, uint32_t request);

/* kvm_doorbell.c. drain: serves all that was rung; when it returns nothing is being served. On a vcpu's thread, no lock held. */
enum status kvm_doorbell_attach(struct kvm_vm *self, struct reason *why) must_check;
void kvm_doorbell_detach(struct kvm_vm *self);
void kvm_doorbell_drain(struct kvm_vm *self);

/*
 * kvm_posted.c. drain: on a vcpu's thread, before it does anything that the guest asked for. tick: on any thread. ring_set: the first vcpu's mapping has come,
 * or goes (NULL). region: one of the bus of ports or of memory comes or goes.
 */
void kvm_posted_attach(struct kvm_vm *self);
void kvm_posted_detach(struct kvm_vm *self);
void kvm_posted_ring_set(struct kvm_vm *self, struct kvm_run *run);
void kvm_posted_region(struct kvm_vm *self, const struct bus_region *region, bool ports, bool enabled);
void kvm_posted_drain(struct kvm_vcpu *self);
void kvm_posted_tick(struct kvm_vm *self);

/* kvm_vcpu.c */
enum status kvm_vcpu_create(struct vcpu *vcpu, struct reason *why) must_check;
void kvm_vcpu_destroy(struct vcpu *vcpu);
enum run_end kvm_vcpu_run(struct vcpu *vcpu);
void kvm_vcpu_kick(struct vcpu *vcpu);
enum status kvm_vcpu_signal_prepare(struct reason *why) must_check;

/* kvm_exit.c: serves the exit that KVM_RUN returned with. false: *end says why the run is over. */
bool kvm_exit_serve(struct kvm_vcpu *self, enum run_end *end);

/* kvm_emulate.c: executes the instruction that KVM could not. false: Holon cannot either. */
bool kvm_emulate(struct kvm_vcpu *self);

/* kvm_dump.c: the vcpu's registers into the log, under a line that says why. WARN, which is rate-limited, for what a guest can bring about again and again. */
void kvm_dump(struct kvm_vcpu *self, enum host_log_level level, const char *why);

/* kvm_time.c: KVM's TSC follows the VM's clock. 1: the clock has stood since it was told last, 0: not; or the negative errno. */
int kvm_time_tell(struct kvm_vcpu *self);

/* kvm_state.c. APIC and MSRs only where `whole`. Negative errno; *step names the call that failed. */
enum status kvm_state_get(struct vcpu *vcpu, struct x86_state *out);
enum status kvm_state_set(struct vcpu *vcpu, const struct x86_state *in);
int kvm_state_read(struct kvm_vcpu *self, struct x86_state *out, bool whole, const char **step) must_check;
int kvm_state_write(struct kvm_vcpu *self, const struct x86_state *in, bool whole, const char **step) must_check;

/* Before the vcpu enters the guest: what was set is KVM's from now on. */
void kvm_state_begin(struct kvm_vcpu *self);

/* kvm_state_fpu.c, kvm_state_msr.c, kvm_state_apic.c: parts of it. Negative errno. */
int kvm_state_fpu_read(struct kvm_vcpu *self, struct x86_state *out) must_check;
int kvm_state_fpu_write(struct kvm_vcpu *self, const struct x86_state *in) must_check;
int kvm_state_msr_read(struct kvm_vcpu *self, struct x86_state *out) must_check;
int kvm_state_msr_write(struct kvm_vcpu *self, const struct x86_state *in) must_check;
/* Before the vcpu goes: nothing of this KVM's stays in guest memory. */
void kvm_state_msr_leave(struct kvm_vcpu *self);
int kvm_state_apic_read(struct kvm_vcpu *self, struct x86_state *out) must_check;
int kvm_state_apic_write(struct kvm_vcpu *self, const struct x86_state *in) must_check;
/*
 * The APIC's timer stands while the vcpu is not in vcpu_run, as the guest's clock may; and goes on. `stood`: the clock did. hold gives 1 if an
 * interrupt of the timer may have come since begin_ns (host time), which is in no register before the next KVM_RUN.
 */
int kvm_state_timer_hold(struct kvm_vcpu *self, uint64_t begin_ns) must_check;
int kvm_state_timer_go(struct kvm_vcpu *self, bool stood) must_check;
/* One MSR. read: 1 if it is there, 0 if not; write: 1 if KVM took it, 0 if not. */
int kvm_state_msr_get_one(struct kvm_vcpu *self, uint32_t msr, uint64_t *value) must_check;
int kvm_state_msr_set_one(struct kvm_vcpu *self, uint32_t msr, uint64_t value) must_check;

#endif
