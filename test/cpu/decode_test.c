/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decode_test.c - x86_decode against Zydis: random bytes in 16, 32 and 64-bit code.
 *
 * For every byte string the two must agree on whether it is an instruction, on its length, its mnemonic (integer instructions), its memory operand, its registers
 * and immediates. Where they may differ is written down below, each with its reason; a difference that is not there fails the test.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <Zydis/Zydis.h>

#include "x86/insn.h"
#include "x86/registers.h"

#ifndef STRINGS
#define STRINGS 300000 /* a mode */
#endif
#define REPORTS 40

static uint64_t random_state = 0x9e3779b97f4a7c15;

static uint64_t random_next(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

/* Instruction set extensions that this CPU has not: Zydis knows them, x86_decode must not. */
static const ZydisISAExt absent_extensions[] = {
	ZYDIS_ISA_EXT_AMD3DNOW,  ZYDIS_ISA_EXT_AMD_INVLPGB, ZYDIS_ISA_EXT_AMX_BF16,
	ZYDIS_ISA_EXT_AMX_INT8,  ZYDIS_ISA_EXT_AMX_TILE,    ZYDIS_ISA_EXT_AVX512EVEX,
	ZYDIS_ISA_EXT_AVX512VEX, ZYDIS_ISA_EXT_AVX_VNNI,    ZYDIS_ISA_EXT_CLZERO,
	ZYDIS_ISA_EXT_ENQCMD,    ZYDIS_ISA_EXT_FMA4,        ZYDIS_ISA_EXT_GFNI,
	ZYDIS_ISA_EXT_HRESET,    ZYDIS_ISA_EXT_KEYLOCKER,   ZYDIS_ISA_EXT_KEYLOCKER_WIDE,
	ZYDIS_ISA_EXT_KNC,       ZYDIS_ISA_EXT_KNCE,        ZYDIS_ISA_EXT_KNCV,
	ZYDIS_ISA_EXT_MCOMMIT,   ZYDIS_ISA_EXT_MONITORX,    ZYDIS_ISA_EXT_MOVDIR,
	ZYDIS_ISA_EXT_PADLOCK,   ZYDIS_ISA_EXT_PCONFIG,     ZYDIS_ISA_EXT_PT,
	ZYDIS_ISA_EXT_RDPRU,     ZYDIS_ISA_EXT_RTM,         ZYDIS_ISA_EXT_SERIALIZE,
	ZYDIS_ISA_EXT_SGX,       ZYDIS_ISA_EXT_SGX_ENCLV,   ZYDIS_ISA_EXT_SMX,
	ZYDIS_ISA_EXT_SNP,       ZYDIS_ISA_EXT_SVM,         ZYDIS_ISA_EXT_TBM,
	ZYDIS_ISA_EXT_TDX,       ZYDIS_ISA_EXT_TSX_LDTRK,   ZYDIS_ISA_EXT_UINTR,
	ZYDIS_ISA_EXT_VMFUNC,    ZYDIS_ISA_EXT_VTX,         ZYDIS_ISA_EXT_WAITPKG,
	ZYDIS_ISA_EXT_XOP,       ZYDIS_ISA_EXT_SSE4A,       ZYDIS_ISA_EXT_XSAVES,
};

/* Single instructions that this CPU has not, or has as something else. */
static const ZydisMnemonic absent[] = {
	ZYDIS_MNEMONIC_RSM,      ZYDIS_MNEMONIC_RDSSPD,   ZYDIS_MNEMONIC_RDSSPQ, /* NOPs where there is no CET */
	ZYDIS_MNEMONIC_INCSSPD,  ZYDIS_MNEMONIC_INCSSPQ,  ZYDIS_MNEMONIC_SAVEPREVSSP, ZYDIS_MNEMONIC_RSTORSSP,
	ZYDIS_MNEMONIC_WRSSD,    ZYDIS_MNEMONIC_WRSSQ,    ZYDIS_MNEMONIC_WRUSSD,      ZYDIS_MNEMONIC_WRUSSQ,
	ZYDIS_MNEMONIC_SETSSBSY, ZYDIS_MNEMONIC_CLRSSBSY,
};

/* VMCALL and VMMCALL are hypercalls here, of whichever extension. */
static const ZydisMnemonic present[] = {ZYDIS_MNEMONIC_VMCALL, ZYDIS_MNEMONIC_VMMCALL};

static bool is_absent(const ZydisDecodedInstruction *z)
{
	size_t i;

	for (i = 0; i < sizeof(present) / sizeof(present[0]); i++) {
		if (z->mnemonic == present[i])
			return false;
	}
	for (i = 0; i < sizeof(absent) / sizeof(absent[0]); i++) {
		if (z->mnemonic == absent[i])
			return true;
	}
	for (i = 0; i < sizeof(absent_extensions) / sizeof(absent_extensions[0]); i++) {
		if (z->meta.isa_ext == absent_extensions[i])
			return true;
	}
	return false;
}

/* Zydis's names where they are not the SDM's first ones, or have the width in them. */
static const char *const names[][2] = {
	{"jz", "je"},
	{"jnz", "jne"},
	{"jnb", "jae"},
	{"jnbe", "ja"},
	{"jnl", "jge"},
	{"jnle", "jg"},
	{"setz", "sete"},
	{"setnz", "setne"},
	{"setnb", "setae"},
	{"setnbe", "seta"},
	{"setnl", "setge"},
	{"setnle", "setg"},
	{"cmovz", "cmove"},
	{"cmovnz", "cmovne"},
	{"cmovnb", "cmovae"},
	{"cmovnbe", "cmova"},
	{"cmovnl", "cmovge"},
	{"cmovnle", "cmovg"},
	{"cwde", "cbw"},
	{"cdqe", "cbw"},
	{"cdq", "cwd"},
	{"cqo", "cwd"},
	{"jecxz", "jcxz"},
	{"jrcxz", "jcxz"},
	{"pushad", "pusha"},
	{"popad", "popa"},
	{"pushfd", "pushf"},
	{"pushfq", "pushf"},
	{"popfd", "popf"},
	{"popfq", "popf"},
	{"iretd", "iret"},
	{"iretq", "iret"},
	{"prefetchw", "prefetch"},
	{"prefetchwt1", "prefetch"},
	{"prefetcht0", "nop"},
	{"prefetcht1", "nop"},
	{"prefetcht2", "nop"},
	{"prefetchnta", "nop"},
	{"endbr32", "nop"},
	{"endbr64", "nop"},
	{"cldemote", "nop"},
	{"bndmk", "nop"},
	{"bndcl", "nop"},
	{"bndcu", "nop"},
	{"bndcn", "nop"},
	{"bndmov", "nop"},
	{"bndldx", "nop"},
	{"bndstx", "nop"},
	{"wbnoinvd", "wbinvd"},
};

static bool same_name(const char *zydis, const struct x86_insn *insn)
{
	const char *ours = insn->row->name;
	size_t i, length;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (!strcmp(zydis, names[i][0]))
			zydis = names[i][1];
	}
	/* With REX.B, F3 90 is XCHG R8 on processors. */
	if (insn->opcode == 0x0d && insn->map == X86_MAP_0F)
		return !strcmp(ours, "prefetch");
	if (!strcmp(zydis, "pause") && insn->rm)
		return !strcmp(ours, "xchg");
	if (!strncmp(ours, "rep ", 4))
		ours += 4;
	length = strcspn(ours, " "); /* "push es", "call far" */
	if (insn->row->traits & X86_STRING)
		return !strncmp(ours, zydis, length) && strlen(zydis) == length + 1; /* movsb */
	return !strncmp(ours, zydis, length) && !zydis[length];
}

/* Whose tables a row is from: x86_vector_decode is asked for the rest, whose names are its own business. */
static bool is_integer(const struct x86_insn *insn)
{
	return !insn->row->reg_kind && !insn->row->rm_kind && !insn->row->vvvv_kind &&
	       !(insn->row->traits & (X86_SSE | X86_AVX | X86_X87 | X86_MMX | X86_WAITING));
}

static uint8_t register_number(ZydisRegister reg)
{
	if (reg == ZYDIS_REGISTER_NONE)
		return X86_NO_REG;
	if (reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP || reg == ZYDIS_REGISTER_IP)
		return X86_RIP;
	return (uint8_t)ZydisRegisterGetId(reg);
}

static bool same_memory(const ZydisDecodedOperand *operand, const struct x86_insn *insn, char *why)
{
	static const uint8_t scales[9] = {[1] = 0, [2] = 1, [4] = 2, [8] = 3};
	uint8_t base = register_number(operand->mem.base), index = register_number(operand->mem.index);
	uint8_t segment = (uint8_t)(operand->mem.segment - ZYDIS_REGISTER_ES);

	if (insn->row->implicit & X86_IMPLICIT_VSIB && insn->index == X86_NO_REG && index == 4)
		index = X86_NO_REG;
	/* Zydis lets REX.B make R13 of "no base" when the address size is 32, and drops the displacement; the SDM (vol. 2, table 2-5) does not. */
	if (insn->address_size == 4 && insn->mod == 0 && insn->base == X86_NO_REG && base == 13)
		return true;
	if (insn->base != base || insn->index != index) {
		sprintf(why, "base %u index %u, Zydis %u %u", insn->base, insn->index, base, index);
		return false;
	}
	if (index != X86_NO_REG && insn->scale != scales[operand->mem.scale]) {
		sprintf(why, "scale");
		return false;
	}
	if (operand->mem.disp.value != insn->disp) {
		sprintf(why, "displacement %d, Zydis %lld", insn->disp, (long long)operand->mem.disp.value);
		return false;
	}
	if (insn->opcode == 0x8d && insn->map == X86_MAP_1BYTE)
		return true; /* LEA: no segment */
	/* In 64-bit code ES CS SS DS are one; we keep SS for what #SS depends on. */
	if (insn->segment != segment && !(insn->code_size == 8 && insn->segment < X86_FS && segment < X86_FS)) {
		sprintf(why, "segment %u, Zydis %u", insn->segment, segment);
		return false;
	}
	return true;
}

static bool same_register(const ZydisDecodedOperand *operand, const struct x86_insn *insn, char *why)
{
	ZydisRegisterClass class = ZydisRegisterGetClass(operand->reg.value);
	uint8_t number = (uint8_t)ZydisRegisterGetId(operand->reg.value), ours;

	switch (operand->encoding) {
	case ZYDIS_OPERAND_ENCODING_MODRM_REG: ours = insn->reg; break;
	case ZYDIS_OPERAND_ENCODING_MODRM_RM: ours = insn->rm; break;
	case ZYDIS_OPERAND_ENCODING_OPCODE: ours = insn->rm; break;
	case ZYDIS_OPERAND_ENCODING_NDSNDD: ours = insn->vvvv; break;
	default: return true;
	}
	if (class == ZYDIS_REGCLASS_GPR8 && number >= 4) { /* AL CL DL BL AH.. BH SPL.. DIL R8B.. */
		static const uint8_t encoded[20] = {0, 1, 2, 3, 4, 5, 6, 7, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
		bool rex = number >= 8;

		number = encoded[number];
		if (number < 8 && rex != !!(insn->prefixes & X86_PREFIX_REX)) {
			sprintf(why, "high byte or not");
			return false;
		}
	} else if (class == ZYDIS_REGCLASS_MMX || class == ZYDIS_REGCLASS_SEGMENT || class == ZYDIS_REGCLASS_X87) {
		ours &= 7; /* REX has no say; the handler masks */
	} else if (class == ZYDIS_REGCLASS_DEBUG || class == ZYDIS_REGCLASS_CONTROL || class == ZYDIS_REGCLASS_TEST) {
		return true;
	}
	if (ours != number) {
		sprintf(why, "register %u, Zydis %s", ours, ZydisRegisterGetString(operand->reg.value));
		return false;
	}
	return true;
}

static bool same_immediate(const ZydisDecodedOperand *operand, const struct x86_insn *insn, char *why)
{
	unsigned size = insn->operand_size == 8 || insn->row->traits & X86_BRANCH ? 8 : insn->operand_size;
	uint64_t mask = size == 8 ? UINT64_MAX : (UINT64_C(1) << 8 * size) - 1, value = operand->imm.value.u;

	if (operand->imm.is_signed)
		value = (uint64_t)operand->imm.value.s;
	if (insn->row->traits & X86_IMM8)
		mask = 0xff;
	if ((value & mask) != (insn->imm & mask)) {
		sprintf(why, "immediate %llx, Zydis %llx", (unsigned long long)insn->imm, (unsigned long long)value);
		return false;
	}
	return true;
}

/* The written list of what may differ although both sides take the bytes for an instruction. */
static bool may_differ(const ZydisDecodedInstruction *z, const struct x86_insn *insn)
{
	(void)insn;
	switch (z->mnemonic) {
	case ZYDIS_MNEMONIC_ENTER: /* two immediates: see test_immediates */
	case ZYDIS_MNEMONIC_BNDMK:
	case ZYDIS_MNEMONIC_BNDCL:
	case ZYDIS_MNEMONIC_BNDCU:
	case ZYDIS_MNEMONIC_BNDCN:
	case ZYDIS_MNEMONIC_BNDMOV:
	case ZYDIS_MNEMONIC_BNDLDX:
	case ZYDIS_MNEMONIC_BNDSTX: /* NOPs: operands without meaning */ return true;
	case ZYDIS_MNEMONIC_CALL:
	case ZYDIS_MNEMONIC_JMP: /* Zydis takes 3E for CET's NOTRACK and no segment */
		return insn->segment == X86_DS && insn->prefixes & X86_PREFIX_SEGMENT;
	default: return false;
	}
}

static bool same_operands(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *operands, const struct x86_insn *insn,
			  char *why)
{
	unsigned i;

	if (may_differ(z, insn))
		return true;
	for (i = 0; i < z->operand_count_visible; i++) {
		const ZydisDecodedOperand *operand = &operands[i];

		if (operand->visibility != ZYDIS_OPERAND_VISIBILITY_EXPLICIT)
			continue;
		switch (operand->type) {
		case ZYDIS_OPERAND_TYPE_MEMORY:
			if (operand->encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM && insn->row->traits & X86_MODRM) {
				if (insn->mod == 3) {
					sprintf(why, "memory operand missed");
					return false;
				}
				if (!same_memory(operand, insn, why))
					return false;
			}
			break;
		case ZYDIS_OPERAND_TYPE_REGISTER:
			if (!same_register(operand, insn, why))
				return false;
			break;
		case ZYDIS_OPERAND_TYPE_IMMEDIATE:
			if (operand->encoding != ZYDIS_OPERAND_ENCODING_NONE && operand->encoding != ZYDIS_OPERAND_ENCODING_IS4 &&
			    !same_immediate(operand, insn, why))
				return false;
			break;
		default: break;
		}
	}
	return true;
}

/* The effective operand size, where Zydis's operands show it: the first explicit GPR or memory operand of an instruction without a fixed size. */
static bool same_size(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *operands, const struct x86_insn *insn, char *why)
{
	const ZydisDecodedOperand *operand = &operands[0];

	if (insn->row->operand_size || z->operand_count_visible == 0 || operand->visibility != ZYDIS_OPERAND_VISIBILITY_EXPLICIT)
		return true;
	switch (z->mnemonic) {
	case ZYDIS_MNEMONIC_CALL:
	case ZYDIS_MNEMONIC_JMP: /* far pointers' operands have a size of their own */
	case ZYDIS_MNEMONIC_LGDT:
	case ZYDIS_MNEMONIC_LIDT:
	case ZYDIS_MNEMONIC_SGDT:
	case ZYDIS_MNEMONIC_SIDT:
	case ZYDIS_MNEMONIC_CRC32:
	case ZYDIS_MNEMONIC_OUT:
	case ZYDIS_MNEMONIC_LAR:
	case ZYDIS_MNEMONIC_LSL:
	case ZYDIS_MNEMONIC_PREFETCH:
	case ZYDIS_MNEMONIC_PREFETCHW:
	case ZYDIS_MNEMONIC_PREFETCHWT1:

	case ZYDIS_MNEMONIC_NOP:
	case ZYDIS_MNEMONIC_MONITOR:
	case ZYDIS_MNEMONIC_INVLPG: return true;
	default: break;
	}
	if (insn->map != X86_MAP_1BYTE && !strcmp(insn->row->name, "nop"))
		return true;
	if ((operand->type == ZYDIS_OPERAND_TYPE_REGISTER && ZydisRegisterGetClass(operand->reg.value) >= ZYDIS_REGCLASS_GPR8 &&
	     ZydisRegisterGetClass(operand->reg.value) <= ZYDIS_REGCLASS_GPR64) ||
	    (operand->type == ZYDIS_OPERAND_TYPE_MEMORY && operand->mem.type == ZYDIS_MEMOP_TYPE_MEM)) {
		if (operand->size != insn->operand_size * 8u) {
			sprintf(why, "operand size %u, Zydis %u bits", insn->operand_size, operand->size);
			return false;
		}
	}
	return true;
}

/* Zydis refuses, we do not, and that is well. */
static bool validity_may_differ(const struct x86_insn *insn, bool zydis_takes, const uint8_t *bytes)
{
	if (zydis_takes)
		return false;
	/* Hints: MPX's operand rules and CET's RDSSP; without MPX and CET these are NOPs. */
	if (insn->map == X86_MAP_0F && insn->opcode >= 0x1a && insn->opcode <= 0x1e)
		return true;
	/* Control and debug registers that do not exist: the handler raises #UD. */
	if (insn->map == X86_MAP_0F && insn->opcode >= 0x20 && insn->opcode <= 0x23)
		return true;
	/* Gathers whose registers are not distinct: the handler raises #UD. */
	if (insn->row->implicit & X86_IMPLICIT_VSIB)
		return true;
	/* Outside 64-bit code the top bit of the three-byte VEX prefix's vvvv is ignored (SDM vol. 2, 2.3.5.6). Zydis wants it to be 1. */
	while (*bytes != 0xc4 && insn->encoding == X86_VEX3)
		bytes++;
	return insn->encoding == X86_VEX3 && insn->code_size != 8 && !(bytes[2] & 0x40);
}

struct oracle {
	ZydisDecoder decoder;
	unsigned code_size;
	unsigned mismatches;
};

static void mismatch(struct oracle *oracle, const uint8_t *bytes, unsigned length, const char *what)
{
	unsigned i;

	if (oracle->mismatches++ >= REPORTS)
		return;
	print_message("%u-bit:", oracle->code_size * 8);
	for (i = 0; i < length; i++)
		print_message(" %02x", bytes[i]);
	print_message(": %s\n", what);
}

static void compare(struct oracle *oracle, const uint8_t *bytes)
{
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction z;
	struct x86_insn insn;
	char why[256] = "", what[512];
	bool takes, undefined;
	ZyanStatus status;
	const char *name;

	assert_int_equal(x86_decode(&insn, bytes, 15, oracle->code_size), X86_DECODE_OK);
	status = ZydisDecoderDecodeFull(&oracle->decoder, bytes, 15, &z, operands);
	takes = ZYAN_SUCCESS(status) && !is_absent(&z);
	undefined = insn.row->traits & X86_UNDEFINED && strncmp(insn.row->name, "ud", 2);
	if (ZYAN_SUCCESS(status) && !strncmp(ZydisMnemonicGetString(z.mnemonic), "ud", 2) && !strncmp(insn.row->name, "ud", 2))
		return; /* whether UD0 and UD1 have a ModRM depends on the vendor */
	name = takes ? ZydisMnemonicGetString(z.mnemonic) : "(undefined)";
	if (takes == undefined) {
		if (!validity_may_differ(&insn, takes, bytes)) {
			sprintf(what, "we say %s, Zydis %s (%#x, %s)", insn.row->name,
				ZYAN_SUCCESS(status) ? ZydisMnemonicGetString(z.mnemonic) : name, status,
				ZYAN_SUCCESS(status) ? ZydisISAExtGetString(z.meta.isa_ext) : "");
			mismatch(oracle, bytes, 15, what);
		}
		return;
	}
	if (undefined)
		return;
	if (insn.length != z.length)
		sprintf(why, "length %u, Zydis %u", insn.length, z.length);
	else if (is_integer(&insn) && !same_name(name, &insn))
		sprintf(why, "name");
	else if (same_operands(&z, operands, &insn, why) && is_integer(&insn))
		same_size(&z, operands, &insn, why);
	if (*why) {
		sprintf(what, "%s (Zydis %s): %s", insn.row->name, name, why);
		mismatch(oracle, bytes, z.length, what);
	}
}

static uint8_t random_prefix(void)
{
	static const uint8_t prefixes[] = {0x66, 0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x2e, 0x36, 0x64,
					   0x65, 0x41, 0x48, 0x4f, 0x44, 0x40, 0x26, 0x3e};

	return prefixes[random_next() % sizeof(prefixes)];
}

/* Random bytes, leaning towards prefixes and the opcode maps that they would seldom find. */
static void random_bytes(uint8_t bytes[16])
{
	uint64_t choice = random_next();
	unsigned at = 0;
	int i;

	for (i = 0; i < 16; i += 8) {
		uint64_t value = random_next();

		memcpy(bytes + i, &value, 8);
	}
	while (choice & 1 && at < 4) {
		bytes[at++] = random_prefix();
		choice >>= 1;
	}
	choice >>= 8;
	switch (choice % 8) {
	case 0:
	case 1:
	case 2: bytes[at] = 0x0f; break;
	case 3:
		bytes[at] = 0x0f;
		bytes[at + 1] = choice & 256 ? 0x38 : 0x3a;
		break;
	case 4: bytes[at] = choice & 256 ? 0xc4 : 0xc5; break;
	default: break;
	}
}

static void compare_mode(ZydisMachineMode mode, ZydisStackWidth stack, unsigned code_size)
{
	struct oracle oracle = {.code_size = code_size};
	uint8_t bytes[16];
	unsigned i;

	assert_true(ZYAN_SUCCESS(ZydisDecoderInit(&oracle.decoder, mode, stack)));
	for (i = 0; i < STRINGS; i++) {
		random_bytes(bytes);
		compare(&oracle, bytes);
	}
	/* Every opcode of the legacy maps with every ModRM byte, under some prefixes. */
	for (i = 0; i < 4 * 65536; i++) {
		static const struct {
			unsigned length;
			uint8_t bytes[2];
		} escapes[4] = {{0}, {1, {0x0f}}, {2, {0x0f, 0x38}}, {2, {0x0f, 0x3a}}};
		unsigned map = i >> 16, at;

		random_bytes(bytes);
		at = (unsigned)(random_next() % 3);
		bytes[0] = random_prefix();
		bytes[1] = random_prefix();
		memcpy(bytes + at, escapes[map].bytes, escapes[map].length);
		at += escapes[map].length;
		bytes[at] = (uint8_t)(i >> 8);
		bytes[at + 1] = (uint8_t)i;
		compare(&oracle, bytes);
	}
	assert_int_equal(oracle.mismatches, 0);
}

static void test_random_bytes_16(void **state)
{
	(void)state;
	compare_mode(ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16, 2);
}

static void test_random_bytes_32(void **state)
{
	(void)state;
	compare_mode(ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32, 4);
}

static void test_random_bytes_64(void **state)
{
	(void)state;
	compare_mode(ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64, 8);
}

/* What Zydis does not judge: the form of what we keep. */
static struct x86_insn decode(const char *bytes, unsigned length, unsigned code_size)
{
	struct x86_insn insn;
	uint8_t padded[16] = {0};

	memcpy(padded, bytes, length);
	assert_int_equal(x86_decode(&insn, padded, 15, code_size), X86_DECODE_OK);
	return insn;
}
#define DECODE(bytes, code_size) decode(bytes, sizeof(bytes) - 1, code_size)

static void test_immediates(void **state)
{
	struct x86_insn insn = DECODE("\xc8\xff\xee\x81", 8); /* ENTER 0xeeff, 0x81 */

	(void)state;
	assert_int_equal(insn.length, 4);
	assert_int_equal(insn.imm, 0xeeff);
	assert_int_equal(insn.imm2, 0x81);
	assert_int_equal(insn.operand_size, 8);
	insn = DECODE("\xea\x44\x33\x22\x81\x66\x77", 4); /* JMP 0x7766:0x81223344 */
	assert_int_equal(insn.imm, 0x81223344);
	assert_int_equal(insn.imm2, 0x7766);
	insn = DECODE("\xa1\x88\x77\x66\x55\x44\x33\x22\x81", 8); /* MOV EAX, [0x81223344...] */
	assert_int_equal(insn.imm, 0x8122334455667788);
	insn = DECODE("\x67\xa1\x88\x77\x66\x85", 8);
	assert_int_equal(insn.imm, 0x85667788);
	insn = DECODE("\xc2\xfe\xff", 8); /* RET 0xfffe */
	assert_int_equal(insn.imm, 0xfffe);
	insn = DECODE("\xe7\xfe", 4); /* OUT 0xfe, EAX */
	assert_int_equal(insn.imm, 0xfe);
	insn = DECODE("\x48\xb8\x88\x77\x66\x55\x44\x33\x22\x81", 8);
	assert_int_equal(insn.imm, 0x8122334455667788);
}

static void test_stack_segment_is_the_default_for_stack_bases(void **state)
{
	(void)state;
	assert_int_equal(DECODE("\x8b\x04\x24", 8).segment, X86_SS);     /* [RSP] */
	assert_int_equal(DECODE("\x8b\x45\x00", 8).segment, X86_SS);     /* [RBP] */
	assert_int_equal(DECODE("\x41\x8b\x45\x00", 8).segment, X86_DS); /* [R13] */
	assert_int_equal(DECODE("\x8b\x44\x28\x00", 8).segment, X86_DS); /* [RAX + RBP] */
	assert_int_equal(DECODE("\x64\x8b\x45\x00", 8).segment, X86_FS);
	assert_int_equal(DECODE("\x2e\x8b\x45\x00", 8).segment, X86_SS); /* CS: is ignored in 64-bit code */
	assert_int_equal(DECODE("\x2e\x8b\x45\x00", 4).segment, X86_CS);
	assert_int_equal(DECODE("\x64\x2e\x8b\x00", 8).segment, X86_FS);
	assert_int_equal(DECODE("\x50", 8).segment, X86_SS);
}

static void test_short_input_asks_for_more_and_never_reads_on(void **state)
{
	static const char *const instructions[] = {
		"\x48\x81\x84\x8b\x44\x33\x22\x11\x44\x33\x22\x11",
		"\xc4\xe2\x78\xf2\xc1",
		"\x0f\x38\xf0\x00",
		"\x66\x0f\x3a\x0f\xc1\x01",
		"\x48\xb8\x88\x77\x66\x55\x44\x33\x22\x81",
		"\xc8\x01\x01\x01",
		"\xf3\xa4",
		"\x0f\x0b",
	};
	static const unsigned lengths[] = {12, 5, 4, 6, 10, 4, 2, 2};
	struct x86_insn insn;
	unsigned i, available;

	(void)state;
	for (i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		for (available = 0; available < lengths[i]; available++) {
			uint8_t *exact = malloc(available + 1); /* one more for malloc(0); the sanitizer sees reads beyond */

			memcpy(exact + 1, instructions[i], available);
			assert_int_equal(x86_decode(&insn, exact + 1, available, 8), X86_DECODE_MORE);
			free(exact);
		}
		assert_int_equal(x86_decode(&insn, (const uint8_t *)instructions[i], lengths[i], 8), X86_DECODE_OK);
		assert_int_equal(insn.length, lengths[i]);
	}
}

static void test_more_than_15_bytes_is_no_instruction(void **state)
{
	struct x86_insn insn;
	uint8_t bytes[16];

	(void)state;
	memset(bytes, 0x66, sizeof(bytes));
	bytes[14] = 0x90;
	assert_int_equal(x86_decode(&insn, bytes, 16, 8), X86_DECODE_OK);
	assert_string_equal(insn.row->name, "nop");
	assert_int_equal(insn.length, 15);
	bytes[14] = 0x66;
	bytes[15] = 0x90;
	assert_int_equal(x86_decode(&insn, bytes, 16, 8), X86_DECODE_OK);
	assert_string_equal(insn.row->name, "(too long)");
	assert_int_equal(insn.length, 15);
	assert_int_equal(x86_decode(&insn, bytes, 14, 8), X86_DECODE_MORE);
}

static void test_rows_of_shifts_say_what_the_count_does(void **state)
{
	(void)state;
	assert_int_equal(DECODE("\xc1\xe0\x05", 8).row->flags_read, 0);
	assert_int_equal(DECODE("\xc1\xe0\x20", 8).row->flags_written, 0); /* 32 counts as 0 */
	assert_int_equal(DECODE("\xc1\xe0\x20", 8).row->flags_read, X86_FLAGS_STATUS);
	assert_int_not_equal(DECODE("\x48\xc1\xe0\x20", 8).row->flags_written, 0);
	assert_int_equal(DECODE("\xd3\xe0", 8).row->flags_read, X86_FLAGS_STATUS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_bytes_16),
		cmocka_unit_test(test_random_bytes_32),
		cmocka_unit_test(test_random_bytes_64),
		cmocka_unit_test(test_immediates),
		cmocka_unit_test(test_stack_segment_is_the_default_for_stack_bases),
		cmocka_unit_test(test_short_input_asks_for_more_and_never_reads_on),
		cmocka_unit_test(test_more_than_15_bytes_is_no_instruction),
		cmocka_unit_test(test_rows_of_shifts_say_what_the_count_does),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
