/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ahci_port.c - a port executes the commands in its list, one at a time (AHCI 1.3.1, 4.2 and 5): fetches, lets the drive look at it,
 * moves data by the PRD table in requests of at most AHCI_SEGMENTS pieces, and answers with FISes and an interrupt.
 */
#include "device/ahci_internal.h"

#define FIS_HOST_TO_DEVICE 0x27
#define FIS_DEVICE_TO_HOST 0x34
#define FIS_PIO_SETUP 0x5f
#define FIS_COMMAND 0x80
#define FIS_CONTROL 15
#define CONTROL_SRST 4u
#define RECEIVED_PIO_SETUP 0x20
#define RECEIVED_DEVICE 0x40
#define HEADER_ATAPI 0x20u
#define HEADER_CLEAR_BUSY 0x400u
#define TABLE_PACKET 0x40
#define TABLE_PRDS 0x80
#define PRD_LENGTH 0x3fffffu

struct command_header { /* 4.2.2 */
	uint16_t flags, prds;
	uint32_t transferred;
	uint64_t table;
	uint32_t reserved[4];
};

struct prd { /* 4.2.3.3 */
	uint64_t address;
	uint32_t reserved, length;
};

static void ahci_done(struct block_request *request, enum status status);

/* --- answers --- */

static void fis_registers(const struct ahci_command *command, uint8_t *fis)
{
	fis[2] = command->status;
	fis[3] = command->error;
	for (unsigned i = 0; i < 3; i++) {
		fis[4 + i] = (uint8_t)(command->lba >> (8 * i));
		fis[8 + i] = (uint8_t)(command->lba >> (24 + 8 * i));
	}
	fis[7] = command->fis[7];
	fis[12] = (uint8_t)command->count;
	fis[13] = (uint8_t)(command->count >> 8);
}

static void fis_put(struct ahci_port *port, unsigned place, const uint8_t *fis, unsigned length)
{
	if (!(port->cmd & PXCMD_FRE) || !port->ahci->function.master)
		return;
	if (guest_memory_write(port->ahci->memory, port->fb + place, fis, length) != STATUS_OK)
		ahci_port_interrupt(port, PXIS_HBFS);
}

static void registers_send(struct ahci_port *port, uint32_t cause)
{
	uint8_t fis[20] = {FIS_DEVICE_TO_HOST, 0x40};

	fis_registers(&port->command, fis);
	port->tfd = port->command.status | (uint32_t)port->command.error << 8;
	fis_put(port, RECEIVED_DEVICE, fis, sizeof(fis));
	ahci_port_interrupt(port, cause);
}

static void pio_setup_send(struct ahci_port *port)
{
	uint8_t fis[20] = {FIS_PIO_SETUP, 0x60};

	fis_registers(&port->command, fis);
	fis[15] = port->command.status;
	fis[16] = (uint8_t)port->command.transferred;
	fis[17] = (uint8_t)(port->command.transferred >> 8);
	fis_put(port, RECEIVED_PIO_SETUP, fis, sizeof(fis));
	ahci_port_interrupt(port, PXIS_PSS);
}

void ahci_signature_send(struct ahci_port *port)
{
	port->command = (struct ahci_command){.status = port->cdrom ? 0 : ATA_DRDY | ATA_DSC,
					      .error = 1, /* diagnostics passed */
					      .count = 1,
					      .lba = port->cdrom ? 0xeb1401 : 0x000001};
	port->sig = (uint32_t)port->command.lba << 8 | 1;
	registers_send(port, PXIS_DHRS);
}

/* A command that failed stays in CI, and none follows it before ST was cleared (6.2.2). */
static void command_answer(struct ahci_port *port)
{
	struct ahci_command *command = &port->command;
	bool failed = command->status & ATA_ERR;

	port->active = false;
	if (guest_memory_write(port->ahci->memory, command->header + 4, &command->transferred, 4) != STATUS_OK)
		ahci_port_interrupt(port, PXIS_HBFS);
	if (!failed)
		port->ci &= ~(1u << command->slot);
	port->halted = failed;
	if (command->pio && !failed)
		pio_setup_send(port);
	registers_send(port, PXIS_DHRS | (failed ? PXIS_TFES : 0));
}

/* --- the PRD table --- */

/* The piece of memory where the data goes on, at most `most` bytes of it. false: the table has ended. */
static bool prd_next(struct ahci_port *port, uint64_t most, uint64_t *gpa, uint32_t *length)
{
	struct ahci_command *command = &port->command;

	while (command->prd < command->prd_count) {
		struct prd prd;
		uint32_t whole;

		if (guest_memory_read(port->ahci->memory, command->prds + 16 * (uint64_t)command->prd, &prd, sizeof(prd)) !=
		    STATUS_OK)
			return false;
		whole = ((prd.length & PRD_LENGTH) | 1) + 1;
		if (command->prd_offset < whole) {
			*gpa = (prd.address & ~UINT64_C(1)) + command->prd_offset;
			*length = whole - command->prd_offset;
			if (*length > most)
				*length = (uint32_t)most;
			return true;
		}
		command->prd++;
		command->prd_offset = 0;
	}
	return false;
}

static void prd_consume(struct ahci_command *command, uint32_t length)
{
	command->prd_offset += length;
	command->transferred += length;
}

void ahci_data_in(struct ahci_port *port, const void *bytes, uint32_t length)
{
	const uint8_t *from = bytes;
	uint32_t here;
	uint64_t gpa;

	while (length && prd_next(port, length, &gpa, &here)) {
		if (guest_memory_write(port->ahci->memory, gpa, from, here) != STATUS_OK) {
			ahci_port_interrupt(port, PXIS_HBFS);
			return;
		}
		prd_consume(&port->command, here);
		from += here;
		length -= here;
	}
}

bool ahci_data_out(struct ahci_port *port, void *bytes, uint32_t length)
{
	uint8_t *to = bytes;
	uint32_t here;
	uint64_t gpa;

	while (length) {
		if (!prd_next(port, length, &gpa, &here) || guest_memory_read(port->ahci->memory, gpa, to, here) != STATUS_OK)
			return false;
		prd_consume(&port->command, here);
		to += here;
		length -= here;
	}
	return true;
}

static void segments_release(struct ahci_port *port)
{
	if (port->command.operation == BLOCK_READ)
		for (unsigned i = 0; i < port->segments; i++)
			if (port->segment[i].length)
				guest_memory_write_end(port->ahci->memory, port->gpa[i], port->segment[i].length);
	port->segments = 0;
}

static bool segment_add(struct ahci_port *port, uint64_t gpa, uint32_t *length)
{
	struct guest_memory *memory = port->ahci->memory;
	const struct memory_slot *slot = guest_memory_slot_find(memory, gpa);
	uint8_t *hva;

	if (!slot)
		return false;
	if (*length > slot->gpa + slot->length - gpa)
		*length = (uint32_t)(slot->gpa + slot->length - gpa);
	if (port->command.operation == BLOCK_READ)
		hva = guest_memory_write_begin(memory, gpa, *length);
	else
		hva = slot->hva + (gpa - slot->gpa);
	if (!hva)
		return false;
	port->segment[port->segments] = (struct block_segment){hva, *length};
	port->gpa[port->segments++] = gpa;
	return true;
}

/* Gives back what is behind the last whole block: the table is read on from there. */
static void segments_trim(struct ahci_port *port, uint32_t excess)
{
	struct ahci_command *command = &port->command;
	struct guest_memory *memory = port->ahci->memory;

	while (excess) {
		unsigned last = port->segments - 1;
		uint32_t length = (uint32_t)port->segment[last].length, cut = length < excess ? length : excess;

		if (command->operation == BLOCK_READ) {
			guest_memory_write_end(memory, port->gpa[last], length);
			if (cut < length)
				bug_on(!guest_memory_write_begin(memory, port->gpa[last], length - cut));
		}
		port->segment[last].length -= cut;
		if (cut == length)
			port->segments--;
		excess -= cut;
	}
}

/*
 * The next piece of a transfer: as many segments as fit, and whole blocks of them. Returns its length, 0 where the table does not lead to
 * memory or has ended.
 */
static uint64_t transfer_gather(struct ahci_port *port)
{
	struct ahci_command *command = &port->command;
	struct ahci_command before;
	uint64_t length = 0;
	uint32_t excess;

	while (length < command->left && port->segments < AHCI_SEGMENTS) {
		uint32_t here;
		uint64_t gpa;

		if (!prd_next(port, command->left - length, &gpa, &here) || !segment_add(port, gpa, &here))
			break;
		prd_consume(command, here);
		length += here;
	}
	excess = (uint32_t)(length % port->block->block_size);
	before = *command;
	segments_trim(port, excess);
	command->transferred = before.transferred - excess;
	/* Back in the table: by reading it again from its beginning if the cut is not within the last entry. */
	if (excess <= command->prd_offset) {
		command->prd_offset -= excess;
	} else {
		uint64_t gpa, skip = command->transferred;
		uint32_t here;

		command->prd = command->prd_offset = 0;
		while (skip && prd_next(port, skip, &gpa, &here)) {
			command->prd_offset += here;
			skip -= here;
		}
	}
	return length - excess;
}

/* --- what a command wants of the disk --- */

static void request_set(struct ahci_port *port, enum block_operation operation, uint64_t offset, uint64_t length)
{
	port->request = (struct block_request){.operation = operation,
					       .offset = offset,
					       .length = length,
					       .segment = port->segments ? port->segment : NULL,
					       .segments = port->segments,
					       .done = ahci_done,
					       .device = port};
}

/* The next range of a TRIM that is not empty: 48 bits of LBA, 16 of length. */
static bool range_next(struct ahci_port *port)
{
	struct ahci_command *command = &port->command;

	while (command->range_next < command->ranges) {
		uint64_t range = port->range[command->range_next++];

		if (range >> 48) {
			request_set(port, BLOCK_DISCARD, (range & UINT64_C(0xffffffffffff)) * AHCI_SECTOR,
				    (range >> 48) * AHCI_SECTOR);
			return true;
		}
	}
	return false;
}

/* Sets port->request, or returns false: nothing is left to do, or it cannot be done and the answer says so. */
static bool command_request(struct ahci_port *port)
{
	struct ahci_command *command = &port->command;

	if (command->status & ATA_ERR)
		return false;
	if (command->left) {
		uint64_t length = transfer_gather(port);

		if (length) {
			request_set(port, command->operation, command->offset, length);
			command->offset += length;
			command->left -= length;
			return true;
		}
		segments_release(port);
		/* A shorter table ends a packet's transfer early; a disk's command does not fit it (5.3.9). */
		if (!port->cdrom || command->prd < command->prd_count) {
			ahci_port_interrupt(port, PXIS_HBFS);
			ahci_fail(command, ATA_ABRT);
		}
		command->left = 0;
		return false;
	}
	if (range_next(port))
		return true;
	if (command->flush_end) {
		command->flush_end = false;
		request_set(port, BLOCK_FLUSH, 0, 0);
		return true;
	}
	return false;
}

/* Without C it is the control register: SRST set and cleared again is a software reset (ATA8-ACS, 10.4.1). */
static void control_execute(struct ahci_port *port, unsigned slot, bool clear_busy)
{
	uint8_t control = port->command.fis[FIS_CONTROL];

	port->ci &= ~(1u << slot);
	if (control & CONTROL_SRST) {
		port->soft_reset = 1;
		if (!clear_busy)
			port->tfd |= ATA_BSY;
	} else if (port->soft_reset) {
		port->soft_reset = 0;
		ahci_drive_reset(port);
		ahci_signature_send(port);
	}
}

static unsigned slot_choose(const struct ahci_port *port)
{
	return (unsigned)__builtin_ctz(port->ci);
}

/* Takes the next command of the list and starts it. false: there is none, or the port does not run. */
static bool command_fetch(struct ahci_port *port)
{
	struct guest_memory *memory = port->ahci->memory;
	struct ahci_command *command = &port->command;
	struct command_header header;
	unsigned slot;

	if (!port->block || !port->ci || !(port->cmd & PXCMD_ST) || port->halted || port->stopping || port->ahci->resetting ||
	    !port->ahci->function.master)
		return false;
	slot = slot_choose(port);
	*command = (struct ahci_command){.slot = slot, .status = ATA_DRDY | ATA_DSC, .header = port->clb + 32 * (uint64_t)slot};
	port->cmd = (port->cmd & ~PXCMD_CCS) | slot << 8;
	if (guest_memory_read(memory, command->header, &header, sizeof(header)) != STATUS_OK ||
	    guest_memory_read(memory, header.table & ~UINT64_C(127), command->fis, sizeof(command->fis)) != STATUS_OK ||
	    guest_memory_read(memory, (header.table & ~UINT64_C(127)) + TABLE_PACKET, command->packet, sizeof(command->packet)) !=
		    STATUS_OK) {
		port->halted = 1;
		ahci_port_interrupt(port, PXIS_HBFS);
		return false;
	}
	command->prds = (header.table & ~UINT64_C(127)) + TABLE_PRDS;
	command->prd_count = header.prds;
	if (!(command->fis[1] & FIS_COMMAND)) {
		control_execute(port, slot, header.flags & HEADER_CLEAR_BUSY);
		return true;
	}
	port->active = true;
	if (command->fis[0] != FIS_HOST_TO_DEVICE)
		ahci_fail(command, ATA_ABRT);
	else if (port->cdrom)
		ahci_cdrom_start(port);
	else
		ahci_disk_start(port);
	return true;
}

/* Goes on until the port waits for its backend (true: submit port->request) or for its driver. */
static bool port_step(struct ahci_port *port)
{
	while (!port->under_way) {
		if (port->active && command_request(port)) {
			port->under_way = true;
			return true;
		}
		if (port->active)
			command_answer(port);
		else if (!command_fetch(port))
			return false;
	}
	return false;
}

void ahci_run(struct ahci *ahci)
{
	bool again = !ahci->running;
	unsigned rounds = 0;

	if (ahci->running)
		return;
	ahci->running = true;
	while (again) {
		again = false;
		for (unsigned i = 0; i < AHCI_PORTS; i++) {
			struct ahci_port *port = &ahci->port[i];

			if (!port_step(port))
				continue;
			again = true;
			host_mutex_unlock(&ahci->lock);
			block_rounds_bound(&port->request, rounds++);
			block_submit(port->block, &port->request);
			host_mutex_lock(&ahci->lock);
		}
	}
	ahci->running = false;
}

/* Any thread, without the lock. */
static void ahci_done(struct block_request *request, enum status status)
{
	struct ahci_port *port = request->device;
	struct ahci *ahci = port->ahci;

	host_mutex_lock(&ahci->lock);
	segments_release(port);
	port->under_way = false;
	if (port->stopping || ahci->resetting) {
		port->active = false;
		ahci_port_stopped(port);
	} else if (status != STATUS_OK) {
		port->command.left = 0;
		port->command.ranges = 0;
		port->command.flush_end = false;
		if (port->cdrom)
			ahci_cdrom_failed(port, status);
		else
			ahci_disk_failed(port, status);
	}
	ahci_run(ahci);
	host_mutex_unlock(&ahci->lock);
}
