/* SPDX-License-Identifier: Apache-2.0 */
/* code_dump_test.c - proves that --jit-dump puts each guest instruction beside what was made of it, whichever disassembler there is, or none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "control/code_dump.h"
#include "control/disassemble.h"

static const uint8_t guest[] = {0x48, 0x01, 0xd8, 0x90, 0xf4}; /* add rax, rbx; nop; hlt */
static const uint8_t host[] = {
	0x4d, 0x8d, 0x76, 0xff,                         /* lea r14, [r14-1] */
	0x48, 0x01, 0xd8,                               /* add rax, rbx */
	0xff, 0x54, 0x24, 0x08, 0x0f, 0x0f, 0x0f, 0x0f, /* call [rsp+8] and a word that is no code */
	0xf8,                                           /* clc */
	0xc3,                                           /* ret */
};
static const struct code_span spans[] = {
	{0, 0, 0, CODE_ENTRY}, {4, 0, 3, CODE_INSN},  {7, 3, 1, CODE_INSN},  {7, 4, 1, CODE_INSN},
	{11, 4, 1, CODE_DATA}, {15, 4, 1, CODE_MORE}, {16, 4, 1, CODE_EXIT},
};
static const struct code_block block = {
	.vcpu = 3,
	.code_size = 8,
	.address = 0xffffffff81000000,
	.ram = 0x1000000,
	.guest = guest,
	.guest_length = sizeof(guest),
	.host = host,
	.host_address = 0x7f0000000000,
	.host_length = sizeof(host),
	.span = spans,
	.spans = sizeof(spans) / sizeof(spans[0]),
};

static char text[8192];

static void dump(const char *disassembler)
{
	char path[] = "/tmp/holon-dump-test.XXXXXX";
	struct code_watch *watch = NULL;
	struct reason why = {""};
	int file = mkstemp(path);
	ssize_t length;

	assert_true(file >= 0);
	assert_int_equal(code_dump_open(&watch, path, disassembler, &why), STATUS_OK);
	watch->block(watch, &block);
	code_dump_close(watch);
	length = read(file, text, sizeof(text) - 1);
	assert_true(length > 0);
	text[length] = 0;
	close(file);
	unlink(path);
}

/* A line has all of these, in this order. */
static bool line_with(const char *left, const char *middle, const char *right)
{
	char copy[sizeof(text)], *rest = copy, *line;

	strcpy(copy, text);
	while ((line = strsep(&rest, "\n"))) {
		const char *found = strstr(line, left);

		found = found ? strstr(found + strlen(left), middle) : NULL;
		if (found && strstr(found + strlen(middle), right))
			return true;
	}
	return false;
}

static void check_dump(const char *name)
{
	if (!disassembler_find(name))
		skip();
	dump(name);
	assert_non_null(strstr(text, "vcpu 3, guest 0xffffffff81000000 (RAM 0x1000000), 64-bit"));
	assert_non_null(strstr(text, "3 instructions, 5 bytes -> 0x7f0000000000, 17 bytes"));
	assert_true(line_with(" | 0000", "lea", "r14"));
	assert_true(line_with("0000 48 01 d8", "rax", "| 0004 48 01 d8"));
	assert_true(line_with("0003 90", "nop", "| 0007")); /* no code was made of it */
	assert_true(line_with("0004 f4", "hlt", "| 0007 ff 54 24 08"));
	assert_true(line_with("| 000b", "0f 0f 0f 0f", ".long 0xf0f0f0f"));
	assert_true(line_with("| 000f", "f8", "clc"));
	assert_true(line_with("| 0010", "c3", "ret"));
}

static void zydis_shows_both_sides(void **state)
{
	(void)state;
	check_dump("zydis");
}

static void objdump_shows_both_sides(void **state)
{
	(void)state;
	check_dump("objdump");
}

static void without_a_disassembler_bytes_are_shown(void **state)
{
	(void)state;
	dump("none");
	assert_true(line_with("0000 48 01 d8", "| 0004", "48 01 d8"));
	assert_true(line_with("| 000b", "0f 0f 0f 0f", ".long"));
}

static void a_file_that_cannot_be_written_is_named(void **state)
{
	struct code_watch *watch = NULL;
	struct reason why = {""};

	(void)state;
	assert_int_equal(code_dump_open(&watch, "/nowhere/dump", NULL, &why), STATUS_IO);
	assert_non_null(strstr(why.text, "/nowhere/dump"));
	assert_null(watch);
	code_dump_close(watch);
}

static void perf_learns_where_a_block_is(void **state)
{
	struct code_watch *watch = NULL;
	struct reason why = {""};
	char path[64];
	FILE *file;

	(void)state;
	snprintf(path, sizeof(path), "/tmp/perf-%ld.map", (long)getpid());
	assert_int_equal(perf_map_open(&watch, &why), STATUS_OK);
	watch->block(watch, &block);
	code_dump_close(watch);
	file = fopen(path, "r");
	assert_non_null(file);
	assert_non_null(fgets(text, sizeof(text), file));
	assert_string_equal(text, "7f0000000000 11 guest_ffffffff81000000_key_0\n");
	fclose(file);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(zydis_shows_both_sides),
		cmocka_unit_test(objdump_shows_both_sides),
		cmocka_unit_test(without_a_disassembler_bytes_are_shown),
		cmocka_unit_test(a_file_that_cannot_be_written_is_named),
		cmocka_unit_test(perf_learns_where_a_block_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
