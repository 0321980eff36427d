/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disassemble_without.c - in the place of disassemble_zydis.c where Zydis' headers were not there to build with.
 */
#include "control/disassemble.h"

static bool absent(void)
{
	return false;
}

const struct disassembler disassembler_zydis = {"zydis", absent, NULL};
