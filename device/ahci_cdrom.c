/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ahci_cdrom.c - a CD-ROM drive with an ISO image in it: ATAPI packets (ATA8-ACS PACKET; SPC-3, MMC-6).
 *
 * One data track of blocks of 2048 bytes in one closed session. The medium can be ejected by the guest and loaded again; it stays the same.
 */
#include "device/ahci_internal.h"

#define BLOCK 2048u
#define SENSE_NOT_READY 2
#define SENSE_MEDIUM_ERROR 3
#define SENSE_ILLEGAL_REQUEST 5
#define SENSE_UNIT_ATTENTION 6
#define ASC_INVALID_OPCODE 0x20
#define ASC_LBA_OUT_OF_RANGE 0x21
#define ASC_INVALID_FIELD 0x24
#define ASC_MEDIUM_CHANGED 0x28
#define ASC_NO_MEDIUM 0x3a
#define ASC_REMOVAL_PREVENTED 0x53
#define ASC_READ_ERROR 0x11
#define PROFILE_CDROM 0x0008
#define LEADOUT 0xaa
#define FRAMES_PREGAP 150
#define TRANSFER_MAX (1u << 30) /* what PRDBC can count, and more than anybody reads at once */

static uint32_t long_at(const uint8_t *bytes)
{
	return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static uint32_t word_at(const uint8_t *bytes)
{
	return (uint32_t)bytes[0] << 8 | bytes[1];
}

static void put(uint8_t *out, unsigned size, uint32_t value)
{
	for (unsigned i = 0; i < size; i++)
		out[i] = (uint8_t)(value >> (8 * (size - 1 - i)));
}

/* A disc has no more blocks than an address has bits. */
static uint32_t blocks_of(const struct ahci_port *port)
{
	uint64_t blocks = port->block->size / BLOCK;

	return blocks < UINT32_MAX ? (uint32_t)blocks : UINT32_MAX;
}

static void check_condition(struct ahci_port *port, uint8_t key, uint8_t code, uint8_t qualifier)
{
	port->sense_key = key;
	port->sense_code = code;
	port->sense_qualifier = qualifier;
	ahci_fail(&port->command, (uint8_t)(key << 4 | ATA_ABRT));
}

static void illegal(struct ahci_port *port)
{
	check_condition(port, SENSE_ILLEGAL_REQUEST, ASC_INVALID_FIELD, 0);
}

/* The answer to a packet, cut to what the host has allocated for it. */
static void reply(struct ahci_port *port, const uint8_t *bytes, uint32_t length, uint32_t allocated)
{
	ahci_data_in(port, bytes, length < allocated ? length : allocated);
}

static void text(uint8_t *out, unsigned length, const char *from)
{
	for (unsigned i = 0; i < length; i++)
		out[i] = *from ? (uint8_t)*from++ : ' ';
}

/* --- SPC --- */

static void inquiry_page(struct ahci_port *port, uint8_t page, uint32_t allocated)
{
	uint8_t out[4 + 4 + AHCI_ID_LENGTH] = {5, page};
	uint32_t length = 4;

	switch (page) {
	case 0x00:
		out[5] = 0x80;
		out[6] = 0x83;
		length = 7;
		break;
	case 0x80:
		__builtin_memcpy(&out[4], port->id, AHCI_ID_LENGTH);
		length = 4 + AHCI_ID_LENGTH;
		break;
	case 0x83: /* vendor's own, ASCII */
		out[4] = 2;
		out[7] = AHCI_ID_LENGTH;
		__builtin_memcpy(&out[8], port->id, AHCI_ID_LENGTH);
		length = 8 + AHCI_ID_LENGTH;
		break;
	default: illegal(port); return;
	}
	out[3] = (uint8_t)(length - 4);
	reply(port, out, length, allocated);
}

static void inquiry(struct ahci_port *port, const uint8_t *packet)
{
	uint8_t out[36] = {5, 0x80, 5, 0x32, 31};
	uint32_t allocated = word_at(&packet[3]);

	if (packet[1] & 1) {
		inquiry_page(port, packet[2], allocated);
		return;
	}
	if (packet[2]) {
		illegal(port);
		return;
	}
	text(&out[8], 8, "HOLON");
	text(&out[16], 16, "CD-ROM");
	text(&out[32], 4, "1.0");
	reply(port, out, sizeof(out), allocated);
}

static void request_sense(struct ahci_port *port, const uint8_t *packet)
{
	uint8_t out[18] = {0x70, 0, port->sense_key, [7] = 10, [12] = port->sense_code, [13] = port->sense_qualifier};

	if (port->attention && !port->sense_key) {
		port->attention = 0;
		out[2] = SENSE_UNIT_ATTENTION;
		out[12] = ASC_MEDIUM_CHANGED;
	}
	port->sense_key = port->sense_code = port->sense_qualifier = 0;
	reply(port, out, sizeof(out), packet[4]);
}

/* Read error recovery (01), power (1a), capabilities (2a). Nothing can be changed. */
static uint32_t mode_pages(struct ahci_port *port, uint8_t wanted, uint8_t *out)
{
	static const uint8_t recovery[] = {0x01, 6, 0, 5};
	static const uint8_t power[] = {0x1a, 10};
	const uint8_t capabilities[] = {0x2a, 20,   0,    0, 0x60, 0, (uint8_t)(0x29 | (port->locked ? 2 : 0)),
					0,    0x16, 0x00, 0, 2,    2, 0,
					0x16, 0x00, 0,    0, 0,    0};
	uint32_t length = 0;

	if (wanted == 0x01 || wanted == 0x3f) {
		__builtin_memcpy(&out[length], recovery, sizeof(recovery));
		length += 8;
	}
	if (wanted == 0x1a || wanted == 0x3f) {
		__builtin_memcpy(&out[length], power, sizeof(power));
		length += 12;
	}
	if (wanted == 0x2a || wanted == 0x3f) {
		__builtin_memcpy(&out[length], capabilities, sizeof(capabilities));
		length += 22;
	}
	return length;
}

static void mode_sense(struct ahci_port *port, const uint8_t *packet, bool ten)
{
	uint8_t out[64] = {0}, header = ten ? 8 : 4;
	uint32_t pages;

	if (packet[2] >> 6 == 3) { /* saved values */
		check_condition(port, SENSE_ILLEGAL_REQUEST, 0x39, 0);
		return;
	}
	pages = mode_pages(port, packet[2] & 0x3f, &out[header]);
	if (!pages) {
		illegal(port);
		return;
	}
	if (packet[2] >> 6 == 1) /* what may be changed: the pages' headers only */
		for (uint32_t at = header; at < header + pages; at += 2u + out[at + 1])
			__builtin_memset(&out[at + 2], 0, out[at + 1]);
	if (ten) {
		put(out, 2, header + pages - 2);
		out[2] = port->ejected ? 0x70 : 0x01; /* medium type: none, or a data CD */
	} else {
		out[0] = (uint8_t)(header + pages - 1);
		out[1] = port->ejected ? 0x70 : 0x01;
	}
	reply(port, out, header + pages, ten ? word_at(&packet[7]) : packet[4]);
}

static void start_stop(struct ahci_port *port, const uint8_t *packet)
{
	bool start = packet[4] & 1;

	if (!(packet[4] & 2)) /* the motor */
		return;
	if (!start && port->locked) {
		check_condition(port, SENSE_ILLEGAL_REQUEST, ASC_REMOVAL_PREVENTED, 2);
		return;
	}
	if (start && port->ejected)
		port->attention = 1;
	port->ejected = !start;
}

/* --- MMC --- */

static void capacity_read(struct ahci_port *port)
{
	uint8_t out[8];

	put(out, 4, blocks_of(port) ? blocks_of(port) - 1 : 0);
	put(out + 4, 4, BLOCK);
	reply(port, out, sizeof(out), sizeof(out));
}

static void blocks_read(struct ahci_port *port, uint32_t first, uint32_t count)
{
	struct ahci_command *command = &port->command;

	if (first > blocks_of(port) || count > blocks_of(port) - first) {
		check_condition(port, SENSE_ILLEGAL_REQUEST, ASC_LBA_OUT_OF_RANGE, 0);
		return;
	}
	if (count > TRANSFER_MAX / BLOCK) {
		illegal(port);
		return;
	}
	command->operation = BLOCK_READ;
	command->offset = (uint64_t)first * BLOCK;
	command->left = (uint64_t)count * BLOCK;
}

/* READ CD: user data of mode 1 blocks, which is all that an image has. */
static void cd_read(struct ahci_port *port, const uint8_t *packet)
{
	uint32_t count = (uint32_t)packet[6] << 16 | word_at(&packet[7]);
	uint8_t type = packet[1] >> 2 & 7, wanted = packet[9] & 0xf8;

	if ((type != 0 && type != 2) || (wanted != 0x10 && wanted != 0) || packet[10] & 7)
		check_condition(port, SENSE_ILLEGAL_REQUEST, 0x64, 0); /* illegal mode for this track */
	else if (wanted)
		blocks_read(port, long_at(&packet[2]), count);
}

static void address_put(uint8_t *out, uint32_t block, bool minutes)
{
	if (!minutes) {
		put(out, 4, block);
		return;
	}
	block += FRAMES_PREGAP;
	out[0] = 0;
	out[1] = (uint8_t)(block / (75 * 60));
	out[2] = (uint8_t)(block / 75 % 60);
	out[3] = (uint8_t)(block % 75);
}

static uint32_t toc_tracks(struct ahci_port *port, bool minutes, uint8_t first, uint8_t *out)
{
	uint32_t length = 4;

	out[2] = out[3] = 1;
	if (first <= 1) {
		out[length + 1] = 0x14; /* a data track */
		out[length + 2] = 1;
		address_put(&out[length + 4], 0, minutes);
		length += 8;
	}
	out[length + 1] = 0x14;
	out[length + 2] = LEADOUT;
	address_put(&out[length + 4], blocks_of(port), minutes);
	return length + 8;
}

/* The full TOC's points: first track, last track, lead-out, track 1 (MMC-6, 6.25.3.5). */
static uint32_t toc_full(struct ahci_port *port, uint8_t *out)
{
	static const uint8_t point[] = {0xa0, 0xa1, 0xa2, 1};
	uint32_t length = 4;

	out[2] = out[3] = 1;
	for (unsigned i = 0; i < sizeof(point); i++, length += 11) {
		uint8_t at[4] = {0};

		out[length] = 1;
		out[length + 1] = 0x14;
		out[length + 3] = point[i];
		if (point[i] == 0xa2)
			address_put(at, blocks_of(port), true);
		else if (point[i] == 1)
			address_put(at, 0, true);
		else
			at[1] = 1;
		__builtin_memcpy(&out[length + 8], &at[1], 3);
	}
	return length;
}

static void toc_read(struct ahci_port *port, const uint8_t *packet)
{
	uint8_t out[64] = {0}, format = packet[2] & 15;
	bool minutes = packet[1] & 2;
	uint32_t length;

	if (!format)
		format = packet[9] >> 6; /* where older drives had it */
	switch (format) {
	case 0:
		if (packet[6] > 1 && packet[6] != LEADOUT) {
			illegal(port);
			return;
		}
		length = toc_tracks(port, minutes, packet[6], out);
		break;
	case 1: /* sessions: one */
		out[2] = out[3] = 1;
		out[5] = 0x14;
		out[6] = 1;
		address_put(&out[8], 0, minutes);
		length = 12;
		break;
	case 2: length = toc_full(port, out); break;
	default: illegal(port); return;
	}
	put(out, 2, length - 2);
	reply(port, out, length, word_at(&packet[7]));
}

static void configuration_get(struct ahci_port *port, const uint8_t *packet)
{
	static const uint8_t features[][12] = {
		{0x00, 0x00, 0x03, 4, 0x00, PROFILE_CDROM, 1, 0}, /* profiles; byte 6: current */
		{0x00, 0x01, 0x0b, 8, 0, 0, 0, 8, 1},             /* core: a serial ATAPI drive */
		{0x00, 0x03, 0x03, 4, 0x29},                      /* removable, in a tray */
		{0x00, 0x10, 0x01, 8, 0, 0, 0x08, 0, 0, 1},       /* random readable: blocks of 2048 */
		{0x00, 0x1e, 0x09, 4},                            /* CD read */
	};
	uint8_t out[8 + sizeof(features)] = {0};
	uint32_t length = 8;

	for (unsigned i = 0; i < sizeof(features) / sizeof(features[0]); i++) {
		uint32_t number = word_at(features[i]), from = word_at(&packet[2]);
		bool wanted = (packet[1] & 3) == 2 ? number == from : number >= from;

		if (!wanted)
			continue;
		__builtin_memcpy(&out[length], features[i], sizeof(features[i]));
		length += 4u + features[i][3];
	}
	put(out, 4, length - 4);
	put(out + 6, 2, port->ejected ? 0 : PROFILE_CDROM);
	reply(port, out, length, word_at(&packet[7]));
}

/* Polled: the medium's events. */
static void events_get(struct ahci_port *port, const uint8_t *packet)
{
	uint8_t out[8] = {0, 6, 4, 0x10};

	if (!(packet[1] & 1)) {
		illegal(port); /* asynchronous notification */
		return;
	}
	if (!(packet[4] & 0x10)) { /* no class that there is */
		const uint8_t none[4] = {0, 2, 0x80, 0x10};

		reply(port, none, sizeof(none), word_at(&packet[7]));
		return;
	}
	out[4] = port->attention && !port->ejected ? 2 : 0; /* new medium */
	out[5] = port->ejected ? 1 : 2;
	reply(port, out, sizeof(out), word_at(&packet[7]));
}

static void disc_information(struct ahci_port *port, const uint8_t *packet)
{
	uint8_t out[34] = {0, 32, 0x0e, 1, 1, 1, 1, 0x20};

	if (packet[1] & 7) {
		illegal(port);
		return;
	}
	__builtin_memset(&out[16], 0xff, 8); /* no lead-in and lead-out to write */
	reply(port, out, sizeof(out), word_at(&packet[7]));
}

static void track_information(struct ahci_port *port, const uint8_t *packet)
{
	uint8_t out[36] = {0, 34, 1, 1, 0, 4, 1};

	put(&out[24], 4, blocks_of(port));
	reply(port, out, sizeof(out), word_at(&packet[7]));
}

static void mechanism_status(struct ahci_port *port, const uint8_t *packet)
{
	const uint8_t out[8] = {0, port->ejected ? 0x10 : 0, 0, 0, 0, 1, 0, 0};

	reply(port, out, sizeof(out), word_at(&packet[8]));
}

/* --- packets --- */

#define NEEDS_MEDIUM 1u
#define REPORTS_LATER 2u /* a pending attention stays pending (SPC-3, 4.6.9.2) */

static const struct packet_row {
	uint8_t opcode, flags;
} packets[] = {
	{0x00, NEEDS_MEDIUM},  /* TEST UNIT READY */
	{0x03, REPORTS_LATER}, /* REQUEST SENSE */
	{0x12, REPORTS_LATER}, /* INQUIRY */
	{0x1a, 0},             /* MODE SENSE (6) */
	{0x1b, 0},             /* START STOP UNIT */
	{0x1e, 0},             /* PREVENT ALLOW MEDIUM REMOVAL */
	{0x25, NEEDS_MEDIUM},  /* READ CAPACITY */
	{0x28, NEEDS_MEDIUM},  /* READ (10) */
	{0x2b, NEEDS_MEDIUM},  /* SEEK (10) */
	{0x43, NEEDS_MEDIUM},  /* READ TOC/PMA/ATIP */
	{0x46, REPORTS_LATER}, /* GET CONFIGURATION */
	{0x4a, REPORTS_LATER}, /* GET EVENT STATUS NOTIFICATION */
	{0x51, NEEDS_MEDIUM},  /* READ DISC INFORMATION */
	{0x52, NEEDS_MEDIUM},  /* READ TRACK INFORMATION */
	{0x5a, 0},             /* MODE SENSE (10) */
	{0xa8, NEEDS_MEDIUM},  /* READ (12) */
	{0xbb, 0},             /* SET CD SPEED */
	{0xbd, 0},             /* MECHANISM STATUS */
	{0xbe, NEEDS_MEDIUM},  /* READ CD */
};

/* Answers what no packet gets past: unknown ones, a pending attention, no medium. */
static bool packet_admit(struct ahci_port *port, uint8_t opcode)
{
	for (unsigned i = 0; i < sizeof(packets) / sizeof(packets[0]); i++) {
		if (packets[i].opcode != opcode)
			continue;
		if (port->attention && !(packets[i].flags & REPORTS_LATER)) {
			port->attention = 0;
			check_condition(port, SENSE_UNIT_ATTENTION, ASC_MEDIUM_CHANGED, 0);
			return false;
		}
		if (packets[i].flags & NEEDS_MEDIUM && port->ejected) {
			check_condition(port, SENSE_NOT_READY, ASC_NO_MEDIUM, 2);
			return false;
		}
		return true;
	}
	check_condition(port, SENSE_ILLEGAL_REQUEST, ASC_INVALID_OPCODE, 0);
	return false;
}

static void packet_start(struct ahci_port *port)
{
	const uint8_t *packet = port->command.packet;

	port->command.count = 3; /* interrupt reason: command complete */
	if (!packet_admit(port, packet[0]))
		return;
	if (packet[0] != 0x03)
		port->sense_key = port->sense_code = port->sense_qualifier = 0;
	switch (packet[0]) {
	case 0x03: request_sense(port, packet); break;
	case 0x12: inquiry(port, packet); break;
	case 0x1a: mode_sense(port, packet, false); break;
	case 0x1b: start_stop(port, packet); break;
	case 0x1e: port->locked = packet[4] & 1; break;
	case 0x25: capacity_read(port); break;
	case 0x28: blocks_read(port, long_at(&packet[2]), word_at(&packet[7])); break;
	case 0x43: toc_read(port, packet); break;
	case 0x46: configuration_get(port, packet); break;
	case 0x4a: events_get(port, packet); break;
	case 0x51: disc_information(port, packet); break;
	case 0x52: track_information(port, packet); break;
	case 0x5a: mode_sense(port, packet, true); break;
	case 0xa8: blocks_read(port, long_at(&packet[2]), long_at(&packet[6])); break;
	case 0xbd: mechanism_status(port, packet); break;
	case 0xbe: cd_read(port, packet); break;
	default: break; /* nothing to do: ready */
	}
}

/* ATA8-ACS, 7.17.6. */
static void identify(struct ahci_port *port)
{
	uint16_t words[256] = {
		[0] = 0x85c0, /* a CD-ROM drive, removable, packets of 12 bytes */
		[49] = 0x0f00, [50] = 0x4000, [53] = 0x0007, [63] = 0x0007, [64] = 0x0003, [65] = 120, [66] = 120,
		[67] = 120,    [68] = 120,    [76] = 0x0006, [80] = 0x01f0, [82] = 0x4210, /* NOP, DEVICE RESET, PACKET */
		[83] = 0x4000, [84] = 0x4000, [85] = 0x4210, [87] = 0x4000, [88] = 0x203f,
	};

	ahci_identify_text(words, 10, 10, (const char *)port->id, AHCI_ID_LENGTH);
	ahci_identify_text(words, 23, 4, "1.0", 3);
	ahci_identify_text(words, 27, 20, "Holon-CD-ROM", 12);
	port->command.pio = true;
	ahci_data_in(port, words, sizeof(words));
}

void ahci_cdrom_start(struct ahci_port *port)
{
	struct ahci_command *command = &port->command;

	switch (command->fis[2]) {
	case 0xa0: packet_start(port); break;
	case 0xa1: identify(port); break;
	case 0x08: /* DEVICE RESET, and EXECUTE DEVICE DIAGNOSTIC: the signature */
	case 0x90:
		command->status = 0;
		command->error = 1;
		command->count = 1;
		command->lba = 0xeb1401;
		break;
	case 0xe5: command->count = 0xff; break;
	case 0xe0:
	case 0xe1:
	case 0xe2:
	case 0xe3:
	case 0xe6: break;
	case 0xef: /* SET FEATURES: transfer modes */
		if (command->fis[3] != 0x03)
			ahci_fail(command, ATA_ABRT);
		break;
	case 0xec: /* IDENTIFY DEVICE, and what disks read with: aborted, with the signature */
	case 0x20:
		command->lba = 0xeb1401;
		ahci_fail(command, ATA_ABRT);
		break;
	default: ahci_fail(command, ATA_ABRT); break;
	}
}

void ahci_cdrom_failed(struct ahci_port *port, enum status status)
{
	if (status == STATUS_RANGE)
		check_condition(port, SENSE_ILLEGAL_REQUEST, ASC_LBA_OUT_OF_RANGE, 0);
	else
		check_condition(port, SENSE_MEDIUM_ERROR, ASC_READ_ERROR, 0);
}
