/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ahci.c - a SATA controller (AHCI 1.3.1, as the ICH9 has it): its registers, resets and saved state. Read ahci_internal.h and ahci_port.c next.
 *
 * Six ports, 32 commands each, executed one at a time: no NCQ. Stopping a port or resetting waits for the request that is under way, and what
 * tells the driver so (PxCMD.CR, GHC.HR, PxSSTS) changes only then: no data lands in memory that it has taken back.
 */
#include "device/ahci_internal.h"

#define AHCI_BAR 5
#define AHCI_BAR_SIZE 0x1000
#define PORT_FIRST 0x100
#define PORT_SIZE 0x80

/* Generic host control, 3.1. */
#define HBA_CAP 0x00
#define HBA_GHC 0x04
#define HBA_IS 0x08
#define HBA_PI 0x0c
#define HBA_VS 0x10
#define GHC_HR 1u
#define GHC_IE 2u
#define GHC_AE 0x80000000u
/* S64A, SCLO, 3 Gb/s, AHCI only, 32 slots, the number of ports less one. */
#define CAP_VALUE (1u << 31 | 1u << 24 | 2u << 20 | 1u << 18 | (AHCI_SLOTS - 1) << 8 | (AHCI_PORTS - 1))
#define VERSION_1_3_1 0x00010301u

#define PX_CLB 0x00
#define PX_CLBU 0x04
#define PX_FB 0x08
#define PX_FBU 0x0c
#define PX_IS 0x10
#define PX_IE 0x14
#define PX_CMD 0x18
#define PX_TFD 0x20
#define PX_SIG 0x24
#define PX_SSTS 0x28
#define PX_SCTL 0x2c
#define PX_SERR 0x30
#define PX_CI 0x38
#define PXIE_WRITABLE 0xfdc000ffu
#define PXCMD_WRITABLE (PXCMD_ST | PXCMD_SUD | PXCMD_POD | PXCMD_FRE | PXCMD_ATAPI | PXCMD_DLAE | PXCMD_ICC)
#define PXCMD_STATE (PXCMD_WRITABLE | PXCMD_CCS | PXCMD_FR | PXCMD_CR)
#define PXSCTL_WRITABLE 0xfffu
#define PXSCTL_DET 0xfu
#define PXSSTS_LINK 0x123u /* a device, 3 Gb/s, active */
#define PXSERR_EXCHANGED (1u << 26)
#define TFD_NONE 0x7fu

void ahci_interrupts_update(struct ahci *ahci)
{
	for (unsigned i = 0; i < AHCI_PORTS; i++)
		if (ahci->port[i].is & ahci->port[i].ie)
			ahci->is |= 1u << i;
	pci_intx_set(&ahci->function, ahci->control & GHC_IE && ahci->is);
}

void ahci_port_interrupt(struct ahci_port *port, uint32_t cause)
{
	port->is |= cause;
	ahci_interrupts_update(port->ahci);
}

/* --- stopping and resetting --- */

static void port_stop_now(struct ahci_port *port)
{
	port->stopping = port->active = false;
	port->halted = 0;
	port->ci = 0;
	port->cmd &= ~(PXCMD_CR | PXCMD_CCS);
	/* A driver that sets ST again without waiting for this has a port that runs, with an empty list. */
	if (port->cmd & PXCMD_ST)
		port->cmd |= PXCMD_CR;
}

/* COMRESET, 10.4.2: the drive starts anew and says what it is. */
static void port_reset_now(struct ahci_port *port)
{
	port_stop_now(port);
	port->resetting = false;
	port->soft_reset = 0;
	if (!port->block)
		return;
	ahci_drive_reset(port);
	port->ssts = PXSSTS_LINK;
	port->serr |= PXSERR_EXCHANGED;
	ahci_port_interrupt(port, PXIS_PCS);
	ahci_signature_send(port);
}

static void port_power_on(struct ahci_port *port)
{
	port->is = port->ie = port->serr = port->sctl = port->ssts = 0;
	port->cmd = PXCMD_SUD | PXCMD_POD | (port->cdrom ? PXCMD_ATAPI : 0);
	port->tfd = TFD_NONE;
	port->sig = UINT32_MAX;
	port->ejected = port->locked = 0;
	port_reset_now(port);
	port->is = 0;
}

static bool requests_under_way(const struct ahci *ahci)
{
	bool any = false;

	for (unsigned i = 0; i < AHCI_PORTS; i++)
		any = any || ahci->port[i].under_way;
	return any;
}

/* GHC.HR, 10.4.3: where lists are (CLB, FB) stays. */
static void ahci_reset(struct ahci *ahci)
{
	ahci->resetting = requests_under_way(ahci);
	if (ahci->resetting)
		return;
	ahci->control = 0;
	ahci->is = 0;
	for (unsigned i = 0; i < AHCI_PORTS; i++)
		port_power_on(&ahci->port[i]);
	ahci->is = 0;
	ahci_interrupts_update(ahci);
}

void ahci_port_stopped(struct ahci_port *port)
{
	if (port->ahci->resetting)
		ahci_reset(port->ahci);
	else if (port->resetting)
		port_reset_now(port);
	else
		port_stop_now(port);
}

/* --- registers --- */

static void command_write(struct ahci_port *port, uint32_t value)
{
	uint32_t before = port->cmd;

	port->cmd = (before & ~PXCMD_WRITABLE) | (value & PXCMD_WRITABLE & ~PXCMD_ICC) | PXCMD_SUD | PXCMD_POD;
	if (value & PXCMD_CLO && !(before & PXCMD_ST))
		port->tfd &= ~(uint32_t)(ATA_BSY | ATA_DRQ);
	port->cmd = port->cmd & PXCMD_FRE ? port->cmd | PXCMD_FR : port->cmd & ~PXCMD_FR;
	if (port->cmd & PXCMD_ST) {
		if (!port->stopping)
			port->cmd |= PXCMD_CR;
	} else if (before & PXCMD_ST) {
		if (port->under_way)
			port->stopping = true;
		else
			port_stop_now(port);
	}
}

/* DET 1 holds the drive in reset, and going back to 0 lets it start (10.4.2). */
static void control_write(struct ahci_port *port, uint32_t value)
{
	uint32_t before = port->sctl;

	port->sctl = value & PXSCTL_WRITABLE;
	if ((value & PXSCTL_DET) == 1) {
		port->ssts = 0;
		port->tfd = TFD_NONE;
	} else if ((before & PXSCTL_DET) == 1) {
		port->stopping = port->resetting = port->under_way;
		if (!port->under_way)
			port_reset_now(port);
	}
}

static void half_set(uint64_t *target, bool upper, uint32_t value)
{
	*target = upper ? (*target & UINT32_MAX) | (uint64_t)value << 32 : (*target & ~(uint64_t)UINT32_MAX) | value;
}

static void port_write(struct ahci_port *port, unsigned place, uint32_t value)
{
	switch (place) {
	case PX_CLB: half_set(&port->clb, false, value & ~0x3ffu); break;
	case PX_CLBU: half_set(&port->clb, true, value); break;
	case PX_FB: half_set(&port->fb, false, value & ~0xffu); break;
	case PX_FBU: half_set(&port->fb, true, value); break;
	case PX_IS: port->is &= ~value; break;
	case PX_IE: port->ie = value & PXIE_WRITABLE; break;
	case PX_CMD: command_write(port, value); break;
	case PX_SCTL: control_write(port, value); break;
	case PX_SERR: port->serr &= ~value; break;
	case PX_CI:
		if (port->cmd & PXCMD_ST && !port->stopping)
			port->ci |= value;
		break;
	default: break;
	}
}

static uint32_t port_read(const struct ahci_port *port, unsigned place)
{
	switch (place) {
	case PX_CLB: return (uint32_t)port->clb;
	case PX_CLBU: return (uint32_t)(port->clb >> 32);
	case PX_FB: return (uint32_t)port->fb;
	case PX_FBU: return (uint32_t)(port->fb >> 32);
	case PX_IS: return port->is;
	case PX_IE: return port->ie;
	case PX_CMD: return port->cmd;
	case PX_TFD: return port->active ? port->tfd | ATA_BSY : port->tfd;
	case PX_SIG: return port->sig;
	case PX_SSTS: return port->resetting ? 0 : port->ssts;
	case PX_SCTL: return port->sctl;
	case PX_SERR: return port->serr;
	case PX_CI: return port->ci;
	default: return 0;
	}
}

static void register_write(struct ahci *ahci, uint64_t offset, uint32_t value)
{
	uint64_t port = (offset - PORT_FIRST) / PORT_SIZE;

	if (ahci->resetting)
		return;
	if (offset >= PORT_FIRST) {
		if (port < AHCI_PORTS)
			port_write(&ahci->port[port], offset % PORT_SIZE, value);
	} else if (offset == HBA_GHC) {
		ahci->control = value & GHC_IE;
		if (value & GHC_HR)
			ahci_reset(ahci);
	} else if (offset == HBA_IS) {
		ahci->is &= ~value;
	}
	ahci_interrupts_update(ahci);
}

static uint32_t register_read(const struct ahci *ahci, uint64_t offset)
{
	uint64_t port = (offset - PORT_FIRST) / PORT_SIZE;

	if (offset >= PORT_FIRST)
		return port < AHCI_PORTS ? port_read(&ahci->port[port], offset % PORT_SIZE) : 0;
	switch (offset) {
	case HBA_CAP: return CAP_VALUE;
	case HBA_GHC: return GHC_AE | ahci->control | (ahci->resetting ? GHC_HR : 0);
	case HBA_IS: return ahci->is;
	case HBA_PI: return (1u << AHCI_PORTS) - 1;
	case HBA_VS: return VERSION_1_3_1;
	default: return 0;
	}
}

static uint64_t ahci_read(void *device, uint64_t offset, unsigned size)
{
	struct ahci *ahci = device;
	uint64_t place = offset & ~UINT64_C(3), value;

	host_mutex_lock(&ahci->lock);
	value = register_read(ahci, place);
	if (size == 8)
		value |= (uint64_t)register_read(ahci, place + 4) << 32;
	host_mutex_unlock(&ahci->lock);
	return value >> (8 * (offset & 3));
}

/* Whole aligned registers only (3). */
static void ahci_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct ahci *ahci = device;

	if (size < 4 || offset & (size - 1))
		return;
	host_mutex_lock(&ahci->lock);
	register_write(ahci, offset, (uint32_t)value);
	if (size == 8)
		register_write(ahci, offset + 4, (uint32_t)(value >> 32));
	ahci_run(ahci);
	host_mutex_unlock(&ahci->lock);
}

/* --- life --- */

static void ahci_drain(struct ahci *ahci)
{
	for (unsigned i = 0; i < AHCI_PORTS; i++)
		if (ahci->port[i].block)
			ahci->port[i].block->drain(ahci->port[i].block);
}

static void ahci_power_on(void *object)
{
	struct ahci *ahci = object;

	ahci_drain(ahci);
	host_mutex_lock(&ahci->lock);
	for (unsigned i = 0; i < AHCI_PORTS; i++) {
		ahci->port[i].clb = ahci->port[i].fb = 0;
		ahci->port[i].cmd = 0; /* no signature into memory that may be anything now */
	}
	ahci_reset(ahci);
	host_mutex_unlock(&ahci->lock);
	pci_function_reset(&ahci->function);
}

/* What the command lists hold is served to the end: nobody adds to them. */
static void ahci_quiesce(void *object)
{
	ahci_drain(object);
}

static void ahci_resume(void *object)
{
	struct ahci *ahci = object;

	host_mutex_lock(&ahci->lock);
	ahci_run(ahci);
	host_mutex_unlock(&ahci->lock);
}

static const char *port_implausible(const struct ahci_port *port)
{
	if (port->clb & 0x3ff || port->fb & 0xff || port->ie & ~PXIE_WRITABLE || port->sctl & ~PXSCTL_WRITABLE ||
	    port->cmd & ~PXCMD_STATE || port->tfd > 0xffff)
		return "registers with bits that are not there";
	if (!(port->cmd & PXCMD_ST) != !(port->cmd & PXCMD_CR) || (port->ci && !(port->cmd & PXCMD_ST)))
		return "a port that runs and does not";
	if (port->halted > 1 || port->write_cache > 1 || port->soft_reset > 1 || port->attention > 1 || port->ejected > 1 ||
	    port->locked > 1 || port->multiple & (port->multiple - 1) || port->sense_key > 15)
		return "a drive in an impossible state";
	if (!port->block && port->ssts)
		return "a drive where there is none";
	return NULL;
}

static enum status ahci_loaded(void *object, uint32_t version, struct reason *why)
{
	struct ahci *ahci = object;
	enum status status = pci_function_loaded(&ahci->function, why);
	const char *wrong = ahci->control & ~GHC_IE ? "registers with bits that are not there" : NULL;

	(void)version;
	host_mutex_lock(&ahci->lock);
	for (unsigned i = 0; !wrong && i < AHCI_PORTS; i++)
		wrong = port_implausible(&ahci->port[i]);
	if (wrong)
		ahci_reset(ahci);
	host_mutex_unlock(&ahci->lock);
	return wrong ? reason_give(why, STATUS_INVALID, "ahci: the saved state has %s", wrong) : status;
}

#define PORT(member) STATE_EACH(struct ahci, port, member)
static const struct state_field ahci_fields[] = {
	PCI_FUNCTION_STATE(struct ahci, function),
	STATE_FIELD(struct ahci, control),
	STATE_FIELD(struct ahci, is),
	PORT(clb),
	PORT(fb),
	PORT(is),
	PORT(ie),
	PORT(cmd),
	PORT(tfd),
	PORT(sig),
	PORT(ssts),
	PORT(sctl),
	PORT(serr),
	PORT(ci),
	PORT(halted),
	PORT(write_cache),
	PORT(multiple),
	PORT(soft_reset),
	PORT(sense_key),
	PORT(sense_code),
	PORT(sense_qualifier),
	PORT(attention),
	PORT(ejected),
	PORT(locked),
};
static const struct state_table ahci_state = {
	.name = "ahci",
	.version = 1,
	STATE_TABLE_FIELDS(ahci_fields),
	.before_save = ahci_quiesce,
	.after_load = ahci_loaded,
};

/* ICH9 datasheet, 14.1. Its SATA functions have their own pin. */
static void ahci_describe(struct ahci *ahci)
{
	static const struct pci_identity identity = {
		.vendor = 0x8086,
		.device = 0x2922,
		.class_code = 0x010601,
		.revision = 2,
		.subsystem_vendor = 0x1af4,
		.subsystem = 0x1100,
		.interrupt_pin = 2,
	};
	struct pci_function *function = &ahci->function;
	struct bus_region *region = &function->bar[AHCI_BAR].region;

	pci_function_init(function, "ahci", &identity, ahci);
	region->name = "ahci";
	region->read = ahci_read;
	region->write = ahci_write;
	region->device = ahci;
	pci_bar_add(function, AHCI_BAR, PCI_BAR_MEMORY32, AHCI_BAR_SIZE, false);
	pci_power_add(function);
}

static void ports_init(struct ahci *ahci, const struct ahci_drive drive[AHCI_PORTS])
{
	for (unsigned i = 0; i < AHCI_PORTS; i++) {
		struct ahci_port *port = &ahci->port[i];

		port->ahci = ahci;
		port->number = i;
		port->block = drive[i].block;
		port->cdrom = drive[i].cdrom;
		__builtin_memset(port->id, ' ', sizeof(port->id));
		for (unsigned at = 0; drive[i].serial && drive[i].serial[at] && at < sizeof(port->id); at++)
			port->id[at] = (uint8_t)drive[i].serial[at];
	}
}

enum status ahci_create(struct ahci **out, struct pci_bus *bus, uint8_t devfn, struct guest_memory *memory,
			const struct ahci_drive drive[AHCI_PORTS])
{
	struct ahci *ahci = host_allocate(sizeof(*ahci));
	enum status status;

	*out = NULL;
	if (!ahci)
		return STATUS_NO_MEMORY;
	ahci->memory = memory;
	ports_init(ahci, drive);
	ahci->device =
		(struct device){.name = "ahci", .instance = devfn, .state = &ahci_state, .reset = ahci_power_on, .object = ahci};
	ahci->device.quiesce = ahci_quiesce;
	ahci->device.resume = ahci_resume;
	ahci_describe(ahci);
	status = pci_function_add(bus, devfn, &ahci->function);
	if (status != STATUS_OK) {
		host_free(ahci, sizeof(*ahci));
		return status;
	}
	ahci_reset(ahci);
	*out = ahci;
	return STATUS_OK;
}

struct device *ahci_device(struct ahci *ahci)
{
	return &ahci->device;
}

void ahci_destroy(struct ahci *ahci)
{
	ahci_drain(ahci);
	pci_function_remove(&ahci->function);
	host_free(ahci, sizeof(*ahci));
}
