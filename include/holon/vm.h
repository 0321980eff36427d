/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vm.h - a virtual machine and its vcpus: what engine, devices and board share.
 *
 * Threads: one a vcpu (vm/vcpu.c), one for the clock's timers, those of the backends, and the program's main thread,
 * which waits in vm_wait. Lifecycle: vm_create, the board builds, vm_start, vm_wait, vm_destroy.
 */
#ifndef HOLON_VM_H
#define HOLON_VM_H

#include <stdbool.h>
#include <stdint.h>

#include <holon/bus.h>
#include <holon/code_watch.h>
#include <holon/config.h>
#include <holon/device.h>
#include <holon/engine.h>
#include <holon/guest_memory.h>
#include <holon/host.h>
#include <holon/irq.h>
#include <holon/timer.h>

struct state_reader;
struct state_writer;
struct vcpu_image;
struct x86_cpu_model;
struct x86_platform;

/* vcpu->requests; set by any thread through vcpu_request, taken by the vcpu's thread. */
#define VCPU_PAUSE 1u /* leave vcpu_run and wait for vm_resume */
#define VCPU_NMI 2u
#define VCPU_INIT 4u
#define VCPU_SIPI 8u
#define VCPU_INTERRUPT 16u /* the local APIC may have something to deliver */
#define VCPU_STOP 32u      /* the thread ends */
#define VCPU_RESET 64u     /* the VM resets or is held (vm_hold): leave vcpu_run and wait */
#define VCPU_UNHALT 128u   /* HLT ends, the present one or the next (KVM_HC_KICK_CPU): stays until then */

#define VCPU_PARAVIRT_MSRS 5 /* X86_PARAVIRT_MSRS of x86/state.h */

struct vcpu {
	struct vm *vm;
	unsigned id; /* also the APIC ID */
	_Atomic uint32_t requests;
	_Atomic uint8_t sipi_vector;
	struct host_event wake; /* ends a halt */
	struct host_thread *thread;
	const struct local_apic_ops *apic_ops; /* of `apic` */
	void *apic;
	void *engine; /* the engine's own */
	/* Kicks come from any thread while engines come and go: whoever takes the engine away clears `attached` and waits for those inside. */
	_Atomic bool attached;
	_Atomic uint32_t kickers;
	struct vcpu_image *image; /* vm/vcpu_state.c: this vcpu as saved state */
	/* Exclusive sections (vm/exclusive.c): is this vcpu executing guest instructions? */
	_Atomic uint32_t in_guest;
	bool stopped;         /* under vm->lock: the thread waits out a pause */
	uint64_t pvclock_msr; /* kvmclock's system time MSR; 0: off. Part of struct x86_state, see vm/pvclock.c */
	uint64_t paravirt_msr[VCPU_PARAVIRT_MSRS]; /* as in struct x86_state, while the engine does not keep them; vm/paravirt.c */
	bool async_pf_due;                         /* paravirt.c: the guest has to be told once it has taken what it was told */
};

/* Why a VM ended. The numbers are the exit statuses of the command line. */
enum vm_end {
	VM_END_NONE = -1,
	VM_END_POWER_OFF = 0,
	VM_END_CRASH = 70,       /* triple fault under no_reboot, pvpanic */
	VM_END_RESET = 72,       /* reset under no_reboot */
	VM_END_FAILURE = 74,     /* host or Holon */
	VM_END_DEBUG_EXIT = 256, /* plus (value << 1 | 1) */
};

struct vm {
	const struct vm_config *config;
	const struct engine *engine;
	void *engine_data;
	struct code_watch *code_watch; /* who looks at translated code, a list; set before the vcpus are created */
	const struct x86_cpu_model *cpu_model;
	struct guest_memory memory;
	struct bus ports;
	struct bus mmio;
	struct irq irq;
	struct vm_clock clock;
	struct vcpu *vcpu[VM_CPUS_MAX];
	unsigned vcpus;
	struct device *devices; /* in creation order */
	struct device **devices_end;
	void (*boot)(void *board); /* loads the kernel and sets vcpu 0's registers, after every reset */
	/* Destroys every device and creates it anew, as board_create left it. The board's, for vm_rebuild. */
	enum status (*devices_remake)(void *board, struct reason *why);
	void *board;
	uint64_t pvclock_wall_msr;
	struct device clock_device;    /* what saves the clock */
	struct device pvclock_device;  /* and pvclock_wall_msr */
	_Atomic uint32_t halted_vcpus; /* COUNTED time: when all are, it jumps to the next timer */

	struct host_mutex lock;    /* the fields below */
	struct host_event changed; /* for vm_wait */
	enum vm_end end;
	bool paused;
	unsigned pauses; /* who paused it and has not resumed it */
	bool reset_wanted;
	bool held;        /* some thread has the machine to itself, to reset it or take it apart: others, and a pause, wait */
	unsigned holders; /* threads that hold or want to */
	unsigned stopped_vcpus;
	struct host_event vcpu_stopped; /* stopped_vcpus or held changed; who takes it and is done passes it on */
	enum clock_mode clock_mode;     /* while running */
	bool attached;                  /* engine->vm_attach succeeded */
	unsigned vcpus_created;

	/* Held with the machine. Whoever calls into the board from outside takes it: vm_board_lock. Before a device's locks. */
	struct host_mutex board_lock;
	struct engine_stats stats_before; /* of engines and vcpus that are gone */
	_Atomic uint64_t engine_switches, rebuilds, dirty_checks;

	struct host_mutex exclusive_lock; /* one exclusive section at a time */
	_Atomic uint32_t exclusive;       /* one is wanted or running */
	struct host_event exclusive_idle; /* a vcpu has left the guest */
};

/* Makes vm->vcpu[] too, without engine state. Guest RAM of config->memory bytes at `ram` (host memory, owned by the caller). The caller has checked the config. */
enum status vm_create(struct vm *vm, const struct vm_config *config, const struct engine *engine, uint8_t *ram,
		      struct reason *why) must_check;
/* Creates vcpus with their engine state; after the board has set up memory slots and CPU model. */
enum status vm_vcpus_create(struct vm *vm, struct reason *why) must_check;
void vm_device_add(struct vm *vm, struct device *device);
/* Resets every device and vcpu, boots, lets the clock and the vcpus run. */
enum status vm_start(struct vm *vm, struct reason *why) must_check;
/* Serves resets and pauses until the VM ends. Returns the exit status. On the program's thread. */
int vm_wait(struct vm *vm);
/* After vm_wait, or where vm_start failed or was never called; the board is gone already. */
void vm_destroy(struct vm *vm);

/* Any thread, with device locks held: these only note the wish. The first end wins. */
void vm_end_request(struct vm *vm, enum vm_end end);
void vm_reset_request(struct vm *vm); /* under no_reboot: VM_END_RESET */
void vm_debug_exit(struct vm *vm, uint32_t value);

/* From the program's thread or an API's. Pause returns when every vcpu stands and the clock too. */
/* Pauses nest: the VM runs again when each has been resumed. */
void vm_pause(struct vm *vm);
void vm_resume(struct vm *vm);

/*
 * vm/hold.c: the machine for one thread alone. When vm_hold returns true every vcpu stands, no timer fires and every device is quiet
 * (device.h). false: the VM has ended, and there is nothing to release. After vm_start, from any thread that is not a vcpu's, the clock's or a backend's, with no lock held.
 * A pause does not hinder it and goes on afterwards.
 */
bool vm_hold(struct vm *vm) must_check;
void vm_release(struct vm *vm);
/*
 * Around a call into the board or a device that comes neither from a vcpu, the clock nor a device's backend: power button, hotplug, an API. Waits while the machine is held.
 */
void vm_board_lock(struct vm *vm);
/* For who must not wait: a hold may have to wait for a disk whose server is silent. */
bool vm_board_try(struct vm *vm) must_check;
void vm_board_unlock(struct vm *vm);

/*
 * vm/rebuild.c; called as vm_hold is. STATUS_CANCELLED: the VM has ended meanwhile. switch: the guest goes on under another engine, which has been probed; where that
 * refuses it goes on under the old one. rebuild: everything is saved, destroyed, made anew and loaded, but for RAM. If the VM cannot go on
 * these ask for VM_END_FAILURE.
 */
enum status vm_engine_switch(struct vm *vm, const struct engine *engine, struct reason *why) must_check;
enum status vm_rebuild(struct vm *vm, struct reason *why) must_check;

/*
 * vm/save.c: the whole machine but RAM, as sections of state.h: "machine", every device in order, every vcpu. While it is held. Save measures where the
 * writer has no room. Load is for a machine that was just made, or whose devices were; after a failure it can only be destroyed.
 */
/* vm_save is enough for a machine that goes on in this process. May its state be taken elsewhere? STATUS_UNSUPPORTED names the first device that cannot. */
enum status vm_movable(const struct vm *vm, struct reason *why) must_check;
enum status vm_save(struct vm *vm, struct state_writer *writer, struct reason *why) must_check;
enum status vm_load(struct vm *vm, struct state_reader *reader, struct reason *why) must_check;

/* What all engines have counted since the VM began. While it is held, or after its end. */
void vm_stats(struct vm *vm, struct engine_stats *out);

void vcpu_request(struct vcpu *vcpu, uint32_t request); /* sets bits, kicks the engine, wakes a halt */
static inline void vcpu_interrupt(struct vcpu *vcpu)
{
	vcpu_request(vcpu, VCPU_INTERRUPT);
}

/* vm/vcpu.c: what the CPU core asks of the machine around it (x86/cpu.h). `machine` is the struct vcpu. */
extern const struct x86_platform vcpu_platform;

/* vm/pvclock.c: the paravirtual clock's MSRs. false: the MSR is not one of them. */
bool pvclock_msr_read(struct vcpu *vcpu, uint32_t msr, uint64_t *value);
bool pvclock_msr_write(struct vcpu *vcpu, uint32_t msr, uint64_t value);
/* vm/paravirt.c: KVM's other MSRs, and its hypercalls (argument: RBX, RCX, RDX, RSI), for engines that do not serve them. What RAX becomes. */
bool paravirt_msr_read(struct vcpu *vcpu, uint32_t msr, uint64_t *value);
bool paravirt_msr_write(struct vcpu *vcpu, uint32_t msr, uint64_t value);
int64_t paravirt_hypercall(struct vcpu *vcpu, bool wide, uint64_t number, const uint64_t argument[4]);
void paravirt_reset(uint64_t msr[VCPU_PARAVIRT_MSRS]);
/* The vcpu has got its state from elsewhere: whatever the guest waited for there is over. */
void paravirt_moved(struct vcpu *vcpu);
void pvclock_add(struct vm *vm); /* registers what it saves, in vm_create */

/* vm/vcpu.c, for vm.c: the thread's main function, and the power-on state (SDM vol. 3, table 10-1) set through the engine. */
void vcpu_main(void *argument);
enum status vcpu_reset(struct vcpu *vcpu) must_check;

/*
 * vm/exclusive.c, for engines whose vcpus run in this process. enter waits while an exclusive section runs.
 * Between enter and leave a vcpu counts as in the guest, device accesses included: so a device, or whoever holds a device's lock, never calls
 * exclusive_run (a vcpu that waits for that lock would never leave). fn must not call it either.
 */
void exclusive_vcpu_enter(struct vcpu *vcpu);
void exclusive_vcpu_leave(struct vcpu *vcpu);
/* `self` is the calling vcpu or NULL. */
void exclusive_run(struct vm *vm, struct vcpu *self, void (*fn)(void *argument), void *argument);

#endif
