/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decompress.c - gzip, xz, lzma, zstd and lz4 (the kernel's "legacy" framing), told apart by their first bytes. The input is a file of
 * unknown origin: the output goes into a mapping of fixed size, committed as it fills, and ends there. Behind the stream a
 * bzImage has the unpacked length and padding: ignored.
 */
#include <lz4.h>
#include <lzma.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <zlib.h>
#include <zstd.h>

#include "control/decompress.h"

#define LZMA_MEMORY_MAX (UINT64_C(256) << 20)
#define LZ4_CHUNK_MAX (8 << 20)
#define PAGE_MASK UINT64_C(4095)

/* Each unpacks into out[0, *length); *length comes in as the capacity. */
static enum status gzip_unpack(const uint8_t *in, uint64_t in_length, uint8_t *out, uint64_t *length)
{
	z_stream stream = {.next_in = (uint8_t *)in, .next_out = out};
	int result;

	if (in_length > UINT32_MAX)
		in_length = UINT32_MAX;
	stream.avail_in = (uInt)in_length;
	stream.avail_out = (uInt)*length;
	if (inflateInit2(&stream, 16 + MAX_WBITS) != Z_OK)
		return STATUS_NO_MEMORY;
	result = inflate(&stream, Z_FINISH);
	*length = stream.total_out;
	inflateEnd(&stream);
	if (result == Z_STREAM_END)
		return STATUS_OK;
	return result == Z_MEM_ERROR ? STATUS_NO_MEMORY : stream.avail_out ? STATUS_INVALID : STATUS_NO_SPACE;
}

static enum status lzma_family_unpack(const uint8_t *in, uint64_t in_length, uint8_t *out, uint64_t *length, bool xz)
{
	lzma_stream stream = LZMA_STREAM_INIT;
	lzma_ret result;

	result = xz ? lzma_stream_decoder(&stream, LZMA_MEMORY_MAX, 0) : lzma_alone_decoder(&stream, LZMA_MEMORY_MAX);
	if (result != LZMA_OK)
		return STATUS_NO_MEMORY;
	stream.next_in = in;
	stream.avail_in = in_length;
	stream.next_out = out;
	stream.avail_out = *length;
	result = lzma_code(&stream, LZMA_FINISH);
	*length = stream.total_out;
	in_length = stream.avail_out;
	lzma_end(&stream);
	if (result == LZMA_STREAM_END)
		return STATUS_OK;
	if (result == LZMA_MEM_ERROR || result == LZMA_MEMLIMIT_ERROR)
		return STATUS_NO_MEMORY;
	return in_length ? STATUS_INVALID : STATUS_NO_SPACE;
}

static enum status xz_unpack(const uint8_t *in, uint64_t in_length, uint8_t *out, uint64_t *length)
{
	return lzma_family_unpack(in, in_length, out, length, true);
}

static enum status lzma_unpack(const uint8_t *in, uint64_t in_length, uint8_t *out, uint64_t *length)
{
	return lzma_family_unpack(in, in_length, out, length, false);
}

static enum status zstd_unpack(const uint8_t *in, uint64_t in_length, uint8_t *out, uint64_t *length)
{
	ZSTD_DCtx *context = ZSTD_createDCtx();
	ZSTD_inBuffer input = {in, in_length, 0};
	ZSTD_outBuffer output = {out, *length, 0};
	size_t left = 1;

	if (!context)
		return STATUS_NO_MEMORY;
	/* One frame; kernels are packed with windows of up to 128 MiB. */
	while (left && !ZSTD_isError(left) && input.pos < input.size && output.pos < output.size) {
		size_t before = input.pos + output.pos;

		left = ZSTD_decompressStream(context, &output, &input);
		if (left && input.pos + output.pos == before)
			break;
	}
	ZSTD_freeDCtx(context);
	*length = output.pos;
	if (!left)
		return STATUS_OK;
	return output.pos == output.size ? STATUS_NO_SPACE : STATUS_INVALID;
}

static uint32_t word_at(const uint8_t *in)
{
	uint32_t word;

	memcpy(&word, in, sizeof(word));
	return word;
}

/* Magic, then blocks: a length word and so many bytes, each unpacking to 8 MiB at most. */
static enum status lz4_unpack(const uint8_t *in, uint64_t in_length, uint8_t *out, uint64_t *length)
{
	uint64_t capacity = *length, at = 4;

	*length = 0;
	while (in_length - at > 4) {
		uint32_t block = word_at(in + at);
		uint64_t room = capacity - *length;
		int got;

		/* What is no block any more is what a bzImage has behind the stream. */
		if (!block || block > in_length - at - 4 || block > (uint32_t)LZ4_compressBound(LZ4_CHUNK_MAX))
			return *length && in_length - at <= 8 ? STATUS_OK : STATUS_INVALID;
		got = LZ4_decompress_safe((const char *)in + at + 4, (char *)out + *length, (int)block,
					  room < LZ4_CHUNK_MAX ? (int)room : LZ4_CHUNK_MAX);
		if (got < 0)
			return room < LZ4_CHUNK_MAX ? STATUS_NO_SPACE : STATUS_INVALID;
		*length += (uint64_t)got;
		at += 4 + (uint64_t)block;
	}
	return *length ? STATUS_OK : STATUS_INVALID;
}

static const struct format {
	const char *name;
	uint8_t magic[6];
	unsigned magic_length;
	enum status (*unpack)(const uint8_t *in, uint64_t in_length, uint8_t *out, uint64_t *length);
} formats[] = {
	{"gzip", {0x1f, 0x8b, 0x08}, 3, gzip_unpack},       {"xz", {0xfd, '7', 'z', 'X', 'Z', 0x00}, 6, xz_unpack},
	{"zstd", {0x28, 0xb5, 0x2f, 0xfd}, 4, zstd_unpack}, {"lz4", {0x02, 0x21, 0x4c, 0x18}, 4, lz4_unpack},
	{"lzma", {0x5d, 0x00, 0x00}, 3, lzma_unpack},
};

static const struct format *format_find(const uint8_t *in, uint64_t in_length)
{
	unsigned i;

	for (i = 0; i < sizeof(formats) / sizeof(formats[0]); i++)
		if (in_length > formats[i].magic_length && !memcmp(in, formats[i].magic, formats[i].magic_length))
			return &formats[i];
	return NULL;
}

enum status decompress_bounded(const uint8_t *in, uint64_t in_length, uint64_t limit, uint8_t **out, uint64_t *out_length,
			       struct reason *why)
{
	const struct format *format = format_find(in, in_length);
	uint64_t length = limit, used;
	enum status status;
	uint8_t *memory;

	if (!format)
		return reason_give(why, STATUS_UNSUPPORTED,
				   "its compression is unknown; gzip, xz, lzma, zstd and lz4 are supported");
	memory = mmap(NULL, limit, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED)
		return reason_give(why, STATUS_NO_MEMORY, "no memory to unpack it; free some or raise the address space limit");
	status = format->unpack(in, in_length, memory, &length);
	if (!status && !length)
		status = STATUS_INVALID;
	if (status) {
		munmap(memory, limit);
		return reason_give(why, status, "its %s payload %s; get the file anew", format->name,
				   status == STATUS_NO_SPACE    ? "unpacks to more than any kernel has"
				   : status == STATUS_NO_MEMORY ? "needs more memory to unpack than there is"
								: "is damaged");
	}
	used = (length + PAGE_MASK) & ~PAGE_MASK;
	if (used < limit)
		munmap(memory + used, limit - used);
	*out = memory;
	*out_length = length;
	return STATUS_OK;
}

enum status decompress(const uint8_t *in, uint64_t in_length, uint8_t **out, uint64_t *out_length, struct reason *why)
{
	return decompress_bounded(in, in_length, DECOMPRESS_MAX, out, out_length, why);
}

void decompress_free(uint8_t *out, uint64_t out_length)
{
	if (out)
		munmap(out, (out_length + PAGE_MASK) & ~PAGE_MASK);
}
