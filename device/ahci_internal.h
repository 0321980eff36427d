/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ahci_internal.h - what the files of the SATA controller share. Section numbers without a name are those of AHCI 1.3.1.
 *
 * ahci.c: registers, resets, saved state. ahci_port.c: commands out of memory, data, answers (FISes) back into it. ahci_disk.c: what a disk
 * does with a command. ahci_cdrom.c: what a CD-ROM drive does with a packet.
 */
#ifndef HOLON_AHCI_INTERNAL_H
#define HOLON_AHCI_INTERNAL_H

#include "device/ahci.h"
#include "device/pci/pci.h"

#define AHCI_SLOTS 32u
#define AHCI_SEGMENTS 128
#define AHCI_RANGES 512u
#define AHCI_SECTOR 512u
#define AHCI_ID_LENGTH 20

/* PxCMD, 3.3.7. */
#define PXCMD_ST 0x00000001u
#define PXCMD_SUD 0x00000002u
#define PXCMD_POD 0x00000004u
#define PXCMD_CLO 0x00000008u
#define PXCMD_FRE 0x00000010u
#define PXCMD_CCS 0x00001f00u
#define PXCMD_FR 0x00004000u
#define PXCMD_CR 0x00008000u
#define PXCMD_ATAPI 0x01000000u
#define PXCMD_DLAE 0x02000000u
#define PXCMD_ICC 0xf0000000u

/* PxIS, 3.3.5. */
#define PXIS_DHRS 0x00000001u
#define PXIS_PSS 0x00000002u
#define PXIS_PCS 0x00000040u
#define PXIS_PRCS 0x00400000u
#define PXIS_HBFS 0x20000000u
#define PXIS_TFES 0x40000000u

/* ATA's status and error registers. */
#define ATA_ERR 0x01u
#define ATA_DRQ 0x08u
#define ATA_DSC 0x10u
#define ATA_DF 0x20u
#define ATA_DRDY 0x40u
#define ATA_BSY 0x80u
#define ATA_ABRT 0x04u
#define ATA_IDNF 0x10u
#define ATA_UNC 0x40u

/* A command that a port executes. Copies: nothing of it is read from the guest's memory twice. */
struct ahci_command {
	unsigned slot;
	uint8_t fis[20];
	uint8_t packet[16];
	uint64_t header; /* gpa: PRDBC goes back there */
	uint64_t prds;   /* gpa of the PRD table */
	unsigned prd_count;
	bool pio;       /* the answer is preceded by a PIO Setup FIS */
	bool flush_end; /* a flush before the answer: FUA, or the write cache is off */
	/* What is left to do, in requests to the disk. */
	enum block_operation operation;
	uint64_t offset, left;
	unsigned ranges, range_next;
	/* Where in the PRD table we are, and how much was transferred. */
	unsigned prd;
	uint32_t prd_offset;
	uint32_t transferred;
	/* The answer's registers. */
	uint8_t status, error;
	uint16_t count;
	uint64_t lba;
};

struct ahci_port {
	struct ahci *ahci;
	unsigned number;
	struct block *block; /* NULL: nothing is plugged in */
	bool cdrom;
	uint8_t id[AHCI_ID_LENGTH];
	/* Registers, 3.3. */
	uint64_t clb, fb;
	uint32_t is, ie, cmd, tfd, sig, ssts, sctl, serr, ci;
	uint8_t halted; /* after an error, until ST is cleared */
	/* The drive's own state. */
	uint8_t write_cache, multiple, soft_reset;
	uint8_t sense_key, sense_code, sense_qualifier;
	uint8_t attention; /* UNIT ATTENTION is to be reported */
	uint8_t ejected, locked;
	/* Not saved: saving drains. */
	bool active;    /* a command is being executed */
	bool under_way; /* its request is with the backend */
	bool stopping;  /* ST was cleared, or a reset wanted, meanwhile */
	bool resetting; /* COMRESET when the request is back */
	struct ahci_command command;
	struct block_request request;
	unsigned segments;
	struct block_segment segment[AHCI_SEGMENTS];
	uint64_t gpa[AHCI_SEGMENTS];
	uint64_t range[AHCI_RANGES]; /* of a TRIM */
};

struct ahci {
	struct device device;
	struct pci_function function;
	struct guest_memory *memory;
	struct host_mutex lock; /* all that follows */
	uint32_t control;       /* GHC's IE */
	uint32_t is;
	bool resetting; /* GHC.HR stands until every request is back */
	bool running;   /* some thread serves ports and submits; it will look again */
	struct ahci_port port[AHCI_PORTS];
};

/* Everything under ahci->lock. */

/* ahci.c */
void ahci_interrupts_update(struct ahci *ahci);
void ahci_port_interrupt(struct ahci_port *port, uint32_t cause);
/* A port's request is back and it was to stop: does what waited for that. */
void ahci_port_stopped(struct ahci_port *port);

/* ahci_port.c. Serves what is pending at all ports; drops the lock while it submits. */
void ahci_run(struct ahci *ahci);
/* Sets signature and task file as after a reset, and sends them to the host if it receives (FRE). */
void ahci_signature_send(struct ahci_port *port);
/* Data between the PRD table and a buffer; what does not fit is left out. */
void ahci_data_in(struct ahci_port *port, const void *bytes, uint32_t length);
bool ahci_data_out(struct ahci_port *port, void *bytes, uint32_t length);
static inline void ahci_fail(struct ahci_command *command, uint8_t error)
{
	command->status = ATA_DRDY | ATA_DSC | ATA_ERR;
	command->error = error;
}

/* Start a command: set what is left to do, or the answer. */
void ahci_disk_start(struct ahci_port *port);
void ahci_cdrom_start(struct ahci_port *port);
void ahci_identify_text(uint16_t *words, unsigned first, unsigned count, const char *text, unsigned length);
/* The backend failed: the answer. */
void ahci_disk_failed(struct ahci_port *port, enum status status);
void ahci_cdrom_failed(struct ahci_port *port, enum status status);
/* The drive forgets what its driver set. */
void ahci_drive_reset(struct ahci_port *port);

#endif
