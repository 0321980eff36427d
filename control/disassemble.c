/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disassemble.c - picks a disassembler, and objdump as one: it is in every compiler's package, and takes some milliseconds a call.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/disassemble.h"

static const struct disassembler *const disassemblers[] = {&disassembler_zydis, &disassembler_objdump};

const struct disassembler *disassembler_find(const char *name)
{
	for (unsigned i = 0; i < sizeof(disassemblers) / sizeof(disassemblers[0]); i++)
		if ((!name || !strcmp(name, disassemblers[i]->name)) && disassemblers[i]->open())
			return disassemblers[i];
	return NULL;
}

static bool objdump_open(void)
{
	return system("command -v objdump >/dev/null 2>&1") ==
	       0; /* NOLINT(cert-env33-c): a debugging aid, of the user's own PATH */
}

/* "     12a:\tmov    rax,rbx": objdump's line of an instruction. */
static bool line_parse(const char *from, uint64_t address, struct disassembly_line *line)
{
	char *end;
	uint64_t at = strtoull(from, &end, 16);

	if (end == from || end[0] != ':' || end[1] != '\t')
		return false;
	line->offset = (unsigned)(at - address);
	snprintf(line->text, sizeof(line->text), "%s", end + 2);
	line->text[strcspn(line->text, "\n")] = 0;
	for (size_t i = strlen(line->text); i && line->text[i - 1] == ' '; i--)
		line->text[i - 1] = 0;
	return true;
}

static unsigned objdump_lines(const char *path, uint64_t address, unsigned code_size, struct disassembly_line *line, unsigned max)
{
	char command[256], from[256];
	unsigned lines = 0;
	FILE *pipe;

	snprintf(command, sizeof(command),
		 "objdump -D -b binary -m %s -M intel --no-show-raw-insn --adjust-vma=0x%llx %s 2>/dev/null",
		 code_size == 8 ? "i386:x86-64" : "i386", (unsigned long long)address, path);
	pipe = popen(command, "r"); /* NOLINT(cert-env33-c) */
	if (!pipe)
		return 0;
	while (lines < max && fgets(from, sizeof(from), pipe))
		lines += line_parse(from, address, &line[lines]);
	pclose(pipe);
	return lines;
}

static unsigned objdump_text(const uint8_t *bytes, unsigned length, uint64_t address, unsigned code_size,
			     struct disassembly_line *line, unsigned max)
{
	char path[] = "/tmp/holon-code.XXXXXX";
	int file = mkstemp(path);
	unsigned lines = 0;

	if (file < 0)
		return 0;
	if (write(file, bytes, length) == (ssize_t)length)
		lines = objdump_lines(path, address, code_size, line, max);
	close(file);
	unlink(path);
	return lines;
}

const struct disassembler disassembler_objdump = {"objdump", objdump_open, objdump_text};
