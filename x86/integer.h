/* SPDX-License-Identifier: Apache-2.0 */
/*
 * integer.h - the handlers of the integer instructions, for the opcode tables to name. One line a file of handlers.
 */
#ifndef HOLON_X86_INTEGER_H
#define HOLON_X86_INTEGER_H

#include "x86/opcode.h"

/* integer_alu.c: in the order of the encoding (ADD OR ADC SBB AND SUB XOR CMP) */
extern const struct x86_handlers x86_integer_alu_rm_r[8], x86_integer_alu_r_rm[8], x86_integer_alu_rm_imm[8];
extern const struct x86_handlers x86_integer_test_rm_r, x86_integer_test_rm_imm;
/* integer_unary.c */
extern const struct x86_handlers x86_integer_inc, x86_integer_dec, x86_integer_neg, x86_integer_not;
extern const struct x86_handlers x86_integer_adcx, x86_integer_adox;
/* integer_shift.c: ROL ROR RCL RCR SHL SHR SHL SAR */
extern const struct x86_handlers x86_integer_shift_1[8], x86_integer_shift_imm[8], x86_integer_shift_cl[8];
extern const struct x86_handlers x86_integer_shld_imm, x86_integer_shld_cl, x86_integer_shrd_imm, x86_integer_shrd_cl;
/* integer_multiply.c */
extern const struct x86_handlers x86_integer_mul, x86_integer_imul, x86_integer_div, x86_integer_idiv;
extern const struct x86_handlers x86_integer_imul_r_rm, x86_integer_imul_r_rm_imm;
/* integer_decimal.c */
extern const struct x86_handlers x86_integer_aaa, x86_integer_aas, x86_integer_daa, x86_integer_das, x86_integer_aam,
	x86_integer_aad;
/* integer_move.c */
extern const struct x86_handlers x86_integer_mov_rm_r, x86_integer_mov_r_rm, x86_integer_mov_rm_imm;
extern const struct x86_handlers x86_integer_mov_load_offset, x86_integer_mov_store_offset;
extern const struct x86_handlers x86_integer_movzx8, x86_integer_movzx16, x86_integer_movsx8, x86_integer_movsx16,
	x86_integer_movsxd;
extern const struct x86_handlers x86_integer_movnti, x86_integer_lea, x86_integer_xchg, x86_integer_xchg_accumulator,
	x86_integer_bswap, x86_integer_xlat;
extern const struct x86_handlers x86_integer_movbe_load, x86_integer_movbe_store, x86_integer_cbw, x86_integer_cwd;
/* integer_condition.c */
extern const struct x86_handlers x86_integer_setcc[16], x86_integer_cmovcc[16], x86_integer_jcc[16];
/* integer_flags.c */
extern const struct x86_handlers x86_integer_lahf, x86_integer_sahf, x86_integer_clc, x86_integer_stc, x86_integer_cmc,
	x86_integer_cld, x86_integer_std, x86_integer_salc;
/* integer_bit.c */
extern const struct x86_handlers x86_integer_bt_r, x86_integer_bts_r, x86_integer_btr_r, x86_integer_btc_r;
extern const struct x86_handlers x86_integer_bt_imm, x86_integer_bts_imm, x86_integer_btr_imm, x86_integer_btc_imm;
/* integer_count.c */
extern const struct x86_handlers x86_integer_bsf, x86_integer_bsr, x86_integer_tzcnt, x86_integer_lzcnt, x86_integer_popcnt;
extern const struct x86_handlers x86_integer_crc32_8, x86_integer_crc32_v;
extern const struct x86_handlers x86_integer_andn, x86_integer_blsr, x86_integer_blsmsk, x86_integer_blsi, x86_integer_bzhi,
	x86_integer_pext, x86_integer_pdep, x86_integer_mulx, x86_integer_bextr, x86_integer_shlx, x86_integer_sarx,
	x86_integer_shrx, x86_integer_rorx;
/* integer_atomic.c */
extern const struct x86_handlers x86_integer_cmpxchg, x86_integer_xadd, x86_integer_cmpxchg8b, x86_integer_cmpxchg16b;
/* integer_stack.c */
extern const struct x86_handlers x86_integer_push_r, x86_integer_push_imm, x86_integer_pop_r, x86_integer_push_rm,
	x86_integer_pop_rm;
extern const struct x86_handlers x86_integer_pusha, x86_integer_popa, x86_integer_enter, x86_integer_leave;
/* integer_branch.c */
extern const struct x86_handlers x86_integer_jmp, x86_integer_jmp_rm, x86_integer_call, x86_integer_call_rm, x86_integer_ret,
	x86_integer_ret_imm;
extern const struct x86_handlers x86_integer_loop, x86_integer_loope, x86_integer_loopne, x86_integer_jcxz;
/* integer_misc.c */
extern const struct x86_handlers x86_integer_nop, x86_integer_prefetch, x86_integer_pause, x86_integer_mfence, x86_integer_lfence,
	x86_integer_sfence, x86_integer_cache_line, x86_integer_clflushopt, x86_integer_clwb, x86_integer_bound, x86_integer_rdrand,
	x86_integer_rdseed;
x86_handler x86_integer_undefined, x86_integer_too_long;
/* string.c */
extern const struct x86_handlers x86_string_movs, x86_string_cmps, x86_string_stos, x86_string_lods, x86_string_scas;

#endif
