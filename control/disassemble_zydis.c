/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disassemble_zydis.c - Zydis as a disassembler. Only its headers are needed to build; the library is loaded when it is wanted.
 */
#include <dlfcn.h>
#include <stdio.h>

#include <Zydis/Zydis.h>

#include "control/disassemble.h"

static struct {
	ZyanU64 (*version)(void);
	ZyanStatus (*disassemble)(ZydisMachineMode mode, ZyanU64 address, const void *buffer, ZyanUSize length,
				  ZydisDisassembledInstruction *out);
} zydis;

/* The structures' layout may change with the minor version. */
static bool zydis_open(void)
{
	char name[32];
	void *library;

	if (zydis.disassemble)
		return true;
	snprintf(name, sizeof(name), "libZydis.so.%u.%u", (unsigned)ZYDIS_VERSION_MAJOR(ZYDIS_VERSION),
		 (unsigned)ZYDIS_VERSION_MINOR(ZYDIS_VERSION));
	library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
	if (!library)
		return false;
	*(void **)&zydis.version = dlsym(library, "ZydisGetVersion");
	*(void **)&zydis.disassemble = dlsym(library, "ZydisDisassembleIntel");
	if (!zydis.version || !zydis.disassemble || zydis.version() >> 32 != ZYDIS_VERSION >> 32)
		zydis.disassemble = NULL;
	return zydis.disassemble;
}

static unsigned zydis_text(const uint8_t *bytes, unsigned length, uint64_t address, unsigned code_size,
			   struct disassembly_line *line, unsigned max)
{
	ZydisMachineMode mode = code_size == 8 ? ZYDIS_MACHINE_MODE_LONG_64 : ZYDIS_MACHINE_MODE_LEGACY_32;
	ZydisDisassembledInstruction one;
	unsigned lines = 0, offset = 0;

	while (offset < length && lines < max) {
		unsigned step = 1;

		line[lines].offset = offset;
		if (ZYAN_SUCCESS(zydis.disassemble(mode, address + offset, bytes + offset, length - offset, &one))) {
			snprintf(line[lines].text, sizeof(line[lines].text), "%s", one.text);
			step = one.info.length;
		} else {
			snprintf(line[lines].text, sizeof(line[lines].text), "(bad)");
		}
		offset += step;
		lines++;
	}
	return lines;
}

const struct disassembler disassembler_zydis = {"zydis", zydis_open, zydis_text};
