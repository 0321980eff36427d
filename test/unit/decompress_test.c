/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decompress_test.c - each format that kernels are packed with, whole, damaged, cut short, and with bytes behind it.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <lz4.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>
#include <cmocka.h>

#include "control/decompress.h"

#define PLAIN (300000u)
#define ROOM (2 * PLAIN)

static uint8_t plain[PLAIN], packed[ROOM];

static size_t pack_gzip(void)
{
	z_stream stream = {.next_in = plain, .avail_in = PLAIN, .next_out = packed, .avail_out = ROOM};

	assert_int_equal(deflateInit2(&stream, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
	assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
	deflateEnd(&stream);
	return stream.total_out;
}

static size_t pack_xz(void)
{
	size_t length = 0;

	assert_int_equal(lzma_easy_buffer_encode(3, LZMA_CHECK_CRC32, NULL, plain, PLAIN, packed, &length, ROOM), LZMA_OK);
	return length;
}

static size_t pack_lzma(void)
{
	lzma_stream stream = LZMA_STREAM_INIT;
	lzma_options_lzma options;

	lzma_lzma_preset(&options, 3);
	assert_int_equal(lzma_alone_encoder(&stream, &options), LZMA_OK);
	stream.next_in = plain;
	stream.avail_in = PLAIN;
	stream.next_out = packed;
	stream.avail_out = ROOM;
	assert_int_equal(lzma_code(&stream, LZMA_FINISH), LZMA_STREAM_END);
	lzma_end(&stream);
	return stream.total_out;
}

static size_t pack_zstd(void)
{
	return ZSTD_compress(packed, ROOM, plain, PLAIN, 3);
}

static size_t pack_lz4(void)
{
	static const uint8_t magic[] = {0x02, 0x21, 0x4c, 0x18};
	uint32_t half = PLAIN / 2, block;
	size_t at = 4;
	unsigned i;

	memcpy(packed, magic, 4);
	for (i = 0; i < 2; i++) {
		block = (uint32_t)LZ4_compress_default((char *)plain + i * half, (char *)packed + at + 4, (int)half,
						       (int)(ROOM - at - 4));
		memcpy(packed + at, &block, 4);
		at += 4 + block;
	}
	return at;
}

static size_t (*const packers[])(void) = {pack_gzip, pack_xz, pack_lzma, pack_zstd, pack_lz4};
#define PACKERS (sizeof(packers) / sizeof(packers[0]))

static int setup(void **state)
{
	unsigned i;

	(void)state;
	srand(7);
	for (i = 0; i < PLAIN; i++)
		plain[i] = i % 64 < 48 ? (uint8_t)(i / 64) : (uint8_t)rand();
	return 0;
}

static void every_format_unpacks(void **state)
{
	uint32_t size = PLAIN;
	struct reason why;
	uint64_t length;
	uint8_t *out;
	unsigned i;

	(void)state;
	for (i = 0; i < PACKERS; i++) {
		size_t packed_length = packers[i]();

		assert_int_equal(decompress(packed, packed_length, &out, &length, &why), STATUS_OK);
		assert_int_equal(length, PLAIN);
		assert_memory_equal(out, plain, PLAIN);
		decompress_free(out, length);
		/* As in a bzImage: the unpacked size behind it. */
		memcpy(packed + packed_length, &size, 4);
		assert_int_equal(decompress(packed, packed_length + 4, &out, &length, &why), STATUS_OK);
		assert_int_equal(length, PLAIN);
		decompress_free(out, length);
	}
}

static void damage_is_found_or_harmless(void **state)
{
	struct reason why;
	uint64_t length;
	uint8_t *out;
	unsigned i, n;

	(void)state;
	for (i = 0; i < PACKERS; i++) {
		size_t packed_length = packers[i]();

		assert_int_not_equal(decompress(packed, packed_length / 3, &out, &length, &why), STATUS_OK);
		assert_non_null(strstr(why.text, "damaged"));
		for (n = 0; n < 50; n++) {
			uint8_t *byte = &packed[6 + (size_t)rand() % (packed_length - 6)], was = *byte;

			*byte = (uint8_t)rand();
			if (!decompress(packed, packed_length, &out, &length, &why))
				decompress_free(out, length);
			*byte = was;
		}
	}
}

static void unknown_bytes_are_refused(void **state)
{
	static const uint8_t elf[] = "\177ELF.......";
	struct reason why;
	uint64_t length;
	uint8_t *out;

	(void)state;
	assert_int_equal(decompress(elf, sizeof(elf), &out, &length, &why), STATUS_UNSUPPORTED);
	assert_int_equal(decompress(elf, 0, &out, &length, &why), STATUS_UNSUPPORTED);
}

static void a_bomb_stops_at_the_limit(void **state)
{
	uint64_t length, limit = PLAIN / 4096 * 4096; /* a little less than it needs */
	struct reason why;
	uint8_t *out;
	unsigned i;

	(void)state;
	for (i = 0; i < PACKERS; i++) {
		size_t packed_length = packers[i]();

		assert_int_equal(decompress_bounded(packed, packed_length, limit, &out, &length, &why), STATUS_NO_SPACE);
		assert_non_null(strstr(why.text, "more than"));
		assert_int_equal(decompress_bounded(packed, packed_length, limit + 4096, &out, &length, &why), STATUS_OK);
		decompress_free(out, length);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_format_unpacks),
		cmocka_unit_test(damage_is_found_or_harmless),
		cmocka_unit_test(unknown_bytes_are_refused),
		cmocka_unit_test(a_bomb_stops_at_the_limit),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
