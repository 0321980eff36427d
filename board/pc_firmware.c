/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pc_firmware.c - PCI resources, memory types and interrupt routing as firmware would have set them up.
 *
 * Linux could assign PCI resources by itself; test kernels, unikernels and smaller systems take what they find. Everything goes
 * through config cycles, as firmware's own accesses would.
 */
#include "board/pc_firmware.h"
#include "board/pc_map.h"

#define IO_FIRST 0xc000u /* above what ISA devices and the ACPI registers use */
#define IO_LAST 0xffffu
#define BAR_IO 1u
#define BAR_MEMORY64 4u
#define BAR_PREFETCHABLE 8u
#define PORT_MEMORY (UINT64_C(2) << 20) /* windows of a root port: room for what is plugged in later */
#define PORT_PREFETCH (UINT64_C(1) << 30)
#define LPC_PIRQA_ROUT 0x60
#define LPC_PIRQE_ROUT 0x68

#define MTRR_WRITE_BACK 6u
#define MTRR_WRITE_PROTECT 5u
#define MTRR_UNCACHED 0u
#define MTRR_ENABLE 0xc00u /* fixed ranges too */
#define MTRR_VALID 0x800u

#define APIC_SVR 0x0f
#define APIC_LVT_LINT0 0x35
#define APIC_LVT_LINT1 0x36
#define APIC_SVR_ENABLED 0x1ffu
#define APIC_LVT_EXTINT 0x700u
#define APIC_LVT_NMI 0x400u

const uint8_t pc_firmware_pirq_irq[PCI_PIRQS] = {10, 10, 11, 11, 10, 10, 11, 11};

/* What is left of a window; `next` only grows. */
struct allocator {
	uint64_t next, last;
};

struct setup {
	struct pci_host *host;
	struct allocator io, memory32, memory64;
	unsigned next_bus;
};

static uint32_t config_read(struct setup *setup, unsigned devfn, unsigned offset, unsigned size)
{
	return (uint32_t)pci_config_read(&setup->host->root, 0, (uint8_t)devfn, offset, size);
}

static void config_write(struct setup *setup, unsigned devfn, unsigned offset, unsigned size, uint64_t value)
{
	pci_config_write(&setup->host->root, 0, (uint8_t)devfn, offset, size, value);
}

/* false: the window is full. */
static bool take(struct allocator *window, uint64_t length, uint64_t *base)
{
	uint64_t at = (window->next + length - 1) & ~(length - 1);

	if (at < window->next || at > window->last || window->last - at < length - 1)
		return false;
	*base = at;
	window->next = at + length;
	return true;
}

/* Returns how many registers the BAR takes. A BAR that finds no room stays unassigned, its decoding off. */
static unsigned bar_assign(struct setup *setup, unsigned devfn, unsigned offset, uint16_t *command)
{
	uint32_t kind = config_read(setup, devfn, offset, 4);
	bool io = kind & BAR_IO, wide = !io && (kind & BAR_MEMORY64);
	uint64_t size, base;

	config_write(setup, devfn, offset, 4, UINT32_MAX);
	size = config_read(setup, devfn, offset, 4) & ~(io ? 3u : 15u);
	if (io)
		size |= 0xffff0000;
	if (wide) {
		config_write(setup, devfn, offset + 4, 4, UINT32_MAX);
		size |= (uint64_t)config_read(setup, devfn, offset + 4, 4) << 32;
	} else if (size) {
		size |= UINT64_C(0xffffffff) << 32;
	}
	config_write(setup, devfn, offset, 4, 0);
	if (wide)
		config_write(setup, devfn, offset + 4, 4, 0);
	size = -size;
	if (!size || (io && !(size & 0xffff)))
		return wide ? 2 : 1;
	if (io ? take(&setup->io, size, &base)
	       : (wide && take(&setup->memory64, size, &base)) || take(&setup->memory32, size, &base)) {
		config_write(setup, devfn, offset, 4, base & UINT32_MAX);
		if (wide)
			config_write(setup, devfn, offset + 4, 4, base >> 32);
		*command |= io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY;
	}
	return wide ? 2 : 1;
}

static void bars_assign(struct setup *setup, unsigned devfn, unsigned bars, uint16_t *command)
{
	unsigned bar = 0;

	while (bar < bars)
		bar += bar_assign(setup, devfn, PCI_BAR0 + bar * 4, command);
}

static void bridge_assign(struct setup *setup, unsigned devfn, uint16_t *command)
{
	unsigned bus = setup->next_bus++;
	uint64_t base;

	config_write(setup, devfn, PCI_PRIMARY_BUS, 1, 0);
	config_write(setup, devfn, PCI_SECONDARY_BUS, 1, bus);
	config_write(setup, devfn, PCI_SUBORDINATE_BUS, 1, bus);
	*command |= PCI_COMMAND_MASTER;
	if (take(&setup->memory32, PORT_MEMORY, &base)) {
		config_write(setup, devfn, PCI_MEMORY_BASE, 2, base >> 16);
		config_write(setup, devfn, PCI_MEMORY_LIMIT, 2, (base + PORT_MEMORY - 1) >> 16);
		*command |= PCI_COMMAND_MEMORY;
	}
	if (take(&setup->memory64, PORT_PREFETCH, &base)) {
		config_write(setup, devfn, PCI_PREFETCH_BASE, 2, base >> 16 & 0xffff);
		config_write(setup, devfn, PCI_PREFETCH_LIMIT, 2, (base + PORT_PREFETCH - 1) >> 16 & 0xffff);
		config_write(setup, devfn, PCI_PREFETCH_BASE_UPPER, 4, base >> 32);
		config_write(setup, devfn, PCI_PREFETCH_LIMIT_UPPER, 4, (base + PORT_PREFETCH - 1) >> 32);
	}
}

static void function_setup(struct setup *setup, unsigned devfn)
{
	uint16_t command = (uint16_t)config_read(setup, devfn, PCI_COMMAND, 2);
	unsigned pin = config_read(setup, devfn, PCI_INTERRUPT_PIN, 1);
	bool bridge = (config_read(setup, devfn, PCI_HEADER_TYPE, 1) & ~PCI_HEADER_MULTIFUNCTION) == PCI_HEADER_BRIDGE;

	config_write(setup, devfn, PCI_COMMAND, 2, command & ~(PCI_COMMAND_IO | PCI_COMMAND_MEMORY));
	bars_assign(setup, devfn, bridge ? 2 : PCI_BARS, &command);
	if (bridge)
		bridge_assign(setup, devfn, &command);
	if (pin >= 1 && pin <= 4)
		config_write(setup, devfn, PCI_INTERRUPT_LINE, 1,
			     pc_firmware_pirq_irq[setup->host->wiring.pirq[devfn >> 3][pin - 1] % PCI_PIRQS]);
	config_write(setup, devfn, PCI_COMMAND, 2, command);
}

void pc_firmware_pci_setup(struct pci_host *host, const struct acpi_window *memory32, const struct acpi_window *memory64)
{
	struct setup setup = {
		.host = host,
		.io = {IO_FIRST, IO_LAST},
		.memory32 = {memory32->first, memory32->last},
		.memory64 = {memory64->first, memory64->last},
		.next_bus = 1,
	};
	unsigned devfn, pirq;

	host_mutex_lock(&host->lock);
	for (devfn = 0; devfn < 256; devfn++)
		if (config_read(&setup, devfn, PCI_VENDOR_ID, 2) != UINT16_MAX)
			function_setup(&setup, devfn);
	for (pirq = 0; pirq < PCI_PIRQS; pirq++)
		config_write(&setup, PCI_DEVFN(PC_SLOT_LPC, 0), pirq < 4 ? LPC_PIRQA_ROUT + pirq : LPC_PIRQE_ROUT + pirq - 4, 1,
			     pc_firmware_pirq_irq[pirq]);
	host_mutex_unlock(&host->lock);
}

void pc_firmware_cpu_setup(struct x86_state *state, unsigned physical_bits, bool bsp)
{
	uint64_t hole = PC_RAM_ABOVE - PC_RAM_LOW_END; /* a power of two */
	unsigned i;

	/* Fixed ranges, a byte each: 64 KiB to 512 KiB, 16 KiB to 640 KiB, the legacy hole, 4 KiB to 1 MiB (SDM vol. 3, 12.11.2.2). */
	for (i = 0; i < 11; i++)
		state->mtrr_fixed[i] = UINT64_C(0x0101010101010101) * (i < 2    ? MTRR_WRITE_BACK
								       : i == 2 ? MTRR_UNCACHED
										: MTRR_WRITE_PROTECT);
	state->mtrr_variable[0] = PC_RAM_LOW_END | MTRR_UNCACHED;
	state->mtrr_variable[1] = (((UINT64_C(1) << physical_bits) - 1) & ~(hole - 1)) | MTRR_VALID;
	state->mtrr_def_type = MTRR_ENABLE | MTRR_WRITE_BACK;
	state->cr0 &= ~(X86_CR0_CD | X86_CR0_NW);
	state->apic.reg[APIC_SVR] = APIC_SVR_ENABLED;
	state->apic.reg[APIC_LVT_LINT1] = APIC_LVT_NMI;
	if (bsp)
		state->apic.reg[APIC_LVT_LINT0] = APIC_LVT_EXTINT;
}
