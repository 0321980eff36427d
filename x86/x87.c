/* SPDX-License-Identifier: Apache-2.0 */
/*
 * x87.c - the opcodes D8 to DF and 9B: their rows, and how they run.
 *
 * Arithmetic, loads and stores run on the host's processor between FXRSTOR64 and FXSAVE64 of the guest's state (host_run.h). What only moves
 * control and status words is done here; the environment's memory formats are in x87_environment.c. The last instruction and operand pointers
 * are always ours: the host's would show host addresses. FCS and FDS are deprecated (CPUID.7.0:EBX bit 13): they read as 0.
 */
#include "x86/execute.h"
#include "x86/host_run.h"
#include "x86/memory.h"
#include "x86/vector.h"
#include "x86/vector_table.h"

#define FSW_EXCEPTIONS 0x3fu
#define FSW_IE 0x01u
#define FSW_PE 0x20u
#define FSW_SF 0x40u
#define FSW_ES 0x80u
#define FSW_B 0x8000u
#define FCW_SETTABLE 0x1f7fu /* and the host's processors read bit 6 as 1 */
#define FCW_FIXED 0x0040u

static x86_handler x87_run, x87_control, x87_fldcw, x87_fnstcw, x87_fnstsw, x87_fnstsw_ax, x87_fnclex, x87_fninit, x87_nop,
	x87_fwait;

struct x87_row {
	struct x86_opcode opcode;
	x86_handler *execute; /* NULL: #UD */
};

/* clang-format off */
#define WAIT (X86_X87 | X86_WAITING | X86_MODRM)
#define EXT X86_OPERAND_EXTENSION
#define STK X86_OPERAND_ST
#define MEM(name_, size, access) {{.name = name_, .traits = WAIT | (access), .operand_size = size, .reg_kind = EXT}, x87_run}
#define MEM_SSE3(name_, size, access) \
	{{.name = name_, .traits = WAIT | (access), .operand_size = size, .reg_kind = EXT, .feature = FEATURE(SSE3)}, x87_run}
/* By handler, with all its traits. Size 0: it depends on the mode. */
#define OWN(name_, size, traits_, execute_) {{.name = name_, .traits = X86_X87 | X86_MODRM | (traits_), .operand_size = size, .reg_kind = EXT}, execute_}
#define REG(name_) {{.name = name_, .traits = WAIT, .reg_kind = EXT, .rm_kind = STK}, x87_run}
#define REG_FLAGS(name_) {{.name = name_, .traits = WAIT, .reg_kind = EXT, .rm_kind = STK, FLAGS_ALL}, x87_run}
#define REG_CMOV(name_, flags) {{.name = name_, .traits = WAIT, .reg_kind = EXT, .rm_kind = STK, .flags_read = flags}, x87_run}
#define FIXED(name_) {{.name = name_, .traits = WAIT, .reg_kind = EXT}, x87_run}
#define FIXED_CONTROL(name_) {{.name = name_, .traits = WAIT, .reg_kind = EXT}, x87_control}
#define REG_CONTROL(name_) {{.name = name_, .traits = WAIT, .reg_kind = EXT, .rm_kind = STK}, x87_control}
#define NONE_HERE {{.name = NULL}, NULL}

#define INTEGERS(suffix, size)                                                                                                    \
	{MEM("fiadd", size, RD), MEM("fimul", size, RD), MEM("ficom", size, RD), MEM("ficomp", size, RD), MEM("fisub", size, RD), \
	 MEM("fisubr", size, RD), MEM("fidiv", size, RD), MEM("fidivr", size, RD)}
#define REALS(size)                                                                                                               \
	{MEM("fadd", size, RD), MEM("fmul", size, RD), MEM("fcom", size, RD), MEM("fcomp", size, RD), MEM("fsub", size, RD),      \
	 MEM("fsubr", size, RD), MEM("fdiv", size, RD), MEM("fdivr", size, RD)}

static const struct x87_row memory_rows[8][8] = {
	/* D8 */ REALS(4),
	/* D9 */ {MEM("fld", 4, RD), NONE_HERE, MEM("fst", 4, WR), MEM("fstp", 4, WR), OWN("fldenv", 0, RD | X86_WAITING, x87_fldenv),
		  OWN("fldcw", 2, RD | X86_WAITING, x87_fldcw), OWN("fnstenv", 0, WR, x87_fnstenv), OWN("fnstcw", 2, WR, x87_fnstcw)},
	/* DA */ INTEGERS("", 4),
	/* DB */ {MEM("fild", 4, RD), MEM_SSE3("fisttp", 4, WR), MEM("fist", 4, WR), MEM("fistp", 4, WR), NONE_HERE, MEM("fld", 10, RD), NONE_HERE,
		  MEM("fstp", 10, WR)},
	/* DC */ REALS(8),
	/* DD */ {MEM("fld", 8, RD), MEM_SSE3("fisttp", 8, WR), MEM("fst", 8, WR), MEM("fstp", 8, WR), OWN("frstor", 0, RD | X86_WAITING, x87_frstor),
		  NONE_HERE, OWN("fnsave", 0, WR, x87_fnsave), OWN("fnstsw", 2, WR, x87_fnstsw)},
	/* DE */ INTEGERS("", 2),
	/* DF */ {MEM("fild", 2, RD), MEM_SSE3("fisttp", 2, WR), MEM("fist", 2, WR), MEM("fistp", 2, WR), MEM("fbld", 10, RD), MEM("fild", 8, RD),
		  MEM("fbstp", 10, WR), MEM("fistp", 8, WR)},
};

/* Some of the SDM's reserved encodings (D9 D8, DC D0, DD C8 ...) have always been aliases on every processor: they run. */
static const struct x87_row register_rows[8][8] = {
	/* D8 */ {REG("fadd"), REG("fmul"), REG("fcom"), REG("fcomp"), REG("fsub"), REG("fsubr"), REG("fdiv"), REG("fdivr")},
	/* D9 */ {REG("fld"), REG("fxch"), NONE_HERE, REG("fstp"), NONE_HERE, NONE_HERE, NONE_HERE, NONE_HERE}, /* and d9_rows */
	/* DA */ {REG_CMOV("fcmovb", X86_FLAG_CF), REG_CMOV("fcmove", X86_FLAG_ZF), REG_CMOV("fcmovbe", X86_FLAG_CF | X86_FLAG_ZF),
		  REG_CMOV("fcmovu", X86_FLAG_PF), NONE_HERE, NONE_HERE, NONE_HERE, NONE_HERE}, /* and FUCOMPP */
	/* DB */ {REG_CMOV("fcmovnb", X86_FLAG_CF), REG_CMOV("fcmovne", X86_FLAG_ZF), REG_CMOV("fcmovnbe", X86_FLAG_CF | X86_FLAG_ZF),
		  REG_CMOV("fcmovnu", X86_FLAG_PF), NONE_HERE, REG_FLAGS("fucomi"), REG_FLAGS("fcomi"), NONE_HERE}, /* and db_rows */
	/* DC */ {REG("fadd"), REG("fmul"), REG("fcom"), REG("fcomp"), REG("fsubr"), REG("fsub"), REG("fdivr"), REG("fdiv")},
	/* DD */ {REG_CONTROL("ffree"), REG("fxch"), REG("fst"), REG("fstp"), REG("fucom"), REG("fucomp"), NONE_HERE, NONE_HERE},
	/* DE */ {REG("faddp"), REG("fmulp"), REG("fcomp"), NONE_HERE, REG("fsubrp"), REG("fsubp"), REG("fdivrp"), REG("fdivp")}, /* and FCOMPP */
	/* DF */ {REG_CONTROL("ffreep"), REG("fxch"), REG("fstp"), REG("fstp"), NONE_HERE, REG_FLAGS("fucomip"), REG_FLAGS("fcomip"), NONE_HERE}, /* and FNSTSW AX */
};
/* clang-format on */

/* D9 D0, D9 E0 to FF. */
static const struct x87_row row_fnop = FIXED_CONTROL("fnop");
/* clang-format off */
static const struct x87_row d9_rows[32] = {
	FIXED("fchs"), FIXED("fabs"), NONE_HERE, NONE_HERE, FIXED("ftst"), FIXED("fxam"), NONE_HERE, NONE_HERE,
	FIXED("fld1"), FIXED("fldl2t"), FIXED("fldl2e"), FIXED("fldpi"), FIXED("fldlg2"), FIXED("fldln2"), FIXED("fldz"), NONE_HERE,
	FIXED("f2xm1"), FIXED("fyl2x"), FIXED("fptan"), FIXED("fpatan"), FIXED("fxtract"), FIXED("fprem1"), FIXED_CONTROL("fdecstp"), FIXED_CONTROL("fincstp"),
	FIXED("fprem"), FIXED("fyl2xp1"), FIXED("fsqrt"), FIXED("fsincos"), FIXED("frndint"), FIXED("fscale"), FIXED("fsin"), FIXED("fcos"),
};
/* DB E0 to E4: FENI, FDISI and FSETPM did something before the 387. */
static const struct x87_row db_rows[5] = {
	OWN("fneni", 0, 0, x87_nop), OWN("fndisi", 0, 0, x87_nop), OWN("fnclex", 0, 0, x87_fnclex), OWN("fninit", 0, 0, x87_fninit),
	OWN("fnsetpm", 0, 0, x87_nop),
};
/* clang-format on */
static const struct x87_row row_fucompp = FIXED("fucompp"), row_fcompp = FIXED("fcompp");
static const struct x87_row row_fnstsw_ax = OWN("fnstsw", 0, X86_GPR_DEST, x87_fnstsw_ax); /* AX: no operand field names it */
static const struct x87_row row_fwait = {{.name = "fwait", .traits = X86_WAITING}, x87_fwait};

static const struct x87_row *register_row(uint8_t opcode, uint8_t modrm)
{
	switch (opcode << 8 | modrm) {
	case 0xd9d0: return &row_fnop;
	case 0xdae9: return &row_fucompp;
	case 0xded9: return &row_fcompp;
	case 0xdfe0: return &row_fnstsw_ax;
	}
	if (opcode == 0xd9 && modrm >= 0xe0)
		return &d9_rows[modrm - 0xe0];
	if (opcode == 0xdb && modrm >= 0xe0 && modrm <= 0xe4)
		return &db_rows[modrm - 0xe0];
	return &register_rows[opcode & 7][modrm >> 3 & 7];
}

const struct x86_opcode *x87_decode(const struct x86_insn *insn, uint8_t modrm, x86_handler **execute)
{
	const struct x87_row *row;

	if (insn->opcode == 0x9b)
		row = &row_fwait;
	else if (insn->opcode < 0xd8 || insn->opcode > 0xdf)
		return NULL;
	else if (modrm < 0xc0)
		row = &memory_rows[insn->opcode & 7][modrm >> 3 & 7];
	else
		row = register_row(insn->opcode, modrm);
	if (!row->execute)
		return NULL;
	*execute = row->execute;
	return &row->opcode;
}

static uint16_t fsw_summary(uint16_t fcw, uint16_t fsw)
{
	if (fsw & ~fcw & FSW_EXCEPTIONS)
		return fsw | FSW_ES | FSW_B;
	return fsw & (uint16_t) ~(FSW_ES | FSW_B);
}

void x86_x87_summary(struct x86_cpu *cpu)
{
	cpu->s.x87.fsw = fsw_summary(cpu->s.x87.fcw, cpu->s.x87.fsw);
}

static uint8_t modrm_of(const struct x86_insn *insn)
{
	return (uint8_t)(insn->mod << 6 | (insn->reg & 7) << 3 | (insn->mod == 3 ? insn->rm & 7 : HOST_RUN_RM_MEMORY));
}

static const uint8_t *stub_get(struct host_run *run, const struct x86_insn *insn)
{
	uint8_t modrm = modrm_of(insn);
	uint8_t bytes[2] = {insn->opcode, insn->mod == 3 ? modrm : modrm & 0x3f}; /* mod 0: [rsi] */
	uint32_t key = UINT32_C(1) << 31 | (uint32_t)bytes[0] << 8 | bytes[1];
	const uint8_t *stub = host_run_find(run, key);

	return stub ? stub : host_run_add(run, key, bytes, sizeof(bytes));
}

/* An unmasked exception that is met before the result exists: nothing is stored. Inexact alone stores (SDM vol. 1, 8.5). */
static bool store_suppressed(const struct x86_x87 *after)
{
	return after->fsw & ~after->fcw & (FSW_EXCEPTIONS & ~FSW_PE);
}

/* Runs it on the host; returns false if a memory result is not to be stored. The new state is in `after`, except pointers. */
static bool x87_execute(struct x86_cpu *cpu, const struct x86_insn *insn, struct x86_x87 *after)
{
	struct host_run *run = cpu->host_run;
	struct host_run_frame *frame = &run->frame;
	uint16_t old = cpu->s.x87.fsw & (FSW_EXCEPTIONS | FSW_SF);
	bool pending = cpu->s.x87.fsw & FSW_ES, stores;
	const uint8_t *stub = stub_get(run, insn);

	*after = cpu->s.x87;
	if (pending) /* and CR0.NE is off: the host must not trap */
		after->fsw &= (uint16_t) ~(FSW_EXCEPTIONS | FSW_ES | FSW_B);
	after->mxcsr = 0x1f80; /* FXRSTOR loads it, and nobody uses it */
	after->mxcsr_mask = 0;
	after->fop = 0;
	after->fip = after->fdp = 0;
	__builtin_memcpy(frame->x87, after, sizeof(*after));
	frame->flags = cpu->flags;
	frame->mxcsr = cpu->s.x87.mxcsr;
	if (host_run_x87(frame, stub))
		x86_raise(cpu, X86_UD);
	__builtin_memcpy(after, frame->x87, sizeof(*after));
	stores = !store_suppressed(after);
	if (pending)
		after->fsw = fsw_summary(after->fcw, after->fsw | old);
	return stores;
}

static void x87_commit(struct x86_cpu *cpu, const struct x86_insn *insn, const struct x86_x87 *after)
{
	struct x86_x87 *x87 = &cpu->s.x87;
	const struct host_run *run = cpu->host_run;

	x87->fcw = after->fcw;
	x87->fsw = after->fsw;
	x87->ftw = after->ftw;
	__builtin_memcpy(x87->st, after->st, sizeof(x87->st));
	if (insn->row->flags_written)
		cpu->flags = run->frame.flags;
}

/* ModRM.rm of a memory operand, from what decoding made of it (a SIB byte that was not needed is not seen). */
static unsigned memory_rm(const struct x86_insn *insn)
{
	if (insn->address_size == 2) {
		bool di = insn->base == X86_RDI || insn->index == X86_RDI;

		if (insn->base == X86_RBX || insn->index == X86_RBX)
			return insn->index == X86_NO_REG || insn->base == X86_NO_REG ? 7 : di;
		if (insn->base == X86_RBP || insn->index == X86_RBP)
			return insn->index == X86_NO_REG || insn->base == X86_NO_REG ? 6 : 2u + di;
		return insn->base == X86_NO_REG && insn->index == X86_NO_REG ? 6 : 4u + di;
	}
	if (insn->index != X86_NO_REG)
		return 4;
	if (insn->base == X86_NO_REG)
		return insn->code_size == 8 ? 4 : 5;
	return insn->base == X86_RIP ? 5 : insn->base & 7;
}

uint16_t x86_x87_opcode(const struct x86_insn *insn)
{
	unsigned rm = insn->mod == 3 ? insn->rm & 7 : memory_rm(insn);

	return (uint16_t)((insn->opcode & 7) << 8 | insn->mod << 6 | (insn->reg & 7) << 3 | rm);
}

enum x86_x87_kind x86_x87_kind(const struct x86_insn *insn)
{
	x86_handler *execute = insn->execute;

	if (execute == x87_run)
		return X86_X87_TRACED;
	if (execute == x87_control || execute == x87_fldcw || execute == x87_fnstcw || execute == x87_fnstsw ||
	    execute == x87_fnstsw_ax || execute == x87_fnclex || execute == x87_fwait)
		return X86_X87_CONTROL;
	return X86_X87_OTHER;
}

/* The non-control instructions leave their traces (SDM vol. 1, 8.1.8). Real mode has linear addresses there. */
static void pointers_set(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	struct x86_x87 *x87 = &cpu->s.x87;
	bool real = !x86_protected(cpu);

	x87->fop = x86_x87_opcode(insn);
	x87->fip = cpu->reg[X86_RIP] - insn->length;
	if (real)
		x87->fip += cpu->s.segment[X86_CS].base;
	if (insn->mod == 3)
		return;
	x87->fdp = x86_offset(cpu, insn);
	if (real)
		x87->fdp += cpu->s.segment[insn->segment].base;
}

static void x87_run(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	const struct x86_opcode *row = insn->row;
	struct host_run *run = cpu->host_run;
	bool write = row->traits & X86_MEMORY_WRITE, stores;
	struct x86_x87 after;
	uint64_t linear = 0;

	x86_vector_check(cpu, insn);
	if (insn->mod != 3) {
		linear = x86_operand(cpu, insn, row->operand_size, write);
		if (write) /* #PF even where an exception then keeps the store back */
			x86_write_check(cpu, linear, row->operand_size);
		else
			x86_read_bytes(cpu, linear, run->frame.memory, row->operand_size);
	}
	stores = x87_execute(cpu, insn, &after);
	if (write && stores)
		x86_write_bytes(cpu, linear, run->frame.memory, row->operand_size);
	x87_commit(cpu, insn, &after);
	pointers_set(cpu, insn);
}

/* FNOP, FFREE, FINCSTP, FDECSTP: no trace. */
static void x87_control(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	struct x86_x87 after;

	x86_vector_check(cpu, insn);
	x87_execute(cpu, insn, &after);
	x87_commit(cpu, insn, &after);
}

static void x87_fldcw(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	uint16_t value;

	x86_vector_check(cpu, insn);
	value = x86_read16(cpu, x86_operand(cpu, insn, 2, false));
	cpu->s.x87.fcw = (value & FCW_SETTABLE) | FCW_FIXED;
	x86_x87_summary(cpu);
}

static void x87_fnstcw(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	x86_vector_check(cpu, insn);
	x86_write16(cpu, x86_operand(cpu, insn, 2, true), cpu->s.x87.fcw);
}

static void x87_fnstsw(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	x86_vector_check(cpu, insn);
	x86_write16(cpu, x86_operand(cpu, insn, 2, true), cpu->s.x87.fsw);
}

static void x87_fnstsw_ax(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	x86_vector_check(cpu, insn);
	cpu->reg[X86_RAX] = (cpu->reg[X86_RAX] & ~UINT64_C(0xffff)) | cpu->s.x87.fsw;
}

static void x87_fnclex(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	x86_vector_check(cpu, insn);
	cpu->s.x87.fsw &= (uint16_t) ~(FSW_EXCEPTIONS | FSW_SF | FSW_ES | FSW_B);
}

static void x87_fninit(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	x86_vector_check(cpu, insn);
	x87_init(&cpu->s.x87);
}

static void x87_nop(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	x86_vector_check(cpu, insn);
}

/* #NM only with MP and TS together; CR0.EM means nothing to it. */
static void x87_fwait(struct x86_cpu *cpu, const struct x86_insn *insn)
{
	const uint64_t both = X86_CR0_MP | X86_CR0_TS;

	if ((cpu->s.cr0 & both) == both)
		x86_raise(cpu, X86_NM);
	x86_vector_check(cpu, insn); /* #MF */
}
