/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disassemble.h - x86 code as text, by whichever disassembler this host has: Zydis, loaded when first asked for, or objdump, started for each call.
 */
#ifndef HOLON_CONTROL_DISASSEMBLE_H
#define HOLON_CONTROL_DISASSEMBLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DISASSEMBLE_TEXT 96

struct disassembly_line {
	unsigned offset; /* of the instruction in the bytes that were given */
	char text[DISASSEMBLE_TEXT];
};

struct disassembler {
	const char *name;
	bool (*open)(void); /* is it there? */
	/* code_size: 4 or 8. How many of `max` lines were filled in; what follows bytes that are no instruction may be missing. */
	unsigned (*text)(const uint8_t *bytes, unsigned length, uint64_t address, unsigned code_size, struct disassembly_line *line,
			 unsigned max);
};

extern const struct disassembler disassembler_zydis, disassembler_objdump;

/* The one of this name, or the first that is there if NULL. NULL: none. */
const struct disassembler *disassembler_find(const char *name);

#endif
