/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_generate.c - random blocks of user-mode instructions that have one right result on the host's processor.
 *
 * Zydis, not our decoder, says what an instruction is, so that a mistake of ours cannot hide from the test. At start the whole opcode space is
 * walked and every form that may be run is noted under its mnemonic; a block takes mnemonics at random, so that rare ones come as often as
 * MOV. Now and then an instruction is made of random bytes instead. Excluded is what is listed in rejected_mnemonic() and vet(), with the reason.
 */
#include <Zydis/Zydis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test/cpu/fuzz.h"

enum form_kind { FORM_LEGACY, FORM_VEX };

#define ANY 0xff
struct form {
	uint8_t kind;
	uint8_t map; /* 0: one byte, 1: 0F, 2: 0F38, 3: 0F3A */
	uint8_t pp;  /* VEX.pp's encoding */
	uint8_t opcode;
	uint8_t w, l;
	uint8_t modrm;  /* there is one */
	uint8_t memory; /* ModRM names memory */
	uint8_t reg;    /* extends the opcode, or ANY */
	uint8_t rm;
	uint8_t vvvv; /* 0: must be 1111, ANY */
	uint16_t mnemonic;
};

#define CLASSES 4 /* integer and the like; vector and MMX; x87; what always faults */
struct mnemonic {
	unsigned first, count; /* in forms[] */
};
struct mode_forms {
	struct form *forms;
	unsigned count;
	uint16_t list[CLASSES][ZYDIS_MNEMONIC_MAX_VALUE + 1];
	unsigned listed[CLASSES];
	struct mnemonic of[ZYDIS_MNEMONIC_MAX_VALUE + 1];
	ZydisDecoder decoder;
};
static struct mode_forms modes[2];
static uint64_t used[ZYDIS_MNEMONIC_MAX_VALUE + 1];

uint64_t fuzz_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static unsigned below(uint64_t *random, unsigned limit)
{
	return (unsigned)(fuzz_random(random) >> 32) % limit;
}

static bool percent(uint64_t *random, unsigned odds)
{
	return below(random, 100) < odds;
}

static bool rejected_mnemonic(ZydisMnemonic mnemonic)
{
	switch (mnemonic) {
	/* Differ from run to run, or tell the host's identity or setup. */
	case ZYDIS_MNEMONIC_CPUID:
	case ZYDIS_MNEMONIC_RDTSC:
	case ZYDIS_MNEMONIC_RDTSCP:
	case ZYDIS_MNEMONIC_RDPMC:
	case ZYDIS_MNEMONIC_RDPID:
	case ZYDIS_MNEMONIC_RDRAND:
	case ZYDIS_MNEMONIC_RDSEED:
	case ZYDIS_MNEMONIC_XGETBV:
	case ZYDIS_MNEMONIC_SMSW:
	case ZYDIS_MNEMONIC_SLDT:
	case ZYDIS_MNEMONIC_STR:
	case ZYDIS_MNEMONIC_SGDT:
	case ZYDIS_MNEMONIC_SIDT:
	case ZYDIS_MNEMONIC_LAR:
	case ZYDIS_MNEMONIC_LSL:
	case ZYDIS_MNEMONIC_VERR:
	case ZYDIS_MNEMONIC_VERW:
	case ZYDIS_MNEMONIC_RDPKRU:
	case ZYDIS_MNEMONIC_WRPKRU:
	/* Enter the kernel, or need more rights than a program has in ways that vendors differ on. */
	case ZYDIS_MNEMONIC_SYSCALL:
	case ZYDIS_MNEMONIC_SYSRET:
	case ZYDIS_MNEMONIC_SYSENTER:
	case ZYDIS_MNEMONIC_SYSEXIT:
	case ZYDIS_MNEMONIC_IRET:
	case ZYDIS_MNEMONIC_IRETD:
	case ZYDIS_MNEMONIC_IRETQ:
	case ZYDIS_MNEMONIC_MONITOR:
	case ZYDIS_MNEMONIC_MWAIT:
	case ZYDIS_MNEMONIC_INVD:
	case ZYDIS_MNEMONIC_INVPCID:
	case ZYDIS_MNEMONIC_ENCLU:
	case ZYDIS_MNEMONIC_ENCLS:
	case ZYDIS_MNEMONIC_ENCLV:
	case ZYDIS_MNEMONIC_GETSEC:
	/* Change FS's base, which is the C library's on the native side, or segments whose tables are the host kernel's. */
	case ZYDIS_MNEMONIC_RDFSBASE:
	case ZYDIS_MNEMONIC_RDGSBASE:
	case ZYDIS_MNEMONIC_WRFSBASE:
	case ZYDIS_MNEMONIC_WRGSBASE:
	case ZYDIS_MNEMONIC_LDS:
	case ZYDIS_MNEMONIC_LES:
	case ZYDIS_MNEMONIC_LFS:
	case ZYDIS_MNEMONIC_LGS:
	case ZYDIS_MNEMONIC_LSS:
	/* Store FIP and FDP, which vendors fill differently, or load them; their images have unit tests of their own. */
	case ZYDIS_MNEMONIC_FNSTENV:
	case ZYDIS_MNEMONIC_FNSAVE:
	case ZYDIS_MNEMONIC_FLDENV:
	case ZYDIS_MNEMONIC_FRSTOR:
	case ZYDIS_MNEMONIC_FXSAVE:
	case ZYDIS_MNEMONIC_FXSAVE64:
	case ZYDIS_MNEMONIC_FXRSTOR:
	case ZYDIS_MNEMONIC_FXRSTOR64:
	case ZYDIS_MNEMONIC_XSAVE:
	case ZYDIS_MNEMONIC_XSAVE64:
	case ZYDIS_MNEMONIC_XSAVEC:
	case ZYDIS_MNEMONIC_XSAVEC64:
	case ZYDIS_MNEMONIC_XSAVEOPT:
	case ZYDIS_MNEMONIC_XSAVEOPT64:
	case ZYDIS_MNEMONIC_XSAVES:
	case ZYDIS_MNEMONIC_XSAVES64:
	case ZYDIS_MNEMONIC_XRSTOR:
	case ZYDIS_MNEMONIC_XRSTOR64:
	case ZYDIS_MNEMONIC_XRSTORS:
	case ZYDIS_MNEMONIC_XRSTORS64:
	/* Extensions that hosts may have and no model of ours does; Zydis counts them to no set of their own. */
	case ZYDIS_MNEMONIC_CLZERO:
	case ZYDIS_MNEMONIC_RDPRU:
	case ZYDIS_MNEMONIC_CLDEMOTE:
	case ZYDIS_MNEMONIC_PTWRITE:
	case ZYDIS_MNEMONIC_SERIALIZE:
	case ZYDIS_MNEMONIC_SALC:
	/* AMD's have no ModRM byte. */
	case ZYDIS_MNEMONIC_UD0:
	case ZYDIS_MNEMONIC_UD1:
	/* A hypervisor below the host may get its RIP wrong; test/guest/debug_test.c has it. */
	case ZYDIS_MNEMONIC_INT1: return true;
	default: return false;
	}
}

/* Extensions outside every model: a host may run them where the engine rightly raises #UD. */
static bool rejected_name(const char *name)
{
	static const char *const sets[] = {
		"SVM",     "VTX",      "SMAP",   "SSE4A",     "TBM",     "XOP",   "FMA4",        "LWP",      "MONITORX",
		"MCOMMIT", "RTM",      "SGX",    "PKU",       "GFNI",    "AMX",   "KEYLOCKER",   "UINTR",    "WAITPKG",
		"MOVDIR",  "ENQCMD",   "HRESET", "PCONFIG",   "TSX",     "CET",   "AVX512",      "AVX_VNNI", "INVLPGB",
		"SNP",     "TDX",      "3DNOW",  "AMD3DNOW",  "MPX",     "CLWB",  "TSX_LDTRK",   "PADLOCK",  "KNC",
		"RAO",     "AVX_IFMA", "AVX_NE", "CMPCCXADD", "MSRLIST", "RDPRU", "AMD_INVLPGB", "VIA"};

	for (unsigned i = 0; name && i < sizeof(sets) / sizeof(sets[0]); i++)
		if (strncmp(name, sets[i], strlen(sets[i])) == 0)
			return true;
	return false;
}

static bool rejected_extension[ZYDIS_ISA_EXT_MAX_VALUE + 1], rejected_isa_set[ZYDIS_ISA_SET_MAX_VALUE + 1];

static void rejected_make(void)
{
	for (unsigned i = 0; i <= ZYDIS_ISA_EXT_MAX_VALUE; i++)
		rejected_extension[i] = rejected_name(ZydisISAExtGetString((ZydisISAExt)i));
	for (unsigned i = 0; i <= ZYDIS_ISA_SET_MAX_VALUE; i++)
		rejected_isa_set[i] = rejected_name(ZydisISASetGetString((ZydisISASet)i));
}

static bool rejected_set(const ZydisDecodedInstruction *decoded)
{
	if (decoded->mnemonic == ZYDIS_MNEMONIC_ENDBR32 || decoded->mnemonic == ZYDIS_MNEMONIC_ENDBR64)
		return false; /* a NOP everywhere */
	return rejected_extension[decoded->meta.isa_ext] || rejected_isa_set[decoded->meta.isa_set];
}

/* May this instruction stand in a block? */
static bool vet(const ZydisDecodedInstruction *decoded, const ZydisDecodedOperand *operands)
{
	unsigned i;

	if (decoded->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY && decoded->encoding != ZYDIS_INSTRUCTION_ENCODING_VEX)
		return false;
	if (rejected_mnemonic(decoded->mnemonic) || rejected_set(decoded))
		return false;
	if (decoded->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
		return false;
	/* 66 before a near branch: AMD cuts RIP to 16 bits in 64-bit mode, Intel ignores it. */
	if (decoded->meta.branch_type != ZYDIS_BRANCH_TYPE_NONE && (decoded->attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE))
		return false;
	if (decoded->meta.category == ZYDIS_CATEGORY_RET && (decoded->attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE))
		return false;
	/* FS is the C library's. GS is null in 32-bit mode. Any such byte goes: where it has no effect it tests nothing. */
	for (i = 0; i < decoded->raw.prefix_count; i++)
		if (decoded->raw.prefixes[i].value == 0x64 ||
		    (decoded->raw.prefixes[i].value == 0x65 && decoded->machine_mode != ZYDIS_MACHINE_MODE_LONG_64))
			return false;
	/* F2 and F3 before LOOPE and LOOPNE: reserved; AMD takes them for the condition. */
	if ((decoded->mnemonic == ZYDIS_MNEMONIC_LOOPE || decoded->mnemonic == ZYDIS_MNEMONIC_LOOPNE) && decoded->raw.prefix_count)
		for (i = 0; i < decoded->raw.prefix_count; i++)
			if ((decoded->raw.prefixes[i].value & 0xfe) == 0xf2)
				return false;
	/* 0F 0D with a register: AMD #UD, Intel NOP. */
	if (decoded->opcode_map == ZYDIS_OPCODE_MAP_0F && decoded->opcode == 0x0d && decoded->raw.modrm.mod == 3)
		return false;
	/* MOVSXD with 66: Intel reads 16 bits, AMD 32. */
	if (decoded->mnemonic == ZYDIS_MNEMONIC_MOVSXD && decoded->operand_width == 16)
		return false;
	/* PUSH of a segment register with 32 or 64 bits: AMD writes them all, newer Intels only the lower 16. */
	if (decoded->mnemonic == ZYDIS_MNEMONIC_PUSH && decoded->operand_width > 16 &&
	    operands[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
	    ZydisRegisterGetClass(operands[0].reg.value) == ZYDIS_REGCLASS_SEGMENT)
		return false;
	/* VEX.W with a general operand outside 64-bit mode: Intel ignores W, AMD raises #UD for some. */
	if (decoded->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX && decoded->machine_mode != ZYDIS_MACHINE_MODE_LONG_64 &&
	    decoded->raw.vex.W)
		switch (decoded->mnemonic) {
		case ZYDIS_MNEMONIC_VPINSRD:
		case ZYDIS_MNEMONIC_VPINSRQ:
		case ZYDIS_MNEMONIC_VPEXTRD:
		case ZYDIS_MNEMONIC_VPEXTRQ:
		case ZYDIS_MNEMONIC_VMOVD:
		case ZYDIS_MNEMONIC_VMOVQ: return false;
		default: break;
		}
	/* INT 80h enters the kernel. The other vectors are #GP but for 3 and 4. */
	if (decoded->mnemonic == ZYDIS_MNEMONIC_INT && decoded->raw.imm[0].value.u == 0x80)
		return false;
	for (i = 0; i < decoded->operand_count; i++)
		if (operands[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    ZydisRegisterGetClass(operands[i].reg.value) == ZYDIS_REGCLASS_SEGMENT &&
		    (operands[i].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE))
			return false;
	/* What privileged instructions raise is #GP on both sides, but vendors differ on some in 32-bit mode and on #UD before #GP. */
	return true;
}

static unsigned emit_opcode(const struct form *form, uint8_t *p, unsigned rex_bits, unsigned vvvv)
{
	uint8_t *start = p;

	if (form->kind == FORM_VEX) {
		unsigned r = ~rex_bits >> 2 & 1, x = ~rex_bits >> 1 & 1, b = ~rex_bits & 1;

		/* The two-byte form where it can say it all and the dice want it (bit 3 of rex_bits). */
		if (form->map == 1 && !form->w && x && b && (rex_bits & 8)) {
			*p++ = 0xc5;
			*p++ = (uint8_t)(r << 7 | (vvvv ^ 15) << 3 | (unsigned)form->l << 2 | form->pp);
		} else {
			*p++ = 0xc4;
			*p++ = (uint8_t)(r << 7 | x << 6 | b << 5 | form->map);
			*p++ = (uint8_t)((unsigned)form->w << 7 | (vvvv ^ 15) << 3 | (unsigned)form->l << 2 | form->pp);
		}
	} else {
		static const uint8_t prefix[] = {0, 0x66, 0xf3, 0xf2};

		if (form->pp)
			*p++ = prefix[form->pp];
		if (form->w || (rex_bits & 7))
			*p++ = (uint8_t)(0x40 | (form->w ? 8 : 0) | (rex_bits & 7));
		else if (rex_bits & 16)
			*p++ = 0x40;
		if (form->map)
			*p++ = 0x0f;
		if (form->map == 2)
			*p++ = 0x38;
		if (form->map == 3)
			*p++ = 0x3a;
	}
	*p++ = form->opcode;
	return (unsigned)(p - start);
}

static unsigned class_of(const ZydisDecodedInstruction *decoded)
{
	if (decoded->attributes & ZYDIS_ATTRIB_IS_PRIVILEGED)
		return 3;
	switch (decoded->meta.category) {
	case ZYDIS_CATEGORY_INTERRUPT:
	case ZYDIS_CATEGORY_IO:
	case ZYDIS_CATEGORY_IOSTRINGOP: return 3;
	default: break;
	}
	switch (decoded->mnemonic) {
	case ZYDIS_MNEMONIC_UD2:
	case ZYDIS_MNEMONIC_CLI:
	case ZYDIS_MNEMONIC_STI:
	case ZYDIS_MNEMONIC_RSM:
	case ZYDIS_MNEMONIC_RDMSR:
	case ZYDIS_MNEMONIC_WRMSR:
	case ZYDIS_MNEMONIC_XSETBV:
	case ZYDIS_MNEMONIC_SWAPGS: return 3;
	default: break;
	}
	switch (decoded->meta.isa_ext) {
	case ZYDIS_ISA_EXT_X87: return 2;
	case ZYDIS_ISA_EXT_BASE:
	case ZYDIS_ISA_EXT_BMI1:
	case ZYDIS_ISA_EXT_BMI2:
	case ZYDIS_ISA_EXT_ADOX_ADCX:
	case ZYDIS_ISA_EXT_MOVBE:
	case ZYDIS_ISA_EXT_LZCNT:
	case ZYDIS_ISA_EXT_LONGMODE:
	case ZYDIS_ISA_EXT_PAUSE:
	case ZYDIS_ISA_EXT_CLFSH:
	case ZYDIS_ISA_EXT_CLFLUSHOPT: return 0;
	default: return 1;
	}
}

/* Looks at one candidate of the opcode space and notes it if it may run and says something new. */
static void form_try(struct mode_forms *mode, struct form form, uint8_t *classes)
{
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction decoded;
	uint8_t bytes[32] = {0};
	unsigned length, i;
	bool reg_used = false, rm_used = false, vvvv_used = false;

	length = emit_opcode(&form, bytes, 0, 0);
	bytes[length] = (uint8_t)((form.memory ? 0 : 0xc0) | form.reg << 3 | form.rm);
	if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&mode->decoder, bytes, 15, &decoded, operands)))
		return;
	if (decoded.raw.prefix_count > (form.pp && form.kind == FORM_LEGACY) || !vet(&decoded, operands))
		return;
	form.modrm = (decoded.attributes & ZYDIS_ATTRIB_HAS_MODRM) != 0;
	if (!form.modrm && (form.reg || form.rm || !form.memory))
		return;
	for (i = 0; i < decoded.operand_count; i++) {
		reg_used |= operands[i].encoding == ZYDIS_OPERAND_ENCODING_MODRM_REG;
		rm_used |= operands[i].encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM;
		vvvv_used |= operands[i].encoding == ZYDIS_OPERAND_ENCODING_NDSNDD;
	}
	if ((reg_used && form.reg) || (rm_used && form.rm) || (form.memory && form.rm))
		return; /* the same as with 0 */
	if (reg_used)
		form.reg = ANY;
	if (rm_used || form.memory)
		form.rm = ANY;
	form.vvvv = vvvv_used ? ANY : 0;
	form.mnemonic = (uint16_t)decoded.mnemonic;
	classes[decoded.mnemonic] = (uint8_t)class_of(&decoded);
	mode->forms[mode->count++] = form;
}

static int form_order(const void *a, const void *b)
{
	return ((const struct form *)a)->mnemonic - ((const struct form *)b)->mnemonic;
}

static unsigned digit(unsigned *rest, unsigned base)
{
	unsigned value = *rest % base;

	*rest /= base;
	return value;
}

/* Is this a point of the opcode space at all? */
static bool form_exists(const struct form *form, ZydisMachineMode machine)
{
	if (form->memory && form->rm)
		return false;
	if (form->kind == FORM_VEX)
		return form->map != 0;
	if (form->l || (form->w && machine != ZYDIS_MACHINE_MODE_LONG_64))
		return false;
	if (form->map)
		return true;
	/* What leads elsewhere: escape, VEX, EVEX, XOP. */
	switch (form->opcode) {
	case 0x0f:
	case 0x62:
	case 0xc4:
	case 0xc5: return false;
	case 0x8f: return form->reg == 0;
	default: return true;
	}
}

static void mode_init(struct mode_forms *mode, ZydisMachineMode machine, ZydisStackWidth width)
{
	static uint8_t classes[ZYDIS_MNEMONIC_MAX_VALUE + 1];
	unsigned i;

	if (!ZYAN_SUCCESS(ZydisDecoderInit(&mode->decoder, machine, width)))
		abort();
	mode->forms = calloc(1 << 18, sizeof(*mode->forms));
	for (i = 0; i < 2u * 4 * 4 * 256 * 2 * 2 * 2 * 8 * 8 && mode->count < 1 << 18; i++) {
		unsigned rest = i;
		struct form form = {0};

		/* The opcode space as the digits of one number. */
		form.rm = (uint8_t)digit(&rest, 8);
		form.reg = (uint8_t)digit(&rest, 8);
		form.memory = (uint8_t)digit(&rest, 2);
		form.l = (uint8_t)digit(&rest, 2);
		form.w = (uint8_t)digit(&rest, 2);
		form.opcode = (uint8_t)digit(&rest, 256);
		form.pp = (uint8_t)digit(&rest, 4);
		form.map = (uint8_t)digit(&rest, 4);
		form.kind = (uint8_t)rest;
		if (form_exists(&form, machine))
			form_try(mode, form, classes);
	}
	qsort(mode->forms, mode->count, sizeof(*mode->forms), form_order);
	for (i = 0; i < mode->count; i++) {
		struct mnemonic *of = &mode->of[mode->forms[i].mnemonic];

		if (!of->count) {
			unsigned class = classes[mode->forms[i].mnemonic];

			of->first = i;
			mode->list[class][mode->listed[class]++] = mode->forms[i].mnemonic;
		}
		of->count++;
	}
}

void fuzz_generate_init(void)
{
	rejected_make();
	mode_init(&modes[FUZZ_64], ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	mode_init(&modes[FUZZ_32], ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32);
}

/* --- initial state --- */

static uint64_t window_pointer(uint64_t *random)
{
	/* Mostly where there is room on both sides; else around the page ends, where things go wrong. */
	static const uint8_t roomy[] = {1, 1, 2, 5, 6, 7};
	unsigned page = roomy[below(random, sizeof(roomy))];

	switch (below(random, 16)) {
	case 0: return FUZZ_WINDOW + below(random, FUZZ_WINDOW_PAGES * FUZZ_PAGE);
	case 1: return FUZZ_WINDOW + (1 + below(random, FUZZ_WINDOW_PAGES - 1)) * FUZZ_PAGE - below(random, 40);
	case 2: return FUZZ_WINDOW + (uint64_t)page * FUZZ_PAGE + below(random, FUZZ_PAGE);
	default: return FUZZ_WINDOW + (uint64_t)page * FUZZ_PAGE + 32 * below(random, FUZZ_PAGE / 32);
	}
}

static uint64_t interesting(uint64_t *random)
{
	static const uint64_t values[] = {0,
					  1,
					  2,
					  0x7f,
					  0x80,
					  0xff,
					  0x7fff,
					  0x8000,
					  0xffff,
					  0x7fffffff,
					  0x80000000,
					  0xffffffff,
					  INT64_MAX,
					  UINT64_C(0x8000000000000000),
					  UINT64_MAX,
					  0x0f0f0f0f0f0f0f0f,
					  0x5555555555555555};

	switch (below(random, 4)) {
	case 0: return values[below(random, sizeof(values) / sizeof(values[0]))] + below(random, 3) - 1;
	case 1: return below(random, 70);
	case 2: return fuzz_random(random) >> below(random, 64);
	default: return fuzz_random(random);
	}
}

static void float_fill(uint64_t *random, uint8_t *out, unsigned size)
{
	static const uint32_t single[] = {0,          0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000,
					  0x7fc00000, 0x7f800001, 0xffc12345, 1,          0x807fffff, 0x00800000,
					  0x7f7fffff, 0x4f000000, 0xcf000000, 0x4b000001, 0x3effffff, 0x40490fdb};
	static const uint64_t twice[] = {0,
					 UINT64_C(0x8000000000000000),
					 UINT64_C(0x3ff0000000000000),
					 UINT64_C(0xbff0000000000000),
					 UINT64_C(0x7ff0000000000000),
					 UINT64_C(0xfff0000000000000),
					 UINT64_C(0x7ff8000000000000),
					 UINT64_C(0x7ff0000000000001),
					 1,
					 UINT64_C(0x800fffffffffffff),
					 UINT64_C(0x0010000000000000),
					 UINT64_C(0x7fefffffffffffff),
					 UINT64_C(0x43e0000000000000),
					 UINT64_C(0x41dfffffffc00000),
					 UINT64_C(0x4330000000000001),
					 UINT64_C(0x400921fb54442d18)};
	unsigned at, kind = below(random, 5);

	for (at = 0; at < size; at += 8) {
		uint64_t value;

		if (kind == 0) {
			value = fuzz_random(random);
		} else if (kind == 1) {
			value = interesting(random);
		} else if (kind == 2) {
			value = single[below(random, sizeof(single) / sizeof(single[0]))];
			value |= (uint64_t)single[below(random, sizeof(single) / sizeof(single[0]))] << 32;
		} else if (kind == 3) {
			value = twice[below(random, sizeof(twice) / sizeof(twice[0]))];
		} else {
			float f = (float)(int64_t)fuzz_random(random) / (float)(1ll << below(random, 62));
			double d = (double)(int64_t)fuzz_random(random) / (double)(1ll << below(random, 62));

			if (percent(random, 50))
				memcpy(&value, &d, 8);
			else
				memcpy(&value, &f, 4), memcpy((uint8_t *)&value + 4, &f, 4);
		}
		memcpy(out + at, &value, 8);
	}
}

static void st_fill(uint64_t *random, uint8_t st[16])
{
	static const uint16_t exponents[] = {0, 1, 0x3ffe, 0x3fff, 0x4000, 0x403e, 0x403f, 0x7ffe, 0x7fff};
	uint64_t mantissa = percent(random, 60) ? fuzz_random(random) : interesting(random);
	uint16_t exponent = percent(random, 50) ? exponents[below(random, 9)] : (uint16_t)(0x3fff - 40 + below(random, 80));

	if (percent(random, 90) && (exponent & 0x7fff))
		mantissa |= UINT64_C(1) << 63;
	if (percent(random, 10))
		mantissa = UINT64_C(1) << 63 | (percent(random, 50) ? UINT64_C(1) << 62 : 0);
	exponent |= (uint16_t)(below(random, 2) << 15);
	memset(st, 0, 16);
	memcpy(st, &mantissa, 8);
	memcpy(st + 8, &exponent, 2);
}

static void state_fill(uint64_t *random, struct fuzz_state *state, enum fuzz_mode mode)
{
	unsigned i;

	memset(state, 0, sizeof(*state));
	for (i = 0; i < 16; i++)
		state->gpr[i] = interesting(random);
	/* The pointers: what memory operands are based on (pointer_base) and what strings and the stack use. */
	for (i = 3; i < 8; i++)
		if (percent(random, i == 4 ? 98 : 85))
			state->gpr[i] = window_pointer(random);
	for (i = 12; i < 16; i++)
		if (percent(random, 85))
			state->gpr[i] = window_pointer(random);
	if (percent(random, 90))
		state->gpr[4] = (state->gpr[4] & ~(uint64_t)(FUZZ_PAGE - 1)) + 256 + 8 * below(random, 400);
	if (percent(random, 70))
		state->gpr[1] = below(random, 20); /* a count */
	if (mode == FUZZ_32)
		for (i = 0; i < 16; i++)
			state->gpr[i] = i < 8 ? (uint32_t)state->gpr[i] : 0;
	state->rflags = 0x202 | (fuzz_random(random) & 0x8d5);
	if (percent(random, 15))
		state->rflags |= 0x400;
	if (percent(random, 3))
		state->rflags |= 0x40000; /* AC: with CR0.AM misaligned accesses fault */
	if (percent(random, 3))
		state->rflags |= 0x200000;
	state->mxcsr = 0x1f80;
	if (percent(random, 50))
		state->mxcsr = (uint32_t)(0x1f80 | (fuzz_random(random) & 0xe07f));
	if (percent(random, 12))
		state->mxcsr = (uint32_t)(fuzz_random(random) & 0xffc0);
	state->fcw = 0x37f;
	if (percent(random, 50))
		state->fcw = (uint16_t)(0x7f | (fuzz_random(random) & 0xf00));
	if (percent(random, 12))
		state->fcw = (uint16_t)(0x40 | (fuzz_random(random) & 0xf3f));
	state->fsw = (uint16_t)(fuzz_random(random) & 0x7f00);
	if (percent(random, 30))
		state->fsw |= (uint16_t)(fuzz_random(random) & 0x7f & state->fcw & 0x3f);
	state->ftw = (uint8_t)(percent(random, 60) ? 0xff : percent(random, 50) ? 0 : fuzz_random(random));
	for (i = 0; i < 8; i++)
		st_fill(random, state->st[i]);
	for (i = 0; i < (mode == FUZZ_64 ? 16 : 8); i++)
		float_fill(random, state->ymm[i], 32);
}

/* --- instructions --- */

/* A register that probably still holds a pointer; one for the sum that probably is small or a pointer's partner. */
static unsigned pointer_base(uint64_t *random, enum fuzz_mode mode)
{
	static const uint8_t bases[] = {3, 5, 6, 7, 4, 12, 13, 14, 15};

	return bases[below(random, mode == FUZZ_64 ? 9 : 5)];
}

static unsigned data_register(uint64_t *random, enum fuzz_mode mode)
{
	static const uint8_t data[] = {0, 1, 2, 8, 9, 10, 11};

	if (percent(random, 12))
		return below(random, mode == FUZZ_64 ? 16 : 8);
	return data[below(random, mode == FUZZ_64 ? 7 : 3)];
}

/* ModRM, SIB and displacement of a memory operand. Returns the length; sets REX bits X and B. */
static unsigned emit_memory(uint64_t *random, enum fuzz_mode mode, uint8_t *p, unsigned reg, unsigned *rex)
{
	unsigned base = percent(random, 96) ? pointer_base(random, mode) : below(random, mode == FUZZ_64 ? 16 : 8);
	unsigned kind = below(random, 10), index = 4, scale = 0, mod, length = 1;
	int32_t displacement;

	if (kind == 0) {
		/* mod 0, rm 5: RIP-relative in 64-bit mode, else absolute: filled in later either way. */
		p[0] = (uint8_t)((reg & 7) << 3 | 5);
		memset(p + 1, 0, 4);
		return 5;
	}
	displacement = percent(random, 75) ? (int32_t)below(random, 16) * 32 - 128 : (int32_t)below(random, 256) - 128;
	mod = displacement >= -128 && displacement < 128 ? 1 : 2;
	if (percent(random, 20))
		mod = 2;
	if (percent(random, 25) && (base & 7) != 5)
		mod = 0;
	if (kind <= 3 || (base & 7) == 4) {
		if (percent(random, 40)) {
			index = percent(random, 80) ? 1 : below(random, mode == FUZZ_64 ? 16 : 8);
			scale = below(random, 4);
		}
		p[0] = (uint8_t)(mod << 6 | (reg & 7) << 3 | 4);
		p[1] = (uint8_t)(scale << 6 | (index & 7) << 3 | (base & 7));
		*rex |= (index >> 3) << 1;
		length = 2;
	} else {
		p[0] = (uint8_t)(mod << 6 | (reg & 7) << 3 | (base & 7));
	}
	*rex |= base >> 3;
	if (mod == 1) {
		p[length++] = (uint8_t)displacement;
	} else if (mod == 2) {
		memcpy(p + length, &displacement, 4);
		length += 4;
	}
	return length;
}

static const struct form *form_pick(uint64_t *random, enum fuzz_mode mode)
{
	const struct mode_forms *forms = &modes[mode];
	unsigned dice = below(random, 100), class = dice < 50 ? 0 : dice < 86 ? 1 : dice < 98 ? 2 : 3;
	const struct mnemonic *of = &forms->of[forms->list[class][below(random, forms->listed[class])]];

	return &forms->forms[of->first + below(random, of->count)];
}

/* Bytes of an instruction of this form; up to 15 and more, cut by the decoder. */
static void form_emit(uint64_t *random, enum fuzz_mode mode, const struct form *form, uint8_t *bytes)
{
	uint8_t tail[8];
	unsigned reg = form->reg, rm = form->rm, rex = 0, vvvv = 0, length = 0, tail_length = 0,
		 registers = mode == FUZZ_64 ? 16 : 8, i;
	bool legacy = form->kind == FORM_LEGACY;

	if (form->modrm) {
		if (reg == ANY)
			reg = data_register(random, mode);
		rex = (reg >> 3) << 2;
		if (form->memory) {
			tail_length = emit_memory(random, mode, tail, reg, &rex);
		} else {
			if (rm == ANY)
				rm = data_register(random, mode);
			rex |= rm >> 3;
			tail[0] = (uint8_t)(0xc0 | (reg & 7) << 3 | (rm & 7));
			tail_length = 1;
		}
	} else if (legacy && mode == FUZZ_64 && percent(random, 30)) {
		rex = below(random, 8); /* a register in the opcode */
	}
	if (form->vvvv == ANY)
		vvvv = below(random, registers);
	if (percent(random, 50))
		rex |= 8; /* VEX: two bytes if possible */
	if (mode == FUZZ_64 && percent(random, 10))
		rex |= 16; /* REX without bits: SPL..DIL */
	if (percent(random, 3))
		bytes[length++] = 0x67;
	if (percent(random, 3))
		bytes[length++] = 0x65; /* GS */
	if (percent(random, 2))
		bytes[length++] = (uint8_t)(0x26 + 8 * below(random, 4)); /* ES CS SS DS */
	if (legacy && form->memory && form->modrm && percent(random, 8))
		bytes[length++] = 0xf0;
	if (legacy && !form->pp && percent(random, 2))
		bytes[length++] = (uint8_t)(0xf2 + below(random, 2));
	if (legacy && form->pp >= 2 && percent(random, 3))
		bytes[length++] = 0x66;
	length += emit_opcode(form, bytes + length, mode == FUZZ_64 ? rex : rex & 8, vvvv);
	memcpy(bytes + length, tail, tail_length);
	length += tail_length;
	for (i = length; i < 32; i++)
		bytes[i] = (uint8_t)fuzz_random(random);
	if (percent(random, 40)) {
		/* Immediates that are small, or have only sign bits above the first byte. */
		bytes[length] &= 0x3f;
		memset(bytes + length + 1, percent(random, 50) ? 0 : 0xff, 7);
	}
}

/* Fills in what depends on the decoded layout; false: not for a block. */
static bool instruction_finish(uint64_t *random, enum fuzz_mode mode, struct fuzz_instruction *instruction, const uint8_t *bytes)
{
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction decoded;
	unsigned i;

	if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&modes[mode].decoder, bytes, 15, &decoded, operands)) || !vet(&decoded, operands))
		return false;
	memset(instruction, 0, sizeof(*instruction));
	memcpy(instruction->bytes, bytes, decoded.length);
	instruction->length = decoded.length;
	if (decoded.attributes & ZYDIS_ATTRIB_IS_RELATIVE) {
		for (i = 0; i < 2; i++)
			if (decoded.raw.imm[i].is_relative) {
				instruction->branch_offset = decoded.raw.imm[i].offset;
				instruction->branch_size = decoded.raw.imm[i].size / 8;
				instruction->branch_skip = (uint8_t)below(random, 5);
			}
		if (!instruction->branch_size && !(decoded.raw.disp.size == 32))
			return false;
	}
	/* RIP-relative and absolute operands: 5 means no base and no SIB. */
	if ((decoded.attributes & ZYDIS_ATTRIB_HAS_MODRM) && decoded.raw.modrm.mod == 0 && decoded.raw.modrm.rm == 5 &&
	    decoded.raw.disp.size == 32) {
		uint32_t target = (uint32_t)window_pointer(random);

		instruction->rip_offset = decoded.raw.disp.offset;
		instruction->rip_target = target;
		if (mode == FUZZ_32) {
			memcpy(instruction->bytes + decoded.raw.disp.offset, &target, 4);
			instruction->rip_offset = 0;
		}
	} else if (decoded.raw.disp.size == 64 || (decoded.raw.disp.size == 32 && !(decoded.attributes & ZYDIS_ATTRIB_HAS_MODRM))) {
		uint64_t target = window_pointer(random); /* MOV AL, moffs and its like */

		memcpy(instruction->bytes + decoded.raw.disp.offset, &target, decoded.raw.disp.size / 8);
	}
	if (decoded.cpu_flags) {
		instruction->flags_tested = (uint16_t)decoded.cpu_flags->tested;
		instruction->flags_undefined = (uint16_t)decoded.cpu_flags->undefined;
		/* A shift by 0 and a string of length 0 leave all flags as they were. */
		if (decoded.meta.category != ZYDIS_CATEGORY_SHIFT && decoded.meta.category != ZYDIS_CATEGORY_ROTATE &&
		    decoded.meta.category != ZYDIS_CATEGORY_STRINGOP)
			instruction->flags_defined =
				(uint16_t)(decoded.cpu_flags->modified | decoded.cpu_flags->set_0 | decoded.cpu_flags->set_1);
	}
	instruction->anywhere = decoded.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE && !instruction->branch_size;
	used[decoded.mnemonic]++;
	return true;
}

void fuzz_block_lay(struct fuzz_block *block)
{
	unsigned offset[FUZZ_INSTRUCTIONS + 1], i, at = 0;
	uint16_t undefined = 0, tested = 0;
	bool branched = false;

	block->uses_undefined = block->anywhere = false;
	for (i = 0; i < block->count; i++) {
		offset[i] = at;
		at += block->instruction[i].length;
	}
	offset[block->count] = at;
	block->length = at;
	memset(block->boundary, 0, sizeof(block->boundary));
	for (i = 0; i <= block->count; i++)
		block->boundary[offset[i]] = 1;
	block->flags_ever_undefined = 0;
	for (i = 0; i < block->count; i++) {
		const struct fuzz_instruction *instruction = &block->instruction[i];
		uint8_t *bytes = block->bytes + offset[i];
		unsigned target = i + 1 + instruction->branch_skip;

		memcpy(bytes, instruction->bytes, instruction->length);
		if (instruction->branch_size) {
			int32_t distance = (int32_t)(offset[target < block->count ? target : block->count] - offset[i + 1]);

			memcpy(bytes + instruction->branch_offset, &distance, instruction->branch_size);
			branched = true;
		}
		if (instruction->rip_offset) {
			uint32_t next = (uint32_t)FUZZ_CODE + block->start + offset[i + 1],
				 relative = instruction->rip_target - next;

			memcpy(bytes + instruction->rip_offset, &relative, 4);
		}
		block->flags_undefined[offset[i]] = undefined;
		block->uses_undefined |= (undefined & instruction->flags_tested) != 0;
		if (!branched)
			undefined &= (uint16_t)~instruction->flags_defined;
		undefined |= instruction->flags_undefined;
		block->flags_ever_undefined |= instruction->flags_undefined;
		block->anywhere |= instruction->anywhere;
		tested |= instruction->flags_tested;
	}
	block->uses_undefined |= block->anywhere && block->flags_ever_undefined & tested;
	block->flags_undefined[at] = undefined;
	block->initial.rip = FUZZ_CODE + block->start;
}

void fuzz_generate(struct fuzz_block *block, enum fuzz_mode mode, uint64_t seed)
{
	uint64_t random = seed;
	unsigned wanted = 1 + below(&random, FUZZ_INSTRUCTIONS), tries = 0;

	memset(block, 0, sizeof(*block));
	block->mode = mode;
	state_fill(&random, &block->initial, mode);
	while (block->count < wanted && tries++ < 200) {
		uint8_t bytes[64];
		unsigned i;

		if (percent(&random, 8)) {
			for (i = 0; i < sizeof(bytes); i++)
				bytes[i] = (uint8_t)fuzz_random(&random);
		} else {
			form_emit(&random, mode, form_pick(&random, mode), bytes);
		}
		if (instruction_finish(&random, mode, &block->instruction[block->count], bytes)) {
			block->count++;
			/* What depends on an undefined flag has no one right result. */
			fuzz_block_lay(block);
			if (block->uses_undefined)
				block->count--;
		}
	}
	fuzz_block_lay(block);
	/* Mostly anywhere on the first page; sometimes across to the second, sometimes out into nothing. */
	switch (below(&random, 16)) {
	case 0: block->start = FUZZ_PAGE - below(&random, block->length + 1); break;
	case 1: block->start = FUZZ_CODE_FRAMES * FUZZ_PAGE - below(&random, block->length + 1); break;
	default: block->start = below(&random, 64); break;
	}
	if (block->start >= FUZZ_CODE_FRAMES * FUZZ_PAGE)
		block->start = FUZZ_CODE_FRAMES * FUZZ_PAGE - 1;
	fuzz_block_lay(block);
}

void fuzz_generate_report(void)
{
	unsigned mode, class, i, seen = 0, total = 0;

	for (i = 0; i <= ZYDIS_MNEMONIC_MAX_VALUE; i++) {
		if (modes[0].of[i].count || modes[1].of[i].count) {
			total++;
			seen += used[i] != 0;
		}
	}
	printf("# %u of %u mnemonics used; forms:", seen, total);
	for (mode = 0; mode < 2; mode++) {
		printf(" %s-bit %u (", mode == FUZZ_64 ? "64" : "32", modes[mode].count);
		for (class = 0; class < CLASSES; class ++)
			printf("%u%s", modes[mode].listed[class], class + 1 < CLASSES ? " + " : " mnemonics)");
	}
	printf("\n");
}
