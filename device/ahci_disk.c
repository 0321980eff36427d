/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ahci_disk.c - a SATA disk: the commands of ATA8-ACS that systems use, without queueing (NCQ).
 */
#include "device/ahci_internal.h"

#define LBA28_MAX UINT64_C(0x0fffffff)
#define DEVICE_LBA 0x40
#define FEATURE_FUA 1u
#define MULTIPLE_MAX 16
#define TRIM_BLOCKS (AHCI_RANGES * 8 / AHCI_SECTOR)

static uint64_t sectors_of(const struct ahci_port *port)
{
	return port->block->size / AHCI_SECTOR;
}

static uint64_t fis_lba(const struct ahci_command *command, bool extended)
{
	const uint8_t *fis = command->fis;
	uint64_t lba = fis[4] | (uint64_t)fis[5] << 8 | (uint64_t)fis[6] << 16;

	if (extended)
		return lba | (uint64_t)fis[8] << 24 | (uint64_t)fis[9] << 32 | (uint64_t)fis[10] << 40;
	return lba | (uint64_t)(fis[7] & 15) << 24;
}

static uint32_t fis_count(const struct ahci_command *command, bool extended)
{
	uint32_t count = command->fis[12];

	if (extended) {
		count |= (uint32_t)command->fis[13] << 8;
		return count ? count : 65536;
	}
	return count ? count : 256;
}

/* Range, alignment and address kind; fails the command where one is wrong. */
static bool range_take(struct ahci_port *port, bool extended)
{
	struct ahci_command *command = &port->command;
	uint64_t lba = fis_lba(command, extended), size = sectors_of(port);
	uint32_t count = fis_count(command, extended);

	command->lba = lba;
	if (!(command->fis[7] & DEVICE_LBA)) {
		ahci_fail(command, ATA_ABRT); /* cylinders and heads */
		return false;
	}
	if (lba > size || count > size - lba) {
		ahci_fail(command, ATA_IDNF);
		return false;
	}
	command->offset = lba * AHCI_SECTOR;
	command->left = (uint64_t)count * AHCI_SECTOR;
	if ((command->offset | command->left) & (port->block->block_size - 1)) {
		ahci_fail(command, ATA_IDNF);
		return false;
	}
	return true;
}

static void transfer_start(struct ahci_port *port, bool write, bool extended, bool pio, bool stable)
{
	struct ahci_command *command = &port->command;

	if (write && port->block->readonly) {
		ahci_fail(command, ATA_ABRT);
		return;
	}
	if (!range_take(port, extended))
		return;
	command->operation = write ? BLOCK_WRITE : BLOCK_READ;
	command->pio = pio;
	command->flush_end = write && (stable || !port->write_cache);
}

static void verify_start(struct ahci_port *port, bool extended)
{
	if (range_take(port, extended))
		port->command.left = 0; /* the backend says no more of it than that it is there */
}

void ahci_identify_text(uint16_t *words, unsigned first, unsigned count, const char *text, unsigned length)
{
	for (unsigned i = 0; i < 2 * count; i++) {
		uint8_t letter = i < length && text[i] ? (uint8_t)text[i] : ' ';

		if (letter == ' ')
			length = i < length ? i : length; /* what is behind the end is blank */
		words[first + i / 2] = (uint16_t)(words[first + i / 2] | (i & 1 ? letter : letter << 8));
	}
}

/* ATA8-ACS, 7.16.7: the words that are not 0. */
static void identify(struct ahci_port *port)
{
	static const char model[] = "Holon-SATA-disk";
	uint64_t sectors = sectors_of(port), short_sectors = sectors < LBA28_MAX ? sectors : LBA28_MAX;
	bool trim = port->block->discard_granularity && !port->block->readonly;
	uint16_t words[256] = {
		[0] = 0x0040, /* a fixed disk */
		[1] = 16383,
		[3] = 16,
		[6] = 63,
		[47] = 0x8000 | MULTIPLE_MAX,
		[48] = 0x4000,
		[49] = 0x0f00, /* LBA, DMA, IORDY, standby timers */
		[50] = 0x4000,
		[53] = 0x0007,
		[59] = port->multiple ? (uint16_t)(0x100 | port->multiple) : 0,
		[60] = (uint16_t)short_sectors,
		[61] = (uint16_t)(short_sectors >> 16),
		[63] = 0x0007,
		[64] = 0x0003,
		[65] = 120,
		[66] = 120,
		[67] = 120,
		[68] = 120,
		[69] = trim ? 0x4000 : 0,
		[75] = 0,
		[76] = 0x0006, /* SATA 1.5 and 3 Gb/s */
		[80] = 0x01f0, /* ATA-4 to ATA8-ACS */
		[82] = 0x4020, /* NOP; the write cache */
		[83] = 0x7400, /* FLUSH CACHE, FLUSH CACHE EXT, 48 bits */
		[84] = 0x4040, /* WRITE DMA FUA EXT */
		[85] = (uint16_t)(0x4000 | (port->write_cache ? 0x20 : 0)),
		[86] = 0x3400,
		[87] = 0x4040,
		[88] = 0x203f,
		[100] = (uint16_t)sectors,
		[101] = (uint16_t)(sectors >> 16),
		[102] = (uint16_t)(sectors >> 32),
		[103] = (uint16_t)(sectors >> 48),
		[105] = trim ? TRIM_BLOCKS : 0,
		[106] = 0x6003, /* eight logical sectors in a physical one: the host's pages */
		[169] = trim,
		[217] = 1, /* does not rotate */
	};
	uint8_t sum = 0xa5;

	ahci_identify_text(words, 10, 10, (const char *)port->id, AHCI_ID_LENGTH);
	ahci_identify_text(words, 23, 4, "1.0", 3);
	ahci_identify_text(words, 27, 20, model, sizeof(model) - 1);
	words[255] = 0xa5;
	for (unsigned i = 0; i < 255; i++)
		sum = (uint8_t)(sum + words[i] + (words[i] >> 8));
	words[255] |= (uint16_t)((uint8_t)-sum << 8);
	port->command.pio = true;
	ahci_data_in(port, words, sizeof(words));
}

static void features_set(struct ahci_port *port)
{
	switch (port->command.fis[3]) {
	case 0x02: port->write_cache = 1; break;
	case 0x82:
		/* What the cache holds is to be stable when it is off. */
		port->write_cache = 0;
		port->command.flush_end = true;
		break;
	case 0x03: /* the transfer mode: any will do */
	case 0x55: /* read ahead off */
	case 0xaa: break;
	default: ahci_fail(&port->command, ATA_ABRT); break;
	}
}

/* DATA SET MANAGEMENT with TRIM: all or nothing, as the ranges are checked before the first is let go. */
static void trim_start(struct ahci_port *port)
{
	struct ahci_command *command = &port->command;
	uint32_t blocks = command->fis[12] | (uint32_t)command->fis[13] << 8;
	uint64_t size = sectors_of(port);

	if (!(command->fis[3] & 1) || !blocks || blocks > TRIM_BLOCKS || port->block->readonly ||
	    !ahci_data_out(port, port->range, blocks * AHCI_SECTOR)) {
		ahci_fail(command, ATA_ABRT);
		return;
	}
	for (unsigned i = 0; i < blocks * AHCI_SECTOR / 8; i++) {
		uint64_t lba = port->range[i] & UINT64_C(0xffffffffffff), count = port->range[i] >> 48;

		if (lba > size || count > size - lba) {
			ahci_fail(command, ATA_IDNF);
			return;
		}
	}
	command->ranges = blocks * AHCI_SECTOR / 8;
}

void ahci_disk_start(struct ahci_port *port)
{
	struct ahci_command *command = &port->command;

	command->count = (uint16_t)(command->fis[12] | command->fis[13] << 8);
	command->lba = fis_lba(command, true);
	switch (command->fis[2]) {
	case 0xc8:
	case 0xc9: transfer_start(port, false, false, false, false); break; /* READ DMA */
	case 0x25: transfer_start(port, false, true, false, false); break;
	case 0x20:
	case 0x21:
	case 0xc4: transfer_start(port, false, false, true, false); break; /* READ SECTORS, READ MULTIPLE */
	case 0x24:
	case 0x29: transfer_start(port, false, true, true, false); break;
	case 0xca:
	case 0xcb: transfer_start(port, true, false, false, false); break; /* WRITE DMA */
	case 0x35: transfer_start(port, true, true, false, false); break;
	case 0x3d: transfer_start(port, true, true, false, true); break; /* WRITE DMA FUA EXT */
	case 0x30:
	case 0x31:
	case 0xc5: transfer_start(port, true, false, true, false); break; /* WRITE SECTORS, WRITE MULTIPLE */
	case 0x34:
	case 0x39: transfer_start(port, true, true, true, false); break;
	case 0xce: transfer_start(port, true, true, true, true); break; /* WRITE MULTIPLE FUA EXT */
	case 0x40:
	case 0x41: verify_start(port, false); break;
	case 0x42: verify_start(port, true); break;
	case 0xe7:
	case 0xea: command->flush_end = true; break;
	case 0xec: identify(port); break;
	case 0xef: features_set(port); break;
	case 0x06: trim_start(port); break;
	case 0xc6: /* SET MULTIPLE MODE */
		if (command->fis[12] > MULTIPLE_MAX || command->fis[12] & (command->fis[12] - 1))
			ahci_fail(command, ATA_ABRT);
		else
			port->multiple = command->fis[12];
		break;
	case 0xe5: command->count = 0xff; break; /* CHECK POWER MODE: active */
	case 0xe0:
	case 0xe2:
	case 0xe6: command->flush_end = true; break; /* STANDBY IMMEDIATE, STANDBY, SLEEP */
	case 0xe1:
	case 0xe3: break; /* IDLE IMMEDIATE, IDLE */
	case 0x91: break; /* INITIALIZE DEVICE PARAMETERS: of cylinders and heads */
	case 0x90:        /* EXECUTE DEVICE DIAGNOSTIC */
		command->error = 1;
		command->count = 1;
		command->lba = 1;
		break;
	default: ahci_fail(command, ATA_ABRT); break;
	}
}

void ahci_disk_failed(struct ahci_port *port, enum status status)
{
	struct ahci_command *command = &port->command;
	bool read = command->operation == BLOCK_READ && port->request.operation == BLOCK_READ;

	ahci_fail(command, status == STATUS_RANGE ? ATA_IDNF : read ? ATA_UNC : ATA_ABRT);
	command->lba = port->request.offset / AHCI_SECTOR;
}

void ahci_drive_reset(struct ahci_port *port)
{
	port->write_cache = 1;
	port->multiple = 0;
	port->sense_key = port->sense_code = port->sense_qualifier = 0;
	port->attention = port->cdrom;
}
