/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pci.h - PCI functions, buses and the Q35-like host bridge, as the board and PCI devices use them.
 *
 * A device embeds a `struct pci_function`, describes it (identity, BARs, capabilities) and adds it to a bus; from then on
 * config cycles (0xCF8/0xCFC and ECAM reach the same registers) are served here and BARs appear in the address
 * space as the guest says. Files: pci_host.c (config cycles, MCH, INTx), pci_function.c (config space), pci_bar.c (decoding),
 * pci_msix.c, pci_lpc.c, pci_root_port.c.
 *
 * Lock order: pci_host.lock (config space, BAR positions) -> a device's lock -> pci_msix.lock, pci_host.intx_lock -> interrupt
 * controllers. So a device never touches config space while it holds its own lock; pci_msix_raise and
 * pci_intx_set are made to be called under it. Specification: PCI Express Base 5.0, chapter 7; Intel 3 Series MCH; ICH9.
 */
#ifndef HOLON_PCI_H
#define HOLON_PCI_H

#include <stdbool.h>
#include <stdint.h>

#include <holon/bus.h>
#include <holon/device.h>
#include <holon/host.h>
#include <holon/irq.h>
#include <holon/status.h>

#define PCI_CONFIG_SIZE 256 /* no function here has extended capabilities: the rest of its 4 KiB reads as 0 */
#define PCI_BARS 6
#define PCI_MSIX_VECTORS 16
#define PCI_PIRQS 8
#define PCI_DEVFN(device, function) ((uint8_t)((device) << 3 | (function)))

/* Registers that every function has. */
#define PCI_VENDOR_ID 0x00
#define PCI_DEVICE_ID 0x02
#define PCI_COMMAND 0x04
#define PCI_COMMAND_IO 0x0001
#define PCI_COMMAND_MEMORY 0x0002
#define PCI_COMMAND_MASTER 0x0004
#define PCI_COMMAND_INTX_DISABLE 0x0400
#define PCI_STATUS 0x06
#define PCI_STATUS_INTERRUPT 0x08
#define PCI_STATUS_CAPABILITIES 0x10
#define PCI_REVISION_ID 0x08
#define PCI_CLASS 0x09
#define PCI_CACHE_LINE_SIZE 0x0c
#define PCI_HEADER_TYPE 0x0e
#define PCI_HEADER_BRIDGE 0x01
#define PCI_HEADER_MULTIFUNCTION 0x80
#define PCI_BAR0 0x10
#define PCI_SUBSYSTEM_VENDOR_ID 0x2c
#define PCI_SUBSYSTEM_ID 0x2e
#define PCI_CAPABILITY_POINTER 0x34
#define PCI_INTERRUPT_LINE 0x3c
#define PCI_INTERRUPT_PIN 0x3d
/* Type 1 headers. */
#define PCI_PRIMARY_BUS 0x18
#define PCI_SECONDARY_BUS 0x19
#define PCI_SUBORDINATE_BUS 0x1a
#define PCI_MEMORY_BASE 0x20
#define PCI_MEMORY_LIMIT 0x22
#define PCI_PREFETCH_BASE 0x24
#define PCI_PREFETCH_LIMIT 0x26
#define PCI_PREFETCH_BASE_UPPER 0x28
#define PCI_PREFETCH_LIMIT_UPPER 0x2c
#define PCI_BRIDGE_CONTROL 0x3e
#define PCI_BRIDGE_CONTROL_RESET 0x0040

#define PCI_CAPABILITY_POWER 0x01
#define PCI_CAPABILITY_VENDOR 0x09
#define PCI_CAPABILITY_EXPRESS 0x10
#define PCI_CAPABILITY_MSIX 0x11

struct pci_host;
struct pci_function;

enum pci_bar_kind { PCI_BAR_NONE, PCI_BAR_IO, PCI_BAR_MEMORY32, PCI_BAR_MEMORY64 };

struct pci_bar {
	struct bus_region region; /* length, read, write, lock and device are the owner's; the rest is kept here */
	enum pci_bar_kind kind;
	bool prefetchable;
	bool decoded; /* the region is on the bus */
};

/* What the guest sees of one function. `owner` gets the callbacks; all run under pci_host.lock. */
struct pci_function {
	const char *name;
	struct pci_bus *bus;
	struct pci_function *next; /* on the bus */
	uint8_t devfn;
	uint8_t capability_last; /* where the newest capability is, 0: none */
	uint8_t capability_free; /* where the next goes */
	uint8_t express;         /* capabilities' places; 0: absent */
	uint8_t power;
	uint8_t msix_place;
	uint8_t config[PCI_CONFIG_SIZE];
	uint8_t reset[PCI_CONFIG_SIZE];     /* power-on contents */
	uint8_t writable[PCI_CONFIG_SIZE];  /* bits that the guest may set */
	uint8_t clearable[PCI_CONFIG_SIZE]; /* bits that writing 1 clears */
	struct pci_bar bar[PCI_BARS];
	uint8_t decoded; /* a bit a BAR, as bar[].decoded: where several want one place, saved state says who had it */
	bool loading;    /* until the host bridge is resumed, no BAR is decoded that was not when the state was saved */
	struct pci_msix *msix;
	struct pci_bus *secondary; /* of a bridge */
	_Atomic bool master;       /* COMMAND.MASTER, for device threads: may it read and write memory now? */
	/* Under pci_host.intx_lock. */
	uint8_t intx_level;    /* what the function asserts */
	uint8_t intx_disabled; /* COMMAND.INTX_DISABLE */
	uint8_t intx_counted;  /* it is part of its PIRQ's level */
	/* All optional. reading: registers in [offset, offset + size) are about to be read; written: they have been. */
	void (*config_reading)(struct pci_function *function, unsigned offset, unsigned size);
	void (*config_written)(struct pci_function *function, unsigned offset, unsigned size);
	void (*bus_reset)(struct pci_function *function); /* the bridge above resets its bus; config space already is */
	void *owner;
};

struct pci_bus {
	struct pci_host *host;
	struct pci_function *bridge; /* NULL: the root bus */
	struct pci_function *first;  /* by devfn */
};

struct pci_identity {
	uint16_t vendor, device;
	uint32_t class_code; /* base class, subclass, interface: 0x010000 */
	uint8_t revision;
	uint16_t subsystem_vendor, subsystem;
	uint8_t interrupt_pin; /* 0: none, 1: INTA ... */
};

struct pci_msix_vector {
	uint64_t address;
	uint32_t data;
	uint32_t control;
};
struct pci_msix {
	struct host_mutex lock; /* everything below */
	struct pci_function *function;
	struct irq *irq;
	unsigned vectors;
	bool enabled; /* copies of MESSAGE CONTROL and COMMAND.MASTER */
	bool masked;
	bool master;
	struct pci_msix_vector vector[PCI_MSIX_VECTORS];
	uint64_t pending; /* a bit a vector */
	uint64_t stray;   /* messages to an address that is no local APIC's: dropped */
};

/* Where PCI meets the rest of the machine. */
struct pci_host_wiring {
	struct bus *ports;
	struct bus *mmio;
	struct irq *irq;
	uint64_t ecam_base;         /* PCIEXBAR after reset: 256 MiB, aligned so */
	uint8_t pirq[32][4];        /* root bus device number, INTA..INTD -> PIRQ A..H (0..7) */
	uint8_t gsi[PCI_PIRQS];     /* PIRQ -> GSI at the IOAPIC: 16..23 */
	void (*reset)(void *owner); /* RST_CNT (port 0xcf9) asked for a reset of the machine */
	void *owner;
};
struct pci_host {
	struct device device;
	struct pci_host_wiring wiring;
	struct host_mutex lock; /* config space of every function, decoding */
	struct pci_bus root;
	struct pci_function mch;
	struct bus_region address_region, data_region, ecam;
	uint32_t config_address;     /* port 0xcf8 */
	uint8_t reset_control;       /* port 0xcf9 */
	struct host_mutex intx_lock; /* the fields below and the functions' intx_ */
	unsigned pirq_sources[PCI_PIRQS];
	uint8_t pirq_route[PCI_PIRQS]; /* PIRQx_ROUT of the LPC bridge: bit 7 off, bits 3:0 ISA IRQ */
	bool isa_level[16];
};

/* Creates the root bus with the MCH (8086:29c0) at 00:00.0. Register `device` with the VM; free with pci_host_destroy, last of all of PCI. */
enum status pci_host_create(struct pci_host **out, const struct pci_host_wiring *wiring) must_check;
void pci_host_destroy(struct pci_host *host);

/* Building a function, before pci_function_add. All of it is the caller's memory, zeroed. */
void pci_function_init(struct pci_function *function, const char *name, const struct pci_identity *identity, void *owner);
/* `length` bytes, header included; their contents and `writable` bits are the caller's to fill. Returns the place. */
unsigned pci_capability_add(struct pci_function *function, uint8_t id, unsigned length);
/* Fill in bar[index].region's read, write, device and lock first. length is a power of two. MEMORY64 takes two places. */
void pci_bar_add(struct pci_function *function, unsigned index, enum pci_bar_kind kind, uint64_t length, bool prefetchable);
/* Table and pending bits in a 4 KiB memory BAR of their own. */
void pci_msix_add(struct pci_function *function, struct pci_msix *msix, unsigned vectors, unsigned bar, struct irq *irq);
void pci_power_add(struct pci_function *function);
/* An endpoint behind a port, or an integrated one on the root bus. */
void pci_express_endpoint_add(struct pci_function *function, bool integrated);
/* Puts it on a bus; what it holds now is its reset state. STATUS_BUSY: the place is taken. */
enum status pci_function_add(struct pci_bus *bus, uint8_t devfn, struct pci_function *function) must_check;
/* Off the bus, all of its regions off. Before its memory is freed. */
void pci_function_remove(struct pci_function *function);
/* Power-on contents; BARs vanish, INTx falls. Called by the owner's device.reset. Takes pci_host.lock. */
void pci_function_reset(struct pci_function *function);
/* For the owner's state table: after_load. Refuses what no guest could have written, then shows BARs and INTx. */
enum status pci_function_loaded(struct pci_function *function, struct reason *why) must_check;

static inline uint16_t pci_config_word(const struct pci_function *function, unsigned offset)
{
	return (uint16_t)(function->config[offset] | function->config[offset + 1] << 8);
}
static inline uint32_t pci_config_long(const struct pci_function *function, unsigned offset)
{
	return pci_config_word(function, offset) | (uint32_t)pci_config_word(function, offset + 2) << 16;
}
/* Little-endian `size` bytes into a table: config, reset, writable or clearable. */
static inline void pci_bytes_set(uint8_t *table, unsigned offset, unsigned size, uint64_t value)
{
	for (unsigned i = 0; i < size; i++)
		table[offset + i] = (uint8_t)(value >> (8 * i));
}

/* One config cycle below `bus`, as a root complex sends it. Under pci_host.lock. What is not there reads as ones. */
uint64_t pci_config_read(struct pci_bus *bus, unsigned bus_number, uint8_t devfn, unsigned offset, unsigned size);
void pci_config_write(struct pci_bus *bus, unsigned bus_number, uint8_t devfn, unsigned offset, unsigned size, uint64_t value);

/* Asserts or releases the function's interrupt pin. Any thread, device lock held. */
void pci_intx_set(struct pci_function *function, bool level);
/* Sends vector's message, or notes it pending while masked. false: MSI-X is off, use INTx. Any thread, device lock held. */
bool pci_msix_raise(struct pci_msix *msix, unsigned vector);

/* Rows for the owner's state table: STATE_FIELD and friends of the function (and MSI-X) that `type` embeds. */
#define PCI_FUNCTION_STATE(type, member) \
	STATE_BLOB(type, member.config), STATE_FIELD(type, member.decoded), STATE_FIELD(type, member.intx_level)
#define PCI_MSIX_STATE(type, member)                                                                                               \
	STATE_EACH(type, member.vector, address), STATE_EACH(type, member.vector, data), STATE_EACH(type, member.vector, control), \
		STATE_FIELD(type, member.pending)

#endif
