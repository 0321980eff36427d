/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nvme_log.c - what the controller tells of itself: Identify data (NVM Express 1.4, 5.15) and log pages (5.14).
 */
#include "device/nvme_internal.h"

#define IDENTIFY_NAMESPACE 0x00
#define IDENTIFY_CONTROLLER 0x01
#define IDENTIFY_ACTIVE 0x02
#define IDENTIFY_DESCRIPTORS 0x03
#define LOG_ERRORS 0x01
#define LOG_SMART 0x02
#define LOG_FIRMWARE 0x03
#define LOG_NAMESPACES 0x04
#define FIRMWARE "1.0"
#define KELVIN 273u

static void put(uint8_t *out, unsigned offset, unsigned size, uint64_t value)
{
	for (unsigned i = 0; i < size; i++)
		out[offset + i] = (uint8_t)(value >> (8 * i));
}

/* ASCII fields are filled up with blanks (1.5). */
static void put_text(uint8_t *out, unsigned offset, unsigned size, const char *text)
{
	for (unsigned i = 0; i < size; i++)
		out[offset + i] = *text ? (uint8_t)*text++ : ' ';
}

/* The namespace's EUI-64 and the subsystem's name come from the serial number (FNV-1a), so a guest finds its disk again. */
static uint64_t identity_hash(const struct nvme *nvme, uint64_t hash)
{
	for (unsigned i = 0; i < NVME_ID_LENGTH; i++)
		hash = (hash ^ nvme->id[i]) * UINT64_C(0x100000001b3);
	return hash;
}

static void identify_controller(const struct nvme *nvme, uint8_t *out)
{
	char name[80];
	uint64_t first = identity_hash(nvme, UINT64_C(0xcbf29ce484222325)), second = identity_hash(nvme, first);

	put(out, 0, 2, pci_config_word(&nvme->function, PCI_VENDOR_ID));
	put(out, 2, 2, pci_config_word(&nvme->function, PCI_SUBSYSTEM_VENDOR_ID));
	put_text(out, 24, 40, "Holon NVMe disk");
	put_text(out, 4, 20, "");
	for (unsigned i = 0; i < NVME_ID_LENGTH && nvme->id[i]; i++)
		out[4 + i] = nvme->id[i];
	put_text(out, 64, 8, FIRMWARE);
	out[77] = NVME_MDTS;
	put(out, 80, 4, 0x00010400); /* VER */
	put(out, 92, 4, 0x100);      /* OAES: namespace attribute notices */
	out[111] = 1;                /* CNTRLTYPE: I/O */
	out[258] = 3;                /* ACL */
	out[259] = NVME_EVENTS_MAX - 1;
	out[260] = 0x03; /* FRMW: one slot, read-only */
	out[261] = 0x04; /* LPA: log page offsets */
	put(out, 266, 2, KELVIN + 70);
	put(out, 268, 2, KELVIN + 80);
	out[512] = 0x66;
	out[513] = 0x44;
	put(out, 516, 4, 1);    /* NN */
	put(out, 520, 2, 0x0c); /* ONCS: write zeroes, dataset management */
	out[525] = 0x07;        /* VWC: there is one, and Flush takes all namespaces */
	host_format(name, sizeof(name), "nqn.2014-08.org.nvmexpress:uuid:%08x-%04x-4%03x-8%03x-%012llx", (uint32_t)(first >> 32),
		    (uint32_t)(first >> 16) & 0xffff, (uint32_t)first & 0xfff, (uint32_t)(second >> 48) & 0xfff,
		    (unsigned long long)(second & 0xffffffffffff));
	for (unsigned i = 0; name[i]; i++)
		out[768 + i] = (uint8_t)name[i];
	put(out, 2048, 2, 2500); /* PSD0: 25 W */
}

static void identify_namespace(const struct nvme *nvme, uint8_t *out)
{
	const struct block *block = nvme->block;
	uint64_t blocks = block->size / block->block_size, preferred = NVME_PAGE / block->block_size - 1;
	uint64_t granularity = block->discard_granularity / block->block_size;

	put(out, 0, 8, blocks);
	put(out, 8, 8, blocks);
	put(out, 16, 8, blocks);
	out[24] = 0x10; /* NSFEAT: OPTPERF, the fields from 64 on */
	/* DLFEAT: write zeroes deallocates if asked to; what is deallocated reads as zeroes, without which Linux does not ask. */
	out[33] = block->discard_granularity ? 8 | !block->discard_undefined : 0;
	put(out, 64, 2, preferred);
	put(out, 66, 2, preferred);
	put(out, 68, 2, granularity && granularity <= 0x10000 ? granularity - 1 : preferred);
	put(out, 70, 2, preferred);
	put(out, 72, 2, preferred);
	out[99] = block->readonly; /* NSATTR */
	put(out, 120, 8, __builtin_bswap64(identity_hash(nvme, UINT64_C(0xcbf29ce484222325))));
	out[130] = (uint8_t)__builtin_ctz(block->block_size); /* LBAF0.LBADS */
}

bool nvme_identify(const struct nvme *nvme, uint8_t structure, uint32_t namespace, uint8_t *out, uint16_t *status)
{
	__builtin_memset(out, 0, NVME_PAGE);
	*status = NVME_OK;
	switch (structure) {
	case IDENTIFY_NAMESPACE:
		if (namespace == 1)
			identify_namespace(nvme, out);
		else if (namespace == NVME_ALL_NAMESPACES) /* what all have in common */
			out[130] = (uint8_t)__builtin_ctz(nvme->block->block_size);
		else
			*status = NVME_INVALID_NAMESPACE;
		break;
	case IDENTIFY_CONTROLLER: identify_controller(nvme, out); break;
	case IDENTIFY_ACTIVE:
		if (namespace >= 0xfffffffe)
			*status = NVME_INVALID_NAMESPACE;
		else if (namespace == 0)
			put(out, 0, 4, 1);
		break;
	case IDENTIFY_DESCRIPTORS:
		if (namespace != 1)
			*status = NVME_INVALID_NAMESPACE;
		out[0] = 1; /* an EUI-64 */
		out[1] = 8;
		put(out, 4, 8, __builtin_bswap64(identity_hash(nvme, UINT64_C(0xcbf29ce484222325))));
		break;
	default: *status = NVME_INVALID_FIELD; break;
	}
	return *status == NVME_OK;
}

static void log_smart(const struct nvme *nvme, uint8_t *out)
{
	const struct nvme_smart *smart = &nvme->smart;

	put(out, 1, 2, KELVIN + 37);
	out[3] = 100; /* available spare, and its threshold */
	out[4] = 10;
	put(out, 32, 8, (smart->sectors_read + 999) / 1000);
	put(out, 48, 8, (smart->sectors_written + 999) / 1000);
	put(out, 64, 8, smart->reads);
	put(out, 80, 8, smart->writes);
	put(out, 112, 8, 1); /* power cycles */
	put(out, 160, 8, smart->media_errors);
}

static const uint8_t page_type[] = {[LOG_ERRORS] = 0, [LOG_SMART] = 1, [LOG_NAMESPACES] = 2};

bool nvme_log(struct nvme *nvme, uint8_t page, bool retain, uint8_t *out, uint32_t *length)
{
	__builtin_memset(out, 0, NVME_PAGE);
	switch (page) {
	case LOG_ERRORS: *length = 64; break; /* one entry, never used: error count 0 */
	case LOG_SMART:
		*length = 512;
		log_smart(nvme, out);
		break;
	case LOG_FIRMWARE:
		*length = 512;
		out[0] = 1;
		put_text(out, 8, 8, FIRMWARE);
		return true;
	case LOG_NAMESPACES:
		*length = NVME_PAGE;
		put(out, 0, 4, nvme->namespace_changed);
		if (!retain)
			nvme->namespace_changed = 0;
		break;
	default: return false;
	}
	if (!retain)
		nvme->event_masked &= (uint8_t) ~(1u << page_type[page]);
	return true;
}
