/* SPDX-License-Identifier: Apache-2.0 */
/*
 * code_dump.c - guest and host code of each translated block, side by side in a file; and a map of blocks for `perf report`.
 *
 * A block looks like this: offsets in the block, bytes, text; the guest's instruction beside the first host instruction made of it.
 *
 *   block 7: vcpu 0, guest 0xffffffff81000180 (RAM 0x1000180), 64-bit, key 0x218: 1 instructions, 3 bytes -> 0x7f1204c01240, 19 bytes
 *                                            | 0000 4c 8d b6 80 fe ff ff        lea r14, [r14-0x180]
 *   0000 48 01 d8        add rax, rbx        | 000f 48 01 d8                    add rax, rbx
 *
 * Each block is written out before it runs, so that the file is whole up to where something went wrong.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/code_dump.h"
#include "control/disassemble.h"

#define LINES 32768 /* a block has less code than that */
#define LEFT 58     /* columns */
#define GUEST_BYTES 8
#define HOST_BYTES 11

struct code_dump {
	struct code_watch watch;
	FILE *file;
	pthread_mutex_t lock;
	unsigned long long blocks;
	const struct disassembler *disassembler;
	uint8_t code[UINT16_MAX + 1];
	struct disassembly_line guest[256], host[LINES];
	unsigned guests, hosts;
};

/* "48 01 d8"; what is longer ends in "..". */
static void bytes_format(char *to, size_t size, const uint8_t *bytes, unsigned length, unsigned most)
{
	size_t at = 0;

	*to = 0;
	for (unsigned i = 0; i < length && i < most && at < size; i++)
		at += (size_t)snprintf(to + at, size - at, "%02x ", bytes[i]);
	if (length > most && at < size)
		snprintf(to + at - 1, size - at, "..");
}

static void guest_format(const struct code_dump *dump, const struct code_block *block, const struct code_span *span, char *to,
			 size_t size)
{
	char bytes[64];
	const char *text = "";

	for (unsigned i = 0; i < dump->guests; i++)
		if (dump->guest[i].offset == span->guest)
			text = dump->guest[i].text;
	bytes_format(bytes, sizeof(bytes), block->guest + span->guest, span->guest_length, GUEST_BYTES);
	snprintf(to, size, "%04x %-*s %s", span->guest, GUEST_BYTES * 3, bytes, text);
}

static void line_write(struct code_dump *dump, const char *left, unsigned offset, const uint8_t *bytes, unsigned length,
		       const char *text)
{
	char right[64];

	bytes_format(right, sizeof(right), bytes, length, HOST_BYTES);
	fprintf(dump->file, "%-*s| %04x %-*s %s\n", LEFT, left, offset, HOST_BYTES * 3, right, text);
}

static void data_write(struct code_dump *dump, const struct code_block *block, unsigned from, unsigned to)
{
	uint32_t word;
	char text[32];

	for (; from + sizeof(word) <= to; from += sizeof(word)) {
		memcpy(&word, block->host + from, sizeof(word));
		snprintf(text, sizeof(text), ".long 0x%x", word);
		line_write(dump, "", from, block->host + from, sizeof(word), text);
	}
	if (to - from == sizeof(uint16_t))
		line_write(dump, "", from, block->host + from, sizeof(uint16_t), ".short");
}

/* `at`: the first line of the host's that may be the span's. Returns the next span's. */
static unsigned code_write(struct code_dump *dump, const struct code_block *block, const char *left, unsigned at, unsigned from,
			   unsigned to)
{
	while (at < dump->hosts && dump->host[at].offset < from)
		at++;
	for (; at < dump->hosts && dump->host[at].offset < to; at++) {
		unsigned offset = dump->host[at].offset;
		unsigned end = at + 1 < dump->hosts ? dump->host[at + 1].offset : block->host_length;

		line_write(dump, left, offset, block->host + offset, end - offset, dump->host[at].text);
		left = "";
	}
	if (*left) /* an instruction that takes no code, or no disassembler */
		line_write(dump, left, from, block->host + from, to - from, "");
	return at;
}

static unsigned span_end(const struct code_block *block, unsigned span)
{
	return span + 1 < block->spans ? block->span[span + 1].host : block->host_length;
}

/* The disassembler sees NOPs where data is, so that it finds every instruction behind. */
static void block_disassemble(struct code_dump *dump, const struct code_block *block)
{
	dump->guests = dump->hosts = 0;
	if (!dump->disassembler || block->host_length > sizeof(dump->code))
		return;
	memcpy(dump->code, block->host, block->host_length);
	for (unsigned i = 0; i < block->spans; i++)
		if (block->span[i].kind == CODE_DATA)
			memset(dump->code + block->span[i].host, 0x90, span_end(block, i) - block->span[i].host);
	dump->hosts = dump->disassembler->text(dump->code, block->host_length, block->host_address, 8, dump->host, LINES);
	dump->guests = dump->disassembler->text(block->guest, block->guest_length, block->address, block->code_size, dump->guest,
						sizeof(dump->guest) / sizeof(dump->guest[0]));
}

static void block_write(struct code_dump *dump, const struct code_block *block)
{
	unsigned instructions = 0, at = 0;
	char left[160];

	for (unsigned i = 0; i < block->spans; i++)
		instructions += block->span[i].kind == CODE_INSN;
	block_disassemble(dump, block);
	fprintf(dump->file,
		"block %llu: vcpu %u, guest 0x%llx (RAM 0x%llx), %u-bit, key 0x%x: %u instructions, %u bytes -> 0x%llx, %u bytes\n",
		dump->blocks++, block->vcpu, (unsigned long long)block->address, (unsigned long long)block->ram,
		block->code_size * 8, block->key, instructions, block->guest_length, (unsigned long long)block->host_address,
		block->host_length);
	for (unsigned i = 0; i < block->spans; i++) {
		const struct code_span *span = &block->span[i];

		left[0] = 0;
		if (span->kind == CODE_INSN)
			guest_format(dump, block, span, left, sizeof(left));
		if (span->kind == CODE_DATA)
			data_write(dump, block, span->host, span_end(block, i));
		else
			at = code_write(dump, block, left, at, span->host, span_end(block, i));
	}
	fputc('\n', dump->file);
	fflush(dump->file);
}

static void dump_block(struct code_watch *watch, const struct code_block *block)
{
	struct code_dump *dump = (struct code_dump *)watch;

	pthread_mutex_lock(&dump->lock);
	block_write(dump, block);
	pthread_mutex_unlock(&dump->lock);
}

/* One whole line a write, so that vcpus may write at the same time. */
static void perf_block(struct code_watch *watch, const struct code_block *block)
{
	fprintf(((struct code_dump *)watch)->file, "%llx %x guest_%llx_key_%x\n", (unsigned long long)block->host_address,
		block->host_length, (unsigned long long)block->address, block->key);
}

static enum status watch_open(struct code_watch **watch, void (*block)(struct code_watch *, const struct code_block *),
			      const char *path, struct reason *why)
{
	struct code_dump *dump = calloc(1, sizeof(*dump));

	if (!dump)
		return reason_give(why, STATUS_NO_MEMORY, "%s: no memory to write it with", path);
	dump->file = fopen(path, "we");
	if (!dump->file) {
		free(dump);
		return reason_give(why, STATUS_IO, "%s: %s; name a file that can be written", path, strerror(errno));
	}
	pthread_mutex_init(&dump->lock, NULL);
	dump->watch.block = block;
	dump->watch.next = *watch;
	*watch = &dump->watch;
	return STATUS_OK;
}

enum status code_dump_open(struct code_watch **watch, const char *path, const char *disassembler, struct reason *why)
{
	const struct disassembler *found = disassembler_find(disassembler);
	enum status status = watch_open(watch, dump_block, path, why);

	if (status)
		return status;
	((struct code_dump *)*watch)->disassembler = found;
	fprintf(((struct code_dump *)*watch)->file, "disassembled by %s\n\n",
		found ? found->name : "nothing: install libzydis or objdump for more than bytes");
	return STATUS_OK;
}

enum status perf_map_open(struct code_watch **watch, struct reason *why)
{
	char path[64];

	snprintf(path, sizeof(path), "/tmp/perf-%ld.map", (long)getpid());
	return watch_open(watch, perf_block, path, why);
}

void code_dump_close(struct code_watch *watch)
{
	while (watch) {
		struct code_dump *dump = (struct code_dump *)watch;

		watch = watch->next;
		fclose(dump->file);
		pthread_mutex_destroy(&dump->lock);
		free(dump);
	}
}
