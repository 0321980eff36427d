/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metal_test.c - the parts of host/metal that need no bare machine: numbers and text, the boot loader's information, AML's \_S5, random bytes, the
 * screen. test/system/metal_test boots the rest.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "host/metal/internal.h"

/* What the files under test ask for. */

static uint8_t *device_memory;

void *page_table_device(uint64_t physical, uint64_t length)
{
	(void)physical;
	(void)length;
	return device_memory;
}

void *page_table_firmware(uint64_t physical, uint64_t length)
{
	(void)length;
	return (void *)(uintptr_t)physical;
}

void host_bug(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: %s\n", file, line, what);
	abort();
}

void host_log(enum host_log_level level, const char *format, ...)
{
	(void)level;
	(void)format;
}

uint64_t host_wall_time_ns(void)
{
	return 0;
}

void host_mutex_lock(struct host_mutex *mutex)
{
	(void)mutex;
}

void host_mutex_unlock(struct host_mutex *mutex)
{
	(void)mutex;
}

/* format.c against the C library's snprintf, for every size of the buffer. */
#define SAME(...)                                                                                                   \
	do {                                                                                                        \
		char ours[200], libcs[200];                                                                         \
		for (size_t size = 0; size < sizeof(ours); size += size < 40 ? 1 : 37) {                            \
			memset(ours, '#', sizeof(ours));                                                            \
			memset(libcs, '#', sizeof(libcs));                                                          \
			assert_int_equal(host_format(ours, size, __VA_ARGS__), snprintf(libcs, size, __VA_ARGS__)); \
			assert_memory_equal(ours, libcs, sizeof(ours));                                             \
		}                                                                                                   \
	} while (0)

static void format_is_that_of_the_library(void **state)
{
	(void)state;
	SAME("plain");
	SAME("%s and %c, %%", "text", 'c');
	SAME("[%10s] [%-10s] [%.2s] [%8.3s]", "word", "word", "word", "word");
	SAME("%d %i %u %x %X", -42, 42, 42u, 0xbeefu, 0xBEEFu);
	SAME("[%5d] [%-5d] [%05d] [%05d] [%.4d]", 42, 42, 42, -42, -42);
	SAME("%d %u %x %.0d|", 0, 0u, 0u, 0);
	SAME("%ld %lu %lx %016lx %lld %llx %zu", INT64_MIN, UINT64_MAX, UINT64_MAX, UINT64_C(0xabc), -1LL, 0x123456789abcULL,
	     (size_t)7);
	SAME("%hhu %hu %hd %hhx", 300, 70000, 40000, 0x1ff);
	SAME("%p", (void *)0x1234);
	SAME("%8.3x %-8.3x|", 0xa, 0xa);
}

static void numbers_have_units_and_limits(void **state)
{
	uint64_t number;

	(void)state;
	assert_true(words_number("64M", 3, &number));
	assert_int_equal(number, 64 << 20);
	assert_true(words_number("0x3f8 rest", 5, &number));
	assert_int_equal(number, 0x3f8);
	assert_true(words_number("7", 1, &number));
	assert_int_equal(number, 7);
	assert_false(words_number("", 0, &number));
	assert_false(words_number("M", 1, &number));
	assert_false(words_number("12x", 3, &number));
	assert_false(words_number("-1", 2, &number));
	assert_false(words_number("99999999999999999999", 20, &number));
	assert_false(words_number("99999999999T", 12, &number));
}

static void words_are_found_whole(void **state)
{
	size_t length;
	const char *words = "name send=x  end=off memory=", *value;

	(void)state;
	value = words_find(words, "end", &length);
	assert_true(words_is(value, length, "off"));
	assert_false(words_is(value, length, "offer"));
	assert_false(words_is(value, length, "of"));
	assert_non_null(words_find(words, "memory", &length));
	assert_int_equal(length, 0);
	assert_null(words_find(words, "name", &length));
	assert_null(words_find(words, "nd", &length));
	assert_false(words_is(NULL, 0, ""));
}

/* --- the boot loader's information --- */

struct information {
	uint8_t bytes[1024];
	uint32_t length;
};

static void put32(struct information *to, uint32_t value)
{
	memcpy(to->bytes + to->length, &value, 4);
	to->length += 4;
}

static void put_tag(struct information *to, uint32_t type, const void *content, uint32_t length)
{
	to->length = (to->length + 7) & ~7u;
	put32(to, type);
	put32(to, length + 8);
	memcpy(to->bytes + to->length, content, length);
	to->length += length;
}

static void information_end(struct information *to)
{
	put_tag(to, 0, "", 0);
	memcpy(to->bytes, &to->length, 4);
}

static void information_begin(struct information *to)
{
	static const struct {
		uint32_t size, version;
		uint64_t base, length;
		uint32_t type, reserved;
	} map = {24, 0, 0x100000, 0x3f00000, 1, 0};

	memset(to, 0, sizeof(*to));
	to->length = 8;
	put_tag(to, 6, &map, sizeof(map));
}

static void information_is_read(void **state)
{
	static const uint8_t module[] = {0, 0, 0x40, 0, 0, 0x10, 0x40, 0, 'a', ' ', 'b', 0};
	static struct multiboot multiboot;
	struct information information;

	(void)state;
	information_begin(&information);
	put_tag(&information, 1, "end=off", 8);
	put_tag(&information, 2, "loader", 7);
	put_tag(&information, 3, module, sizeof(module));
	information_end(&information);
	memset(&multiboot, 0, sizeof(multiboot));
	assert_true(multiboot_read(&multiboot, information.bytes, 0x9000));
	assert_string_equal(multiboot.boot.words, "end=off");
	assert_string_equal(multiboot.boot.loader, "loader");
	assert_int_equal(multiboot.boot.modules, 1);
	assert_string_equal(multiboot.boot.module[0].words, "a b");
	assert_int_equal(multiboot.boot.module[0].length, 0x1000);
	assert_int_equal(multiboot.module_address[0], 0x400000);
	assert_int_equal(multiboot.ranges, 1);
	assert_int_equal(multiboot.range[0].length, 0x3f00000);
}

static void a_string_without_an_end_is_empty(void **state)
{
	static struct multiboot multiboot;
	struct information information;

	(void)state;
	information_begin(&information);
	put_tag(&information, 1, "endless!", 8);
	information_end(&information);
	memset(&multiboot, 0, sizeof(multiboot));
	assert_true(multiboot_read(&multiboot, information.bytes, 0x9000));
	assert_string_equal(multiboot.boot.words, "");
}

/* Every byte changed to a few values: it is refused or read, and never read outside (ASan looks). */
static void damaged_information_is_harmless(void **state)
{
	static const uint8_t module[] = {0, 0, 0x40, 0, 0, 0x10, 0x40, 0, 'a', 0};
	static const uint8_t values[] = {0, 1, 7, 8, 0x7f, 0xff};
	static struct multiboot multiboot;
	struct information good;

	(void)state;
	information_begin(&good);
	put_tag(&good, 1, "words", 6);
	put_tag(&good, 3, module, sizeof(module));
	information_end(&good);
	for (uint32_t at = 8; at < good.length; at++) {
		for (unsigned i = 0; i < sizeof(values); i++) {
			uint8_t *copy = malloc(good.length);

			memcpy(copy, good.bytes, good.length);
			copy[at] = values[i];
			memset(&multiboot, 0, sizeof(multiboot));
			(void)multiboot_read(&multiboot, copy, 0x9000);
			free(copy);
		}
	}
}

static void s5_is_found_in_aml(void **state)
{
	static const uint8_t zeros[] = {0x10, 0x08, '_', 'S', '5', '_', 0x12, 0x06, 0x04, 0x00, 0x00, 0x00, 0x00, 0x10};
	static const uint8_t rooted[] = {0x08, 0x5c, '_', 'S', '5', '_', 0x12, 0x07, 0x04, 0x0a, 0x07, 0x0a, 0x05, 0x00, 0x00};
	static const uint8_t no_name[] = {0x10, 0x14, '_', 'S', '5', '_', 0x12, 0x06, 0x04, 0x00, 0x00, 0x00, 0x00, 0x10};
	static const uint8_t short_one[] = {0x10, 0x08, '_', 'S', '5', '_', 0x12, 0x06, 0x04, 0x0a};
	uint8_t type[2] = {9, 9};

	(void)state;
	assert_true(fadt_off_find(zeros, sizeof(zeros), type));
	assert_int_equal(type[0], 0);
	assert_true(fadt_off_find(rooted, sizeof(rooted), type));
	assert_int_equal(type[0], 7);
	assert_int_equal(type[1], 5);
	assert_false(fadt_off_find(no_name, sizeof(no_name), type));
	for (size_t length = 0; length <= sizeof(short_one); length++)
		assert_false(fadt_off_find(short_one, length, type));
}

/* The keystream of an all-zero key, nonce and counter (RFC 8439, A.1, test vector 1). */
static void chacha20_is_that_of_the_rfc(void **state)
{
	static const uint8_t wanted[] = {0x76, 0xb8, 0xe0, 0xad, 0xa0, 0xf1, 0x3d, 0x90, 0x40, 0x5d, 0x6a,
					 0xe5, 0x53, 0x86, 0xbd, 0x28, 0xbd, 0xd2, 0x19, 0xb8, 0xa0, 0x8d,
					 0xed, 0x1a, 0xa8, 0x36, 0xef, 0xcc, 0x8b, 0x77, 0x0d, 0xc7};
	static const uint32_t key[8];
	uint8_t block[64];

	(void)state;
	random_chacha20(key, 0, block);
	assert_memory_equal(block, wanted, sizeof(wanted));
}

static void random_bytes_differ(void **state)
{
	uint8_t first[100], second[100];

	(void)state;
	host_random(first, sizeof(first));
	host_random(second, sizeof(second));
	assert_memory_not_equal(first, second, sizeof(first));
	assert_memory_not_equal(first, first + 32, 32);
}

/* --- the screen --- */

static char cell(unsigned row, unsigned column)
{
	return (char)device_memory[(row * 40 + column) * 2];
}

static void text_wraps_and_begins_at_the_top_again(void **state)
{
	static struct multiboot multiboot;

	(void)state;
	device_memory = calloc(40 * 3, 2);
	multiboot.screen = (struct multiboot_screen){true, 0xb8000, 80, 40, 3, 16};
	screen_start(&multiboot);
	screen_write("one\ntwo\n", 8);
	assert_int_equal(cell(0, 0), ' '); /* the empty line behind the newest */
	assert_int_equal(cell(1, 0), 't');
	screen_write("three\n", 6);
	assert_int_equal(cell(2, 4), 'e');
	assert_int_equal(cell(1, 0), ' ');
	for (unsigned i = 0; i < 1000; i++)
		screen_write("0123456789abcdef0123456789abcdef0123456789abcdef", 48);
	free(device_memory);
	device_memory = NULL;
}

static void pixels_are_the_fonts(void **state)
{
	static struct multiboot multiboot;
	const uint32_t width = 120, height = 18;

	(void)state;
	device_memory = calloc((size_t)width * height, 4);
	multiboot.screen = (struct multiboot_screen){false, 0xe0000000, width * 4, width, height, 32};
	screen_start(&multiboot);
	screen_write("A~\x80", 3);
	for (unsigned y = 0; y < FONT_ROWS; y++) {
		for (unsigned x = 0; x < 5; x++) {
			uint32_t pixel;

			memcpy(&pixel, device_memory + (y * width + x) * 4, 4);
			assert_int_equal(pixel != 0, font['A' - ' '][y] >> (4 - x) & 1);
		}
	}
	for (unsigned i = 0; i < 100; i++)
		screen_write("a line that is longer than twenty characters\n", 45);
	free(device_memory);
	device_memory = NULL;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(format_is_that_of_the_library),
		cmocka_unit_test(numbers_have_units_and_limits),
		cmocka_unit_test(words_are_found_whole),
		cmocka_unit_test(information_is_read),
		cmocka_unit_test(a_string_without_an_end_is_empty),
		cmocka_unit_test(damaged_information_is_harmless),
		cmocka_unit_test(s5_is_found_in_aml),
		cmocka_unit_test(chacha20_is_that_of_the_rfc),
		cmocka_unit_test(random_bytes_differ),
		cmocka_unit_test(text_wraps_and_begins_at_the_top_again),
		cmocka_unit_test(pixels_are_the_fonts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
