/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decode.c - x86_decode: bytes to struct x86_insn.
 *
 * A straight walk: prefixes, opcode (legacy maps or VEX), the table entry (opcode_*.c; sub-tables by prefix, ModRM or mode),
 * ModRM and SIB, displacement, immediate, then the handler for this operand size and kind of operand. What the tables here do
 * not have is asked of x86_vector_decode. Nothing but the bytes and the code size decides.
 */
#include "x86/opcode.h"

#include "x86/integer.h"
#include "x86/vector.h"

#define MAX_LENGTH 15

struct cursor {
	const uint8_t *at, *end; /* end: of what is there, at most 15 bytes */
	const uint8_t *readable; /* end of what may be read: `available` bytes */
	const uint8_t *start;
	uint8_t rex; /* the bits W R X B, of REX or VEX */
};

/* What a step of the walk comes to; the steps hand on what is not STEP_OK. */
enum step { STEP_OK, STEP_SHORT, STEP_UNDEFINED };

static const struct x86_opcode undefined_row = {.name = "(undefined)", .traits = X86_UNDEFINED | X86_ENDS_BLOCK};
static const struct x86_opcode too_long_row = {.name = "(too long)", .traits = X86_UNDEFINED | X86_ENDS_BLOCK};

enum prefix {
	PREFIX_NONE,
	PREFIX_66,
	PREFIX_67,
	PREFIX_LOCK,
	PREFIX_F2,
	PREFIX_F3,
	PREFIX_REX,
	PREFIX_ES,
	PREFIX_CS,
	PREFIX_SS,
	PREFIX_DS,
	PREFIX_FS,
	PREFIX_GS
};

static const uint8_t prefix_of[256] = {
	[0x26] = PREFIX_ES,   [0x2e] = PREFIX_CS, [0x36] = PREFIX_SS, [0x3e] = PREFIX_DS,
	[0x64] = PREFIX_FS,   [0x65] = PREFIX_GS, [0x66] = PREFIX_66, [0x67] = PREFIX_67,
	[0xf0] = PREFIX_LOCK, [0xf2] = PREFIX_F2, [0xf3] = PREFIX_F3, [0x40 ... 0x4f] = PREFIX_REX,
};

static inline bool fetch8(struct cursor *c, uint8_t *value)
{
	if (__builtin_expect(c->at == c->end, 0))
		return false;
	*value = *c->at++;
	return true;
}

/* `size` (0 to 8) bytes, sign-extended. Without a branch on the size, which is hard to predict. */
static inline bool fetch_signed(struct cursor *c, unsigned size, uint64_t *value)
{
	unsigned half = 32 - 4 * size; /* two shifts: size 0 shifts by 64 */
	uint64_t word = 0;

	if (__builtin_expect((unsigned)(c->end - c->at) < size, 0))
		return false;
	if (__builtin_expect(c->readable - c->at >= 8, 1))
		__builtin_memcpy(&word, c->at, 8);
	else
		__builtin_memcpy(&word, c->at, size);
	*value = (uint64_t)((int64_t)(word << half << half) >> half >> half);
	c->at += size;
	return true;
}

/* Prefixes in any number and order. The first byte that is none goes to insn->opcode. */
static enum step decode_prefixes_any(struct cursor *c, struct x86_insn *insn, unsigned code_size)
{
	uint8_t byte, prefix;

	for (;;) {
		if (!fetch8(c, &byte))
			return STEP_SHORT;
		prefix = prefix_of[byte];
		if (prefix == PREFIX_NONE || (prefix == PREFIX_REX && code_size != 8))
			break;
		c->rex = 0; /* a REX that is not the last prefix does not count */
		switch (prefix) {
		case PREFIX_REX: c->rex = byte; break;
		case PREFIX_66: insn->prefixes |= X86_PREFIX_66; break;
		case PREFIX_67: insn->prefixes |= X86_PREFIX_67; break;
		case PREFIX_LOCK: insn->prefixes |= X86_PREFIX_LOCK; break;
		case PREFIX_F2:
			insn->prefixes |= X86_PREFIX_REPNE;
			insn->pp = X86_PP_F2;
			break;
		case PREFIX_F3:
			insn->prefixes |= X86_PREFIX_REP;
			insn->pp = X86_PP_F3;
			break;
		default:
			if (code_size == 8 && prefix < PREFIX_FS)
				break; /* ES CS SS DS: without effect */
			insn->prefixes |= X86_PREFIX_SEGMENT;
			insn->segment = (uint8_t)(prefix - PREFIX_ES);
			break;
		}
	}
	insn->opcode = byte;
	if (insn->pp == X86_PP_NONE && insn->prefixes & X86_PREFIX_66)
		insn->pp = X86_PP_66;
	if (insn->prefixes & X86_PREFIX_67)
		insn->address_size = code_size == 4 ? 2 : 4;
	return STEP_OK;
}

/* Most instructions have at most a REX: taken without a branch. */
static inline enum step decode_prefixes(struct cursor *c, struct x86_insn *insn, unsigned code_size)
{
	enum step step = STEP_OK;
	unsigned rex;

	insn->address_size = (uint8_t)code_size;
	if (__builtin_expect(c->end - c->at < 2, 0)) {
		step = decode_prefixes_any(c, insn, code_size);
	} else {
		rex = ((c->at[0] & 0xf0) == 0x40) & (code_size == 8);
		if (__builtin_expect(
			    prefix_of[c->at[rex]] != PREFIX_NONE && (code_size == 8 || prefix_of[c->at[rex]] != PREFIX_REX), 0)) {
			step = decode_prefixes_any(c, insn, code_size);
		} else {
			c->rex = (uint8_t)(c->at[0] & -rex);
			insn->opcode = c->at[rex];
			c->at += rex + 1;
		}
	}
	insn->prefixes |= c->rex & X86_PREFIX_REX; /* a REX byte has that very bit */
	insn->w = c->rex >> 3 & 1;
	return step;
}
_Static_assert(X86_PREFIX_REX == 0x40, "the bit is taken from the REX byte");

/* After C4 or C5 that is a VEX prefix. */
static enum step decode_vex(struct cursor *c, struct x86_insn *insn, unsigned code_size)
{
	uint8_t first, second;

	if (insn->prefixes & (X86_PREFIX_LOCK | X86_PREFIX_REX | X86_PREFIX_66 | X86_PREFIX_REP | X86_PREFIX_REPNE))
		return STEP_UNDEFINED;
	if (!fetch8(c, &first))
		return STEP_SHORT;
	/* VEX has the register bits inverted; c->rex takes them as REX has them. */
	c->rex = (uint8_t)(~first >> 5 & 4);
	if (insn->opcode == 0xc5) {
		insn->encoding = X86_VEX2;
		insn->map = X86_MAP_0F;
		second = first;
	} else {
		insn->encoding = X86_VEX3;
		insn->map = first & 31;
		if (insn->map < X86_MAP_0F || insn->map > X86_MAP_0F3A)
			return STEP_UNDEFINED;
		if (!fetch8(c, &second))
			return STEP_SHORT;
		c->rex = (uint8_t)(c->rex | (~first >> 5 & 3) | (second >> 7 << 3));
		insn->w = second >> 7;
	}
	insn->vvvv = ~second >> 3 & 15;
	insn->l = second >> 2 & 1;
	insn->pp = second & 3;
	if (code_size != 8) {
		c->rex = 0;
		insn->vvvv &= 7;
	}
	insn->prefixes |= X86_PREFIX_REX; /* byte registers cannot occur; SPL.. would be the reading */
	if (!fetch8(c, &insn->opcode))
		return STEP_SHORT;
	return STEP_OK;
}

/* The opcode's bytes after the first; finds the table entry to start from (NULL: the vector decoder's). */
static inline enum step decode_opcode(struct cursor *c, struct x86_insn *insn, unsigned code_size,
				      const struct opcode_entry **entry)
{
	enum step step;

	if (__builtin_expect(insn->opcode != 0x0f, 1)) {
		bool vex = (insn->opcode & 0xfe) == 0xc4;

		if (__builtin_expect(vex, 0)) {
			if (code_size != 8) {
				if (c->at == c->end)
					return STEP_SHORT;
				vex = *c->at >> 6 == 3;
			}
			if (vex) {
				step = decode_vex(c, insn, code_size);
				if (step != STEP_OK)
					return step;
				*entry = NULL;
				if (insn->map == X86_MAP_0F38 && insn->opcode >= 0xf0)
					*entry = &x86_opcode_vex_0f38_f0[insn->opcode & 15];
				else if (insn->map == X86_MAP_0F3A && insn->opcode == 0xf0)
					*entry = &x86_opcode_vex_0f3a_f0;
				/* The integer operations have no 256-bit form; RORX has no use for vvvv. */
				return *entry && (insn->l || (insn->map == X86_MAP_0F3A && insn->vvvv)) ? STEP_UNDEFINED : STEP_OK;
			}
		}
		*entry = &x86_opcode_1byte[insn->opcode];
		return STEP_OK;
	}
	if (!fetch8(c, &insn->opcode))
		return STEP_SHORT;
	if (insn->opcode == 0x38 || insn->opcode == 0x3a) {
		insn->map = insn->opcode == 0x38 ? X86_MAP_0F38 : X86_MAP_0F3A;
		if (!fetch8(c, &insn->opcode))
			return STEP_SHORT;
		*entry = NULL;
		if (insn->map == X86_MAP_0F38 && insn->opcode >= 0xf0)
			*entry = &x86_opcode_0f38_f0[insn->opcode & 15];
		else if (insn->map == X86_MAP_0F38 && (insn->opcode & 0xf8) == 0x80)
			*entry = &x86_opcode_0f38_80[insn->opcode & 7];
		return STEP_OK;
	}
	insn->map = X86_MAP_0F;
	*entry = &x86_opcode_0f[insn->opcode];
	return STEP_OK;
}

/* Follows sub-tables until a plain entry, or one that is the vector decoder's. */
static inline enum step decode_entry(const struct cursor *c, const struct x86_insn *insn, unsigned code_size,
				     const struct opcode_entry **found)
{
	const struct opcode_entry *entry = *found;

	while (__builtin_expect(entry->kind >= OPCODE_MODE, 0)) {
		uint8_t modrm;

		switch ((enum opcode_kind)entry->kind) {
		case OPCODE_MODE: entry = &entry->sub[code_size == 8]; continue;
		case OPCODE_REP: entry = &entry->sub[insn->pp >= X86_PP_F3]; continue;
		case OPCODE_PP: entry = &entry->sub[insn->pp]; continue;
		case OPCODE_W: entry = &entry->sub[insn->w]; continue;
		case OPCODE_B: entry = &entry->sub[c->rex & 1]; continue;
		default: break;
		}
		if (c->at == c->end)
			return STEP_SHORT;
		modrm = *c->at;
		if (entry->kind == OPCODE_GROUP)
			entry = &entry->sub[modrm >> 3 & 7];
		else if (entry->kind == OPCODE_MOD)
			entry = &entry->sub[modrm >> 6 == 3];
		else
			entry = &entry->sub[modrm & 7];
	}
	*found = entry;
	return STEP_OK;
}

/* By rule, code size (2, 4, 8), 66, W. */
#define SIZES(rule, c16, c16_66, c32, c32_66, c64, c64_w, c64_66, c64_66_w) \
	[rule] = {{c16, c16, c16_66, c16_66}, {c32, c32, c32_66, c32_66}, {c64, c64_w, c64_66, c64_66_w}}
static const uint8_t operand_sizes[8][3][4] = {
	SIZES(SIZE_V, 2, 4, 4, 2, 4, 8, 2, 8),    SIZES(SIZE_BYTE, 1, 1, 1, 1, 1, 1, 1, 1),
	SIZES(SIZE_WORD, 2, 2, 2, 2, 2, 2, 2, 2), SIZES(SIZE_Z, 2, 4, 4, 2, 4, 4, 2, 2),
	SIZES(SIZE_Y, 4, 4, 4, 4, 4, 8, 4, 8),    SIZES(SIZE_STACK, 2, 4, 4, 2, 8, 8, 2, 8),
	SIZES(SIZE_NEAR, 2, 4, 4, 2, 8, 8, 8, 8), SIZES(SIZE_NATIVE, 4, 4, 4, 4, 8, 8, 8, 8),
};

static inline uint8_t operand_size(enum opcode_size rule, const struct x86_insn *insn, unsigned code_size)
{
	return operand_sizes[rule][code_size >> 2][(insn->prefixes & X86_PREFIX_66) >> 2 | insn->w];
}
_Static_assert(X86_PREFIX_66 >> 2 == 2, "operand_sizes' index");

static enum step decode_address16(struct cursor *c, struct x86_insn *insn, uint8_t rm)
{
	static const uint8_t base[8] = {X86_RBX, X86_RBX, X86_RBP, X86_RBP, X86_RSI, X86_RDI, X86_RBP, X86_RBX};
	static const uint8_t index[8] = {X86_RSI, X86_RDI, X86_RSI, X86_RDI, X86_NO_REG, X86_NO_REG, X86_NO_REG, X86_NO_REG};
	uint64_t disp = 0;

	insn->base = base[rm];
	insn->index = index[rm];
	if (insn->mod == 0 && rm == 6)
		insn->base = X86_NO_REG;
	if (((insn->mod == 0 && rm == 6) || insn->mod == 2) && !fetch_signed(c, 2, &disp))
		return STEP_SHORT;
	if (insn->mod == 1 && !fetch_signed(c, 1, &disp))
		return STEP_SHORT;
	insn->disp = (int32_t)disp;
	if (insn->segment == X86_NO_REG)
		insn->segment = insn->base == X86_RBP ? X86_SS : X86_DS;
	return STEP_OK;
}

static inline enum step decode_address(struct cursor *c, struct x86_insn *insn, uint8_t rm, unsigned code_size)
{
	uint8_t base = rm, index = X86_NO_REG, sib;
	uint64_t disp = 0;
	unsigned disp_size = (UINT32_C(0x040100) >> 8 * insn->mod) & 7;
	bool stack;

	if (rm == 4) {
		if (!fetch8(c, &sib))
			return STEP_SHORT;
		insn->scale = sib >> 6;
		index = (uint8_t)((sib >> 3 & 7) | (c->rex & 2) << 2);
		if (index == 4)
			index = X86_NO_REG;
		base = sib & 7;
	}
	if (base == 5 && insn->mod == 0) {
		disp_size = 4;
		base = rm == 5 && code_size == 8 ? X86_RIP : X86_NO_REG;
	} else {
		base |= (uint8_t)((c->rex & 1) << 3);
	}
	if (!fetch_signed(c, disp_size, &disp))
		return STEP_SHORT;
	insn->disp = (int32_t)disp;
	insn->base = base;
	insn->index = index;
	stack = base == X86_RSP || base == X86_RBP;
	if (insn->segment == X86_NO_REG)
		insn->segment = stack ? X86_SS : X86_DS;
	return STEP_OK;
}

static inline enum step decode_modrm(struct cursor *c, struct x86_insn *insn, unsigned code_size, bool ignore_mod)
{
	uint8_t modrm, rm;

	if (!fetch8(c, &modrm))
		return STEP_SHORT;
	rm = modrm & 7;
	insn->mod = ignore_mod ? 3 : modrm >> 6;
	insn->reg = (uint8_t)((modrm >> 3 & 7) | (c->rex & 4) << 1);
	if (insn->mod == 3) {
		insn->rm = (uint8_t)(rm | (c->rex & 1) << 3);
		return STEP_OK;
	}
	if (insn->address_size == 2)
		return decode_address16(c, insn, rm);
	return decode_address(c, insn, rm, code_size);
}

/* Bytes of an immediate by kind and log2 of the operand size. */
static const uint8_t immediate_sizes[][4] = {
	[IMM_NONE] = {0, 0, 0, 0}, [IMM_8] = {1, 1, 1, 1}, [IMM_U8] = {1, 1, 1, 1},   [IMM_U16] = {2, 2, 2, 2},
	[IMM_Z] = {1, 2, 4, 4},    [IMM_V] = {1, 2, 4, 8}, [IMM_NEAR] = {0, 2, 4, 4},
};

static bool decode_immediate_long(struct cursor *c, struct x86_insn *insn, enum opcode_immediate kind)
{
	uint64_t value;
	unsigned size;

	if (kind == IMM_OFFSET) {
		if (!fetch_signed(c, insn->address_size, &insn->imm))
			return false;
		insn->imm &= insn->address_size == 8 ? UINT64_MAX : insn->address_size == 4 ? UINT32_MAX : UINT16_MAX;
		return true;
	}
	if (kind == IMM_FAR) {
		size = insn->operand_size == 2 ? 2 : 4;
		if (!fetch_signed(c, size, &insn->imm) || !fetch_signed(c, 2, &value))
			return false;
		insn->imm = size == 2 ? (uint16_t)insn->imm : (uint32_t)insn->imm;
		insn->imm2 = (uint16_t)value;
		return true;
	}
	if (!fetch_signed(c, 2, &insn->imm) || !fetch_signed(c, 1, &value)) /* IMM_ENTER */
		return false;
	insn->imm = (uint16_t)insn->imm;
	insn->imm2 = (uint8_t)value;
	return true;
}

static inline bool decode_immediate(struct cursor *c, struct x86_insn *insn, enum opcode_immediate kind, unsigned size_log2)
{
	if (__builtin_expect(kind >= IMM_OFFSET, 0))
		return decode_immediate_long(c, insn, kind);
	if (!fetch_signed(c, immediate_sizes[kind][size_log2], &insn->imm))
		return false;
	if (kind == IMM_U8)
		insn->imm = (uint8_t)insn->imm;
	else if (kind == IMM_U16)
		insn->imm = (uint16_t)insn->imm;
	return true;
}

static const uint8_t log2_of[9] = {[1] = 0, [2] = 1, [4] = 2, [8] = 3};

/* An entry of the integer tables. */
static inline enum step decode_integer(struct cursor *c, struct x86_insn *insn, const struct opcode_entry *entry,
				       unsigned code_size)
{
	x86_handler *const *handlers;
	enum step step;
	unsigned size;

	if (code_size == 8 ? entry->row.traits & X86_NOT_64 : entry->row.traits & X86_ONLY_64)
		return STEP_UNDEFINED;
	insn->row = &entry->row;
	insn->operand_size = operand_size(entry->size, insn, code_size);
	size = log2_of[insn->operand_size];
	if (entry->row.traits & X86_MODRM) {
		step = decode_modrm(c, insn, code_size, entry->operands == OPERANDS_IGNORE_MOD);
		if (step != STEP_OK)
			return step;
	} else if (entry->operands == OPERANDS_LOW) {
		insn->rm = (uint8_t)((insn->opcode & 7) | (c->rex & 1) << 3);
	}
	if (!decode_immediate(c, insn, entry->immediate, size))
		return STEP_SHORT;
	if (insn->segment == X86_NO_REG)
		insn->segment = entry->row.traits & X86_STACK ? X86_SS : X86_DS;
	if (entry->kind == OPCODE_SHIFT && !(insn->imm & (insn->operand_size == 8 ? 63 : 31)))
		insn->row = &entry->sub->row;
	if (__builtin_expect(insn->prefixes & X86_PREFIX_LOCK, 0)) {
		if (insn->mod == 3)
			return STEP_UNDEFINED;
		handlers = entry->handlers->lock;
	} else {
		handlers = insn->mod == 3 ? entry->handlers->reg : entry->handlers->mem;
	}
	insn->execute = handlers[size];
	return insn->execute ? STEP_OK : STEP_UNDEFINED;
}

static enum step decode_vector(struct cursor *c, struct x86_insn *insn, unsigned code_size)
{
	bool short_of_modrm = c->at == c->end;
	const struct x86_opcode *row;
	enum step step;

	insn->operand_size = operand_size(SIZE_V, insn, code_size);
	row = x86_vector_decode(insn, short_of_modrm ? 0 : *c->at, &insn->execute);
	if (!row)
		return short_of_modrm ? STEP_SHORT : STEP_UNDEFINED;
	if (code_size == 8 ? row->traits & X86_NOT_64 : row->traits & X86_ONLY_64)
		return STEP_UNDEFINED;
	if (insn->prefixes & X86_PREFIX_LOCK)
		return STEP_UNDEFINED;
	insn->row = row;
	if (row->traits & X86_MODRM) {
		step = decode_modrm(c, insn, code_size, false);
		if (step != STEP_OK)
			return step;
	}
	if (row->traits & X86_IMM8) {
		if (!decode_immediate(c, insn, IMM_U8, 0))
			return STEP_SHORT;
		insn->imm2 = (uint16_t)(code_size == 8 ? insn->imm >> 4 : insn->imm >> 4 & 7); /* is4 */
	}
	if (insn->segment == X86_NO_REG)
		insn->segment = X86_DS;
	return STEP_OK;
}

enum x86_decode_status x86_decode(struct x86_insn *insn, const uint8_t *bytes, unsigned available, unsigned code_size)
{
	struct cursor c = {.at = bytes,
			   .start = bytes,
			   .readable = bytes + available,
			   .end = bytes + (available < MAX_LENGTH ? available : MAX_LENGTH)};
	const struct opcode_entry *entry = NULL;
	enum step step;

	*insn = (struct x86_insn){
		.code_size = (uint8_t)code_size, .mod = 3, .base = X86_NO_REG, .index = X86_NO_REG, .segment = X86_NO_REG};
	step = decode_prefixes(&c, insn, code_size);
	if (step == STEP_OK)
		step = decode_opcode(&c, insn, code_size, &entry);
	if (step == STEP_OK && entry)
		step = decode_entry(&c, insn, code_size, &entry);
	if (step == STEP_OK) {
		if (entry && entry->kind != OPCODE_VECTOR)
			step = decode_integer(&c, insn, entry, code_size);
		else
			step = decode_vector(&c, insn, code_size);
	}
	if (__builtin_expect(step == STEP_SHORT, 0)) {
		if (available < MAX_LENGTH)
			return X86_DECODE_MORE;
		insn->row = &too_long_row;
		insn->execute = x86_integer_too_long;
	} else if (__builtin_expect(step == STEP_UNDEFINED, 0)) {
		insn->row = &undefined_row;
		insn->execute = x86_integer_undefined;
	}
	if (insn->segment == X86_NO_REG)
		insn->segment = X86_DS;
	insn->length = (uint8_t)(c.at - c.start);
	return X86_DECODE_OK;
}
