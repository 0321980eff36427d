/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lapic.h - the local APICs of a machine whose engine has none of its own (interp, jit).
 *
 * SDM vol. 3, chapter 11 (10 in older editions): xAPIC and x2APIC, version 0x14 with six LVT entries, EOI-broadcast suppression and
 * the TSC-deadline timer. APIC ID = vcpu id, 0 to 63; vcpu 0 is the BSP. The timer's input clock is LAPIC_BUS_HZ.
 *
 * Threads: the functions of lapic_ops run on the vcpu's own thread (get and set also while it does not run). lapic_set_msi and
 * lapic_set_lint0 run on any thread, with device, PIC or IOAPIC locks held. The callbacks below are called from all of them;
 * irq_eoi only from the vcpu's own thread with no lock held.
 *
 * IA32_TSC_DEADLINE is in terms of vm_clock_tsc: the CPU core adds and subtracts IA32_TSC_ADJUST around msr_read and msr_write.
 */
#ifndef HOLON_DEVICE_LAPIC_H
#define HOLON_DEVICE_LAPIC_H

#include <stdbool.h>
#include <stdint.h>

#include <holon/device.h>
#include <holon/host.h>
#include <holon/irq.h>
#include <holon/timer.h>

#define LAPIC_BUS_HZ 1000000000u /* one tick a nanosecond; CPUID 0x40000010 EBX says it in kHz */
#define LAPIC_CPUS_MAX 64
#define LAPIC_PAGE_BASE UINT64_C(0xfee00000)
#define LAPIC_TIMER_MIN_PERIOD_NS 100000u /* a periodic timer interrupts at most this often: ticks between are merged */

enum lapic_request { LAPIC_REQUEST_NMI, LAPIC_REQUEST_INIT, LAPIC_REQUEST_SIPI };

/* What the local APICs ask of the machine. */
struct lapic_wiring {
	struct vm_clock *clock;
	struct irq *irq;               /* for irq_eoi */
	unsigned physical_bits;        /* MAXPHYADDR of the CPU model: reserved bits of IA32_APIC_BASE */
	void (*interrupt)(void *vcpu); /* something may have become deliverable */
	void (*request)(void *vcpu, enum lapic_request kind, uint8_t vector); /* vector: SIPI's */
	/* The PIC behind LINT0 of the BSP; NULL functions: none. */
	bool (*extint_pending)(void *pic);
	int (*extint_accept)(void *pic);
	void *pic;
};

struct lapic_set;

struct lapic {
	/* What other threads write; everything shared is touched by __atomic builtins only. */
	uint64_t irr[4] __attribute__((aligned(64)));
	uint64_t tmr[4];      /* set: level-triggered, the EOI is broadcast */
	uint32_t esr_pending; /* errors since the last write of ESR */
	bool lint0;           /* level of the wire from the PIC */
	/* Written by the owner, read by others (routing, arbitration). */
	uint64_t base_msr __attribute__((aligned(64)));
	uint32_t svr, ldr, dfr, tpr, ppr;
	uint32_t lvt[6]; /* by enum lapic_lvt */
	/* The owner's alone. */
	uint64_t isr[4];
	uint32_t esr, icr_low, icr_high;
	unsigned id;
	void *vcpu;
	struct lapic_set *set;
	/* The timer: under timer_lock. */
	struct host_mutex timer_lock;
	uint32_t initial_count, divide_configuration;
	uint64_t tsc_deadline;
	uint64_t timer_start_ns; /* when the current period began */
	uint64_t timer_next_ns;  /* UINT64_MAX: stopped */
	struct timer timer;
};

struct lapic_set {
	struct device device; /* state: none of its own, it is part of struct x86_state, see get and set */
	struct lapic_wiring wiring;
	struct lapic *lapic; /* [cpus] */
	unsigned cpus;
	uint32_t arbitration; /* where the search for the lowest priority begins: spreads interrupts */
};

/* cpus <= LAPIC_CPUS_MAX. Allocates; `wiring` is copied. The APICs stand as after power-on. */
enum status lapic_set_init(struct lapic_set *set, unsigned cpus, const struct lapic_wiring *wiring) must_check;
/* Names the vcpu that the callbacks get for APIC `id`. Before it runs. Returns what goes with lapic_ops. */
struct lapic *lapic_set_attach(struct lapic_set *set, unsigned id, void *vcpu);

/* struct irq's `msi`; owner is the set. */
void lapic_set_msi(void *owner, uint64_t address, uint32_t data);
/* The PIC's INT output, wired to LINT0 of the BSP; owner is the set. */
void lapic_set_lint0(void *owner, bool level);

/* Each `apic` is a struct lapic *. */
extern const struct local_apic_ops lapic_ops;

#endif
