/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pc.c - the one board: which devices there are, where they sit and what they are wired to.
 *
 * board_create() walks the table `parts` in its order; nothing else makes devices. Addresses are in pc_map.h, the RAM in pc_memory.c, what happens at
 * a start or reset in pc_boot.c, the kernel in boot.c, what the guest is told of all this in acpi.c. To add a device: doc/add-a-device.md.
 */
#include <stdatomic.h>

#include <holon/board.h>
#include <holon/vm.h>

#include "board/pc.h"
#include "board/pc_disks.h"
#include "board/pc_memory.h"
#include "board/pc_nets.h"
#include "board/pc_small.h"

#define BOARD_PLACES 4
#define PCI_PIRQS_USED 4
#define HPET_ROUTES (0xfu << (PC_GSI_PIRQ_A + PCI_PIRQS_USED))
#define IOAPIC_ID 0

/* Which interrupt pin of which slot is which PIRQ, as bridges swizzle: neighbours differ. PIRQ E to H are free: the HPET has their GSIs. */
static unsigned pirq_of(unsigned slot, unsigned pin)
{
	return (slot + pin) % PCI_PIRQS_USED;
}

/* --- what devices ask of the VM --- */

static void reset_requested(void *owner)
{
	struct board *board = owner;

	vm_reset_request(board->vm);
}

static void power_off_requested(void *owner)
{
	struct board *board = owner;

	vm_end_request(board->vm, VM_END_POWER_OFF);
}

static void debug_exit_requested(void *owner, uint32_t value)
{
	struct board *board = owner;

	vm_debug_exit(board->vm, value);
}

static void panic_reported(void *owner, uint8_t events)
{
	struct board *board = owner;

	if (events & PVPANIC_PANICKED) {
		host_log(HOST_LOG_ERROR, "the guest has panicked");
		vm_end_request(board->vm, VM_END_CRASH);
	} else {
		host_log(HOST_LOG_WARN, "the guest has panicked and goes on in its crash kernel");
	}
}

/* The HPET takes the interrupts of PIT and RTC over, or gives them back. */
static void hpet_legacy(void *owner, bool on)
{
	struct board *board = owner;

	pit_disconnect(&board->pit, on);
	rtc_disconnect(&board->rtc, on);
}

/* The guest moved the ACPI registers. A place that is taken already leaves them switched off, as long as it is. */
static void pmbase_moved(void *owner, uint16_t base, bool enabled)
{
	struct board *board = owner;
	struct bus *ports = &board->vm->ports;
	struct bus_region *region = &board->acpi_pm.region;

	if (enabled && region->enabled && region->base == base)
		return;
	bus_disable(ports, region);
	region->base = base;
	if (enabled && bus_enable(ports, region) != STATUS_OK)
		host_log(HOST_LOG_WARN, "the guest put its ACPI registers at port 0x%x, which is taken", base);
}

/* --- what the local APICs ask of the vcpus --- */

static void lapic_interrupt(void *vcpu)
{
	vcpu_interrupt(vcpu);
}

static void lapic_request(void *object, enum lapic_request kind, uint8_t vector)
{
	static const uint32_t request[] = {
		[LAPIC_REQUEST_NMI] = VCPU_NMI, [LAPIC_REQUEST_INIT] = VCPU_INIT, [LAPIC_REQUEST_SIPI] = VCPU_SIPI};
	struct vcpu *vcpu = object;

	if (kind == LAPIC_REQUEST_SIPI)
		atomic_store(&vcpu->sipi_vector, vector);
	vcpu_request(vcpu, request[kind]);
}

static enum status lapics_create(struct board *board, struct reason *why)
{
	struct vm *vm = board->vm;
	const struct lapic_wiring wiring = {
		.clock = &vm->clock,
		.irq = &vm->irq,
		.physical_bits = board->model.physical_bits,
		.interrupt = lapic_interrupt,
		.request = lapic_request,
		.extint_pending = pic_pending,
		.extint_accept = pic_accept,
		.pic = &board->pic,
	};
	enum status status = lapic_set_init(&board->lapics, vm->vcpus, &wiring);
	unsigned i;

	(void)why;
	if (status != STATUS_OK)
		return status;
	for (i = 0; i < vm->vcpus; i++) {
		vm->vcpu[i]->apic = lapic_set_attach(&board->lapics, i, vm->vcpu[i]);
		vm->vcpu[i]->apic_ops = &lapic_ops;
	}
	vm->irq.msi = lapic_set_msi;
	vm->irq.lint0 = lapic_set_lint0;
	vm->irq.msi_owner = &board->lapics;
	return STATUS_OK;
}

static void irq_sink_add(struct irq *irq, void (*set)(void *chip, unsigned gsi, bool level), void *chip)
{
	irq->sink[irq->sinks++] = (struct irq_sink){set, chip};
}

static void pic_output(void *irq, bool level)
{
	irq_lint0(irq, level);
}

static enum status pic_create(struct board *board, struct reason *why)
{
	struct irq *irq = &board->vm->irq;

	(void)why;
	pic_init(&board->pic, pic_output, irq);
	irq_sink_add(irq, pic_set, &board->pic);
	irq->extint_pending = pic_pending;
	irq->extint_accept = pic_accept;
	irq->pic = &board->pic;
	return STATUS_OK;
}

static enum status ioapic_create(struct board *board, struct reason *why)
{
	struct irq *irq = &board->vm->irq;

	(void)why;
	ioapic_init(&board->ioapic, irq, IOAPIC_ID);
	irq_sink_add(irq, ioapic_set, &board->ioapic);
	irq->eoi = ioapic_eoi;
	irq->eoi_ioapic = &board->ioapic;
	return STATUS_OK;
}

static enum status pit_create(struct board *board, struct reason *why)
{
	(void)why;
	pit_init(&board->pit, &board->vm->clock, &board->vm->irq, PC_IRQ_PIT);
	return STATUS_OK;
}

/* Memory sizes where PC firmware notes them in CMOS. */
static void cmos_fill(struct rtc *rtc, uint64_t memory)
{
	uint64_t low = memory < PC_RAM_LOW_END ? memory : PC_RAM_LOW_END, above = memory - low;
	uint64_t kib = (low - PC_RAM_HIGH) >> 10 < UINT16_MAX ? (low - PC_RAM_HIGH) >> 10 : UINT16_MAX;
	uint64_t over16 = low > (16u << 20) ? (low - (16u << 20)) >> 16 : 0;
	const uint64_t value[][3] = {
		{0x15, 640, 2}, {0x17, kib, 2}, {0x30, kib, 2}, {0x34, over16, 2}, {0x5b, above >> 16, 3},
	};
	unsigned i, byte;

	for (i = 0; i < sizeof(value) / sizeof(value[0]); i++)
		for (byte = 0; byte < value[i][2]; byte++)
			rtc_cmos_set(rtc, (unsigned)value[i][0] + byte, (uint8_t)(value[i][1] >> (8 * byte)));
}

static enum status rtc_create(struct board *board, struct reason *why)
{
	(void)why;
	rtc_init(&board->rtc, &board->vm->clock, &board->vm->irq, PC_IRQ_RTC);
	cmos_fill(&board->rtc, board->vm->memory.size);
	return STATUS_OK;
}

static enum status hpet_create(struct board *board, struct reason *why)
{
	(void)why;
	hpet_init(&board->hpet, &board->vm->clock, &board->vm->irq, HPET_ROUTES, hpet_legacy, board);
	return STATUS_OK;
}

static enum status acpi_pm_create(struct board *board, struct reason *why)
{
	(void)why;
	acpi_pm_init(&board->acpi_pm, &board->vm->clock, &board->vm->irq, PC_IRQ_SCI, power_off_requested, board);
	return STATUS_OK;
}

static enum status i8042_create(struct board *board, struct reason *why)
{
	(void)why;
	i8042_init(&board->i8042, &board->vm->irq, PC_IRQ_KEYBOARD, reset_requested, board);
	return STATUS_OK;
}

static enum status port_a_create(struct board *board, struct reason *why)
{
	(void)why;
	port_a_init(&board->port_a, reset_requested, board);
	return STATUS_OK;
}

static enum status post_port_create(struct board *board, struct reason *why)
{
	(void)why;
	post_port_init(&board->post_port);
	return STATUS_OK;
}

static enum status pvpanic_create(struct board *board, struct reason *why)
{
	(void)why;
	pvpanic_init(&board->pvpanic, panic_reported, board);
	return STATUS_OK;
}

/* Only where the configuration has one, at the port that it names. */
static enum status debug_exit_create(struct board *board, struct reason *why)
{
	int port = board->vm->config->debug_exit_port;

	if (port < 0)
		return STATUS_OK;
	debug_exit_init(&board->debug_exit, debug_exit_requested, board);
	board->debug_exit.region.base = (uint64_t)port;
	if (bus_enable(&board->vm->ports, &board->debug_exit.region) != STATUS_OK)
		return reason_give(why, STATUS_USAGE,
				   "--debug-exit 0x%x: another device has that port; choose one that is free, 0xf4 is", port);
	vm_device_add(board->vm, &board->debug_exit.device);
	return STATUS_OK;
}

static void debug_exit_destroy(struct board *board)
{
	bus_disable(&board->vm->ports, &board->debug_exit.region);
}

static enum status serial_create(struct board *board, struct reason *why)
{
	(void)why;
	serial_init(&board->serial, 0, &board->vm->irq, PC_IRQ_SERIAL, board->backends.console);
	return STATUS_OK;
}

/* --- PCI --- */

static enum status pci_create(struct board *board, struct reason *why)
{
	struct pci_host_wiring wiring = {
		.ports = &board->vm->ports,
		.mmio = &board->vm->mmio,
		.irq = &board->vm->irq,
		.ecam_base = PC_ECAM,
		.reset = reset_requested,
		.owner = board,
	};
	enum status status;
	unsigned slot, pin;

	(void)why;
	for (slot = 0; slot < 32; slot++)
		for (pin = 0; pin < 4; pin++)
			wiring.pirq[slot][pin] = (uint8_t)pirq_of(slot, pin);
	for (pin = 0; pin < PCI_PIRQS; pin++)
		wiring.gsi[pin] = (uint8_t)(PC_GSI_PIRQ_A + pin);
	status = pci_host_create(&board->pci, &wiring);
	if (status == STATUS_OK)
		vm_device_add(board->vm, &board->pci->device);
	return status;
}

static void pci_destroy(struct board *board)
{
	if (board->pci)
		pci_host_destroy(board->pci);
}

static enum status lpc_create(struct board *board, struct reason *why)
{
	const struct pci_lpc_wiring wiring = {.pmbase = PC_PORT_PM, .pmbase_set = pmbase_moved, .owner = board};
	enum status status = pci_lpc_create(&board->lpc, board->pci, &wiring);

	(void)why;
	if (status == STATUS_OK)
		vm_device_add(board->vm, &board->lpc->device);
	return status;
}

static void lpc_destroy(struct board *board)
{
	if (board->lpc)
		pci_lpc_destroy(board->lpc);
}

static enum status root_ports_create(struct board *board, struct reason *why)
{
	unsigned i;

	(void)why;
	for (i = 0; i < PC_ROOT_PORTS; i++) {
		enum status status = pci_root_port_create(&board->root_port[i], &board->pci->root, PCI_DEVFN(PC_SLOT_ROOT_PORTS, i),
							  (uint8_t)(i + 1), (uint8_t)(i % 4 + 1));

		if (status != STATUS_OK)
			return status;
		vm_device_add(board->vm, &board->root_port[i]->device);
	}
	board->slots |= 1u << PC_SLOT_ROOT_PORTS;
	return STATUS_OK;
}

static void root_ports_destroy(struct board *board)
{
	unsigned i;

	for (i = PC_ROOT_PORTS; i-- > 0;)
		if (board->root_port[i])
			pci_root_port_destroy(board->root_port[i]);
}

static enum status rng_create(struct board *board, struct reason *why)
{
	struct vm *vm = board->vm;
	enum status status = virtio_rng_create(&board->rng, &board->pci->root, PCI_DEVFN(PC_SLOT_RNG, 0), &vm->memory, &vm->irq,
					       &vm->clock, vm->config->rng.second, vm->config->rng.burst);

	(void)why;
	if (status == STATUS_OK) {
		vm_device_add(vm, virtio_rng_device(board->rng));
		board->slots |= 1u << PC_SLOT_RNG;
	}
	return status;
}

static void rng_destroy(struct board *board)
{
	if (board->rng)
		virtio_rng_destroy(board->rng);
}

static void tap_write(struct chardev *chardev, const uint8_t *bytes, size_t length)
{
	struct board *board = (struct board *)((uint8_t *)chardev - offsetof(struct board, console_tap));

	chardev_write(board->backends.console, bytes, length);
}

/* The host's console is the serial port's. What a guest prints to the virtio console is shown there too; input goes to the serial port alone. */
static enum status console_create(struct board *board, struct reason *why)
{
	struct vm *vm = board->vm;
	enum status status;

	(void)why;
	board->console_tap.write = tap_write;
	status = virtio_console_create(&board->console, &board->pci->root, PCI_DEVFN(PC_SLOT_CONSOLE, 0), &vm->memory, &vm->irq,
				       &vm->clock, &board->console_tap);

	if (status == STATUS_OK) {
		vm_device_add(vm, virtio_console_device(board->console));
		board->slots |= 1u << PC_SLOT_CONSOLE;
	}
	return status;
}

static void console_destroy(struct board *board)
{
	if (board->console)
		virtio_console_destroy(board->console);
}

/* --- the machine, a row each --- */

struct place {
	enum { PLACE_NONE, PLACE_PORTS, PLACE_MEMORY } space;
	size_t region; /* in struct board */
	uint64_t base;
};

#define PORTS(region, base)                                       \
	{                                                         \
		PLACE_PORTS, offsetof(struct board, region), base \
	}
#define MEMORY(region, base)                                       \
	{                                                          \
		PLACE_MEMORY, offsetof(struct board, region), base \
	}
#define DEVICE(member) offsetof(struct board, member.device)

/*
 * In the order of creation, which is that of reset and of saved state; destroyed the other way round. A device that is part of struct board has
 * its `device` here and is destroyed through it. PCI functions sit where the guest puts them: they have a slot in pc_map.h and no place here.
 */
static const struct part {
	const char *name;
	enum status (*create)(struct board *board, struct reason *why); /* `why` stays as it is where the status says all */
	size_t device;                                                  /* in struct board; 0: create adds what there is */
	void (*destroy)(struct board *board);                           /* after a create that failed half-way, too */
	struct place place[BOARD_PLACES];
} parts[] = {
	{"local APICs", lapics_create, DEVICE(lapics), NULL, {}},
	{"PIC",
	 pic_create,
	 DEVICE(pic),
	 NULL,
	 {PORTS(pic.region[0], PC_PORT_PIC_MASTER), PORTS(pic.region[1], PC_PORT_PIC_SLAVE), PORTS(pic.elcr_region, PC_PORT_ELCR)}},
	{"IOAPIC", ioapic_create, DEVICE(ioapic), NULL, {MEMORY(ioapic.region, PC_IOAPIC)}},
	{"PIT", pit_create, DEVICE(pit), NULL, {PORTS(pit.region, PC_PORT_PIT), PORTS(pit.port61, PC_PORT_SPEAKER)}},
	{"RTC", rtc_create, DEVICE(rtc), NULL, {PORTS(rtc.region, PC_PORT_RTC)}},
	{"HPET", hpet_create, DEVICE(hpet), NULL, {MEMORY(hpet.region, PC_HPET)}},
	{"ACPI registers", acpi_pm_create, DEVICE(acpi_pm), NULL, {PORTS(acpi_pm.region, PC_PORT_PM)}},
	{"COM1", serial_create, DEVICE(serial), NULL, {PORTS(serial.region, PC_PORT_SERIAL)}},
	{"keyboard controller",
	 i8042_create,
	 DEVICE(i8042),
	 NULL,
	 {PORTS(i8042.data, PC_PORT_I8042_DATA), PORTS(i8042.command, PC_PORT_I8042_COMMAND)}},
	{"port A", port_a_create, DEVICE(port_a), NULL, {PORTS(port_a.region, PC_PORT_A)}},
	{"POST port", post_port_create, DEVICE(post_port), NULL, {PORTS(post_port.region, PC_PORT_POST)}},
	{"pvpanic", pvpanic_create, DEVICE(pvpanic), NULL, {PORTS(pvpanic.region, PC_PORT_PVPANIC)}},
	{"debug exit", debug_exit_create, 0, debug_exit_destroy, {}},
	{"PCI host bridge", pci_create, 0, pci_destroy, {}},
	{"LPC bridge", lpc_create, 0, lpc_destroy, {}},
	{"PCI root ports", root_ports_create, 0, root_ports_destroy, {}},
	{"virtio-rng", rng_create, 0, rng_destroy, {}},
	{"virtio-vsock", pc_vsock_create, 0, pc_vsock_destroy, {}},
	{"virtio-balloon", pc_balloon_create, 0, pc_balloon_destroy, {}},
	{"watchdog", pc_watchdog_create, 0, pc_watchdog_destroy, {}},
	{"virtio-console", console_create, 0, console_destroy, {}},
	{"console ports", pc_ports_create, 0, pc_ports_destroy, {}},
	{"disks", pc_disks_create, 0, pc_disks_destroy, {}},
	{"shared folders", pc_shares_create, 0, pc_shares_destroy, {}},
	{"networks", pc_nets_create, 0, pc_nets_destroy, {}},
};

#define PARTS (sizeof(parts) / sizeof(parts[0]))

static void *member(struct board *board, size_t offset)
{
	return (uint8_t *)board + offset;
}

static enum status part_place(struct board *board, const struct part *part, struct reason *why)
{
	unsigned i;

	for (i = 0; i < BOARD_PLACES && part->place[i].space != PLACE_NONE; i++) {
		const struct place *place = &part->place[i];
		struct bus *bus = place->space == PLACE_PORTS ? &board->vm->ports : &board->vm->mmio;
		struct bus_region *region = member(board, place->region);
		enum status status;

		region->base = place->base;
		status = bus_enable(bus, region);
		if (status != STATUS_OK)
			return reason_give(why, status, "%s: %s 0x%llx: %s; this board cannot be built", part->name, bus->name,
					   (unsigned long long)place->base, status_name(status));
	}
	return STATUS_OK;
}

static enum status parts_create(struct board *board, struct reason *why)
{
	enum status status = STATUS_OK;
	struct reason own = {""};

	while (board->parts < PARTS && status == STATUS_OK) {
		const struct part *part = &parts[board->parts++];

		status = part->create(board, &own);
		if (status != STATUS_OK)
			return own.text[0] ? reason_give(why, status, "%s", own.text)
					   : reason_give(why, status, "%s: %s; free some memory of the host", part->name,
							 status_name(status));
		if (part->device)
			vm_device_add(board->vm, member(board, part->device));
		status = part_place(board, part, why);
	}
	return status;
}

static void part_destroy(struct board *board, const struct part *part)
{
	struct device *device = part->device ? member(board, part->device) : NULL;
	unsigned i;

	for (i = 0; i < BOARD_PLACES && part->place[i].space != PLACE_NONE; i++)
		bus_disable(part->place[i].space == PLACE_PORTS ? &board->vm->ports : &board->vm->mmio,
			    member(board, part->place[i].region));
	if (part->destroy)
		part->destroy(board);
	if (device && device->destroy)
		device->destroy(device->object);
}

static void parts_destroy(struct board *board)
{
	while (board->parts)
		part_destroy(board, &parts[--board->parts]);
	/* What the devices were to the VM goes with them; vm_create's own devices stay. */
	*board->devices_end = NULL;
	board->vm->devices_end = board->devices_end;
	board->vm->irq = (struct irq){.sinks = 0};
}

/* vm->devices_remake. Nothing of the devices survives but what they stand on. */
static enum status devices_remake(void *object, struct reason *why)
{
	struct board *board = object;

	parts_destroy(board);
	__builtin_memset((uint8_t *)board + offsetof(struct board, lapics), 0, sizeof(*board) - offsetof(struct board, lapics));
	return parts_create(board, why);
}

void board_destroy(struct board *board)
{
	parts_destroy(board);
	boot_release(&board->boot);
	host_free(board, sizeof(*board));
}

static enum status board_build(struct board *board, struct reason *why)
{
	struct vm *vm = board->vm;
	struct boot_input *input = &board->boot.input;
	const struct board_backends *backends = &board->backends;
	enum status status;

	if (!backends->kernel.bytes)
		return reason_give(why, STATUS_USAGE, "no kernel: nothing to boot; give one with --kernel");
	status = x86_cpu_model_find(&board->model, vm->config->cpu_model, vm->vcpus, vm->clock.tsc_khz, why);
	if (status != STATUS_OK)
		return status;
	if (vm->engine->model_fit)
		status = vm->engine->model_fit(&board->model, why);
	if (status != STATUS_OK)
		return status;
	vm->cpu_model = &board->model;
	status = pc_memory_build(&vm->memory, board->model.physical_bits, input, &board->memory64, why);
	if (status != STATUS_OK)
		return status;
	board->memory32 = (struct acpi_window){PC_MEMORY32_FIRST, PC_MEMORY32_LAST};
	input->kernel = (struct boot_file){backends->kernel.path, backends->kernel.bytes, backends->kernel.length};
	input->initrd = (struct boot_file){backends->initrd.path, backends->initrd.bytes, backends->initrd.length};
	input->cmdline = vm->config->cmdline;
	input->rsdp = PC_ACPI_TABLES;
	input->decompress = backends->decompress;
	input->decompress_free = backends->decompress_free;
	status = boot_prepare(&board->boot, why);
	if (status == STATUS_OK)
		status = parts_create(board, why);
	return status;
}

enum status board_create(struct board **made, struct vm *vm, const struct board_backends *backends, struct reason *why)
{
	struct board *board = host_allocate(sizeof(*board));
	enum status status;

	*made = NULL;
	if (!board)
		return reason_give(why, STATUS_NO_MEMORY, "no host memory for the board; free some");
	board->vm = vm;
	board->devices_end = vm->devices_end;
	board->backends = *backends;
	status = board_build(board, why);
	if (status != STATUS_OK) {
		board_destroy(board);
		return status;
	}
	vm->board = board;
	vm->boot = pc_boot;
	vm->devices_remake = devices_remake;
	*made = board;
	return STATUS_OK;
}

void board_power_button(struct board *board)
{
	acpi_pm_power_button(&board->acpi_pm);
}

enum status board_disk_resize(struct board *board, unsigned disk, uint64_t size, struct reason *why)
{
	struct block *block = board->backends.disk[disk];
	enum status status = block_extend(block, size, why);

	if (status)
		return status;
	vm_board_lock(board->vm);
	block_size_set(block, size);
	vm_board_unlock(board->vm);
	return STATUS_OK;
}
