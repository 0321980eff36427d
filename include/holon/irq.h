/* SPDX-License-Identifier: Apache-2.0 */
/*
 * irq.h - interrupts: lines, message-signalled interrupts, and a vcpu's local APIC as the engine sees it.
 *
 * PIC, PIT and IOAPIC are always ours (device/). The local APICs are the engine's: device/lapic under interp and jit,
 * the kernel's under KVM. So the IOAPIC turns a line into an MSI and calls irq_msi, which the board points at
 * whoever owns the local APICs. Lock order: device, then PIC or IOAPIC, then local APIC; no callback runs the other way round.
 */
#ifndef HOLON_IRQ_H
#define HOLON_IRQ_H

#include <stdbool.h>
#include <stdint.h>

#define IRQ_GSIS 24
#define IRQ_SINKS 4

/* What an IOAPIC pin would send while it is unmasked. */
struct irq_route {
	bool level; /* and the IOAPIC wants to hear of its EOI */
	uint64_t address;
	uint32_t data;
};

struct irq {
	/* Each sink (PIC, IOAPIC) hears every change of a GSI's level. ISA IRQ n is GSI n, except IRQ 0, which is GSI 2 at the IOAPIC (the sink maps). */
	struct irq_sink {
		void (*set)(void *chip, unsigned gsi, bool level);
		void *chip;
	} sink[IRQ_SINKS];
	unsigned sinks;
	/*
	 * The local APICs. The board points these at device/lapic; an engine that has local APICs of its own takes them over in vm_attach and
	 * gives them back in vm_detach.
	 */
	void (*msi)(void *owner, uint64_t address, uint32_t data);
	void (*lint0)(void *owner, bool level);   /* the PIC's INT output, wired to the BSP */
	void (*route)(void *owner, unsigned pin); /* optional: route_of[pin] has changed */
	void *msi_owner;
	/* Under the IOAPIC's lock; what was said last of a pin stands while it is masked. */
	struct irq_route route_of[IRQ_GSIS];
	/* The PIC behind LINT0: is INT high, and the acknowledge cycle. NULL: none. */
	bool (*extint_pending)(void *pic);
	int (*extint_accept)(void *pic);
	void *pic;
	/* A level-triggered vector was EOIed at a local APIC that broadcasts it. */
	void (*eoi)(void *ioapic, uint8_t vector);
	void *eoi_ioapic;
};

/* Any thread. Level-triggered sharing: each source must call with its own change; PCI INTx sources are OR-ed by the PCI bridge. */
void irq_line_set(struct irq *irq, unsigned gsi, bool level);
/* address and data as the PCI function would write them (SDM vol. 3, 11.11). Any thread. */
void irq_msi(struct irq *irq, uint64_t address, uint32_t data);
void irq_eoi(struct irq *irq, uint8_t vector);
/* The PIC's INT output. Any thread, under the PIC's lock. */
void irq_lint0(struct irq *irq, bool level);
/*
 * An unmasked pin of the IOAPIC would now send this message. For local APICs that must know beforehand which EOIs to report. Under the IOAPIC's
 * lock.
 */
void irq_route_set(struct irq *irq, unsigned pin, bool level, uint64_t address, uint32_t data);

struct x86_apic_state;

/*
 * What the CPU core needs of its local APIC. All run on the vcpu's own thread, except where the APIC hears IPIs and
 * MSIs from others; it then calls vcpu_interrupt().
 */
struct local_apic_ops {
	/* The vector to deliver now given TPR and ISR, or -1. ExtINT (PIC) requests count: accept asks the PIC. */
	int (*pending)(void *apic);
	/* Takes what pending announced: IRR to ISR, or the PIC's acknowledge cycle. -1 if it has gone: then nothing is delivered. */
	int (*accept)(void *apic);
	/* CR8 in 64-bit mode: TPR bits 7:4. */
	uint8_t (*tpr_get)(void *apic);
	void (*tpr_set)(void *apic, uint8_t cr8);
	/*
	 * IA32_APIC_BASE 0x1b, IA32_TSC_DEADLINE 0x6e0, x2APIC 0x800-0x8ff. false: #GP(0). The deadline is in the platform's TSC: the CPU core
	 * takes IA32_TSC_ADJUST off on the way in (0 stays 0) and adds it on the way out.
	 */
	bool (*msr_read)(void *apic, uint32_t msr, uint64_t *value);
	bool (*msr_write)(void *apic, uint32_t msr, uint64_t value);
	/* The xAPIC page; the CPU core checks where it is by `base` before any RAM or bus lookup. */
	uint64_t (*mmio_read)(void *apic, uint64_t offset, unsigned size);
	void (*mmio_write)(void *apic, uint64_t offset, unsigned size, uint64_t value);
	/* The page's physical address, or UINT64_MAX while no xAPIC page is shown (disabled, x2APIC). */
	uint64_t (*base)(void *apic);
	void (*init)(void *apic); /* INIT: registers to their reset values, the ID stays */
	void (*get)(void *apic, struct x86_apic_state *out);
	void (*set)(void *apic, const struct x86_apic_state *in);
};

#endif
