/* SPDX-License-Identifier: Apache-2.0 */
/*
 * thunk.c - the doors between C and translated code, in assembly: in (jit_enter), out (exit_*, trap), and out and back (fill_*, handler*).
 *
 * Register convention of translated code: the guest's RAX RDX RBX RBP RSI RDI R8 R9 R10 R12 R13 are in the host's registers of the same
 * name, RCX in R11, RSP in R15; R11, R14, R15 are in the context. The host's RCX and R14 are scratch, RSP is the context. Flags are the host's
 * status flags; DF is 0. Nothing here or below, down to x86_page_walk, touches a vector register: they may hold the guest's.
 *
 * A thunk is called with RSP = context - 8; the return address there points to the site's word (context.h). In a program's window RSP is the guest's and R15 the
 * context, but while a handler or a fill is called (direct.c): the thunks of jumps and links, and whatever enters a block, go over from one to the other.
 */
#include "engine/jit/context.h"

#define C(member) "i"(offsetof(struct jit_context, member))
#define CPU(member) "i"(offsetof(struct x86_cpu, member))

/* Guest registers and flags to cpu->reg; R14 = cpu. RSP = context - 8. Destroys RAX after storing it. */
#define SAVE_GUEST                           \
	"movq 8+%c[cpu](%%rsp), %%r14\n\t"   \
	"movq %%rax, %c[reg]+0(%%r14)\n\t"   \
	"lahf\n\t"                           \
	"seto %%al\n\t"                      \
	"movw %%ax, %c[cpuflags](%%r14)\n\t" \
	"movq %%r11, %c[reg]+8(%%r14)\n\t"   \
	"movq %%rdx, %c[reg]+16(%%r14)\n\t"  \
	"movq %%rbx, %c[reg]+24(%%r14)\n\t"  \
	"movq %%r15, %c[reg]+32(%%r14)\n\t"  \
	"movq %%rbp, %c[reg]+40(%%r14)\n\t"  \
	"movq %%rsi, %c[reg]+48(%%r14)\n\t"  \
	"movq %%rdi, %c[reg]+56(%%r14)\n\t"  \
	"movq %%r8, %c[reg]+64(%%r14)\n\t"   \
	"movq %%r9, %c[reg]+72(%%r14)\n\t"   \
	"movq %%r10, %c[reg]+80(%%r14)\n\t"  \
	"movq %%r12, %c[reg]+96(%%r14)\n\t"  \
	"movq %%r13, %c[reg]+104(%%r14)\n\t" \
	"movq 8+%c[r11](%%rsp), %%rax\n\t"   \
	"movq %%rax, %c[reg]+88(%%r14)\n\t"  \
	"movq 8+%c[r14](%%rsp), %%rax\n\t"   \
	"movq %%rax, %c[reg]+112(%%r14)\n\t" \
	"movq 8+%c[r15](%%rsp), %%rax\n\t"   \
	"movq %%rax, %c[reg]+120(%%r14)\n\t"

/* The reverse; `at` is the context's displacement from RSP. Segment bases too. */
#define LOAD_GUEST(at)                             \
	"movq " at "+%c[cpu](%%rsp), %%r14\n\t"    \
	"movq %c[reg]+88(%%r14), %%rax\n\t"        \
	"movq %%rax, " at "+%c[r11](%%rsp)\n\t"    \
	"movq %c[reg]+112(%%r14), %%rax\n\t"       \
	"movq %%rax, " at "+%c[r14](%%rsp)\n\t"    \
	"movq %c[reg]+120(%%r14), %%rax\n\t"       \
	"movq %%rax, " at "+%c[r15](%%rsp)\n\t"    \
	"movq %c[fs](%%r14), %%rax\n\t"            \
	"movq %%rax, " at "+%c[fsbase](%%rsp)\n\t" \
	"movq %c[gs](%%r14), %%rax\n\t"            \
	"movq %%rax, " at "+%c[gsbase](%%rsp)\n\t" \
	"movzwl %c[cpuflags](%%r14), %%eax\n\t"    \
	"addb $127, %%al\n\t"                      \
	"sahf\n\t"                                 \
	"movq %c[reg]+0(%%r14), %%rax\n\t"         \
	"movq %c[reg]+8(%%r14), %%r11\n\t"         \
	"movq %c[reg]+16(%%r14), %%rdx\n\t"        \
	"movq %c[reg]+24(%%r14), %%rbx\n\t"        \
	"movq %c[reg]+32(%%r14), %%r15\n\t"        \
	"movq %c[reg]+40(%%r14), %%rbp\n\t"        \
	"movq %c[reg]+48(%%r14), %%rsi\n\t"        \
	"movq %c[reg]+56(%%r14), %%rdi\n\t"        \
	"movq %c[reg]+64(%%r14), %%r8\n\t"         \
	"movq %c[reg]+72(%%r14), %%r9\n\t"         \
	"movq %c[reg]+80(%%r14), %%r10\n\t"        \
	"movq %c[reg]+96(%%r14), %%r12\n\t"        \
	"movq %c[reg]+104(%%r14), %%r13\n\t"

#define GUEST_OPERANDS                                                                                                    \
	[cpu] C(cpu), [r11] C(r11), [r14] C(r14), [r15] C(r15), [fsbase] C(fs_base), [gsbase] C(gs_base), [reg] CPU(reg), \
		[cpuflags] CPU(flags), [direct] C(direct), [fs] CPU(s.segment[X86_FS].base), [gs] CPU(s.segment[X86_GS].base)

/* RSP and R15 were exchanged: R15 becomes the guest's RSP. Elsewhere `direct` is 0. `at` as above. Destroys RCX, no flag. */
#define DIRECT_LEAVE(at)                           \
	"movq " at "+%c[direct](%%rsp), %%rcx\n\t" \
	"notq %%rcx\n\t"                           \
	"leaq 1(%%r15,%%rcx), %%r15\n\t"

/* To the code at `target`, with RSP = context. Destroys RCX, no flag. */
#define ENTER_TARGET                        \
	"movq %c[direct](%%rsp), %%rcx\n\t" \
	"jrcxz 9f\n\t"                      \
	"leaq (%%r15,%%rcx), %%r15\n\t"     \
	"xchgq %%rsp, %%r15\n\t"            \
	"jmpq *%c[target](%%r15)\n\t"       \
	"9: jmpq *%c[target](%%rsp)\n\t"

/* Back into jit_enter's caller with the reason in EAX. RSP must be jit_enter's frame. */
#define LEAVE                \
	"addq $8, %%rsp\n\t" \
	"popq %%r15\n\t"     \
	"popq %%r14\n\t"     \
	"popq %%r13\n\t"     \
	"popq %%r12\n\t"     \
	"popq %%rbp\n\t"     \
	"popq %%rbx\n\t"     \
	"ret\n\t"

__attribute__((naked)) enum jit_exit jit_enter(__attribute__((unused)) struct jit_context *context,
					       __attribute__((unused)) const void *target)
{
	__asm__ volatile(
		"pushq %%rbx\n\t"
		"pushq %%rbp\n\t"
		"pushq %%r12\n\t"
		"pushq %%r13\n\t"
		"pushq %%r14\n\t"
		"pushq %%r15\n\t"
		"subq $8, %%rsp\n\t"
		"movq %%rsp, %c[host](%%rdi)\n\t"
		"movq %%rsi, %c[target](%%rdi)\n\t"
		"movq %%rdi, %%rsp\n\t" LOAD_GUEST("0") "movq %c[reg]+136(%%r14), %%r14\n\t" /* RIP, for the block's far entry */
		ENTER_TARGET
		:
		: GUEST_OPERANDS, [host] C(host_rsp), [target] C(target));
}

/* RSP = context - 8, RCX = reason. */
static __attribute__((naked, used)) void jit_exit_common(void)
{
	__asm__ volatile(SAVE_GUEST "popq %%rax\n\t"
				    "movq %%rax, %c[site](%%rsp)\n\t"
				    "movl %%ecx, %%eax\n\t"
				    "movq %c[host](%%rsp), %%rsp\n\t" LEAVE
			 :
			 : GUEST_OPERANDS, [host] C(host_rsp), [site] C(site));
}

#define EXIT_THUNK(name, reason, first)                                    \
	__attribute__((naked)) void name(void)                             \
	{                                                                  \
		__asm__ volatile(first "movl %[why], %%ecx\n\t"            \
				       "jmp jit_exit_common\n\t"           \
				 :                                         \
				 : [why] "i"(reason), [direct] C(direct)); \
	}
static __attribute__((used)) EXIT_THUNK(jit_thunk_exit_step, JIT_EXIT_STEP, "") static __attribute__((used))
EXIT_THUNK(jit_thunk_leave_link, JIT_EXIT_LINK, "") EXIT_THUNK(jit_thunk_exit_poll, JIT_EXIT_POLL, DIRECT_LEAVE("8"))
	EXIT_THUNK(jit_thunk_exit_room, JIT_EXIT_ROOM, DIRECT_LEAVE("8"))

	/* Jumped to from a signal, RSP = context, RCX = where it trapped; there is no site: a word of the context stands in. */
	__attribute__((naked)) void jit_thunk_trap(void)
{
	__asm__ volatile("movq %%rcx, %c[pc](%%rsp)\n\t"
			 "pushq %c[site](%%rsp)\n\t"
			 "movl %[reason], %%ecx\n\t"
			 "jmp jit_exit_common\n\t"
			 :
			 : [site] C(site), [pc] C(trap_pc), [reason] "i"(JIT_EXIT_TRAP));
}

/* The jump cache's entry 0: attention came between a lookup's two halves. R14 is the target, RSP the context. */
__attribute__((naked)) void jit_thunk_jump_poll(void)
{
	__asm__ volatile("pushq %c[site](%%rsp)\n\t"
			 "movq 8+%c[cpu](%%rsp), %%rcx\n\t"
			 "movq %%r14, %c[reg]+136(%%rcx)\n\t"
			 "movl %[reason], %%ecx\n\t"
			 "jmp jit_exit_common\n\t"
			 :
			 : [site] C(site), [cpu] C(cpu), [reg] CPU(reg), [reason] "i"(JIT_EXIT_NEXT));
}

/* The same in code whose RSP is the guest's. */
__attribute__((naked)) void jit_thunk_jump_poll_direct(void)
{
	__asm__ volatile("xchgq %%rsp, %%r15\n\t" DIRECT_LEAVE("0") "jmp jit_thunk_jump_poll\n\t" : : [direct] C(direct));
}

/* Where the site says; R14 is reloaded. */
#define RETURN_FROM_FILL                      \
	"movq (%%rsp), %%rcx\n\t"             \
	"movswq 4(%%rcx), %%r14\n\t"          \
	"leaq (%%rcx,%%r14), %%rcx\n\t"       \
	"movq 8+%c[linear](%%rsp), %%r14\n\t" \
	"leaq 8(%%rsp), %%rsp\n\t"            \
	"jmpq *%%rcx\n\t"

/* The same, from a jump's lookup. */
#define RETURN_FROM_JUMP_FILL                 \
	"movq (%%rsp), %%rcx\n\t"             \
	"movswq 4(%%rcx), %%r14\n\t"          \
	"leaq (%%rcx,%%r14), %%rcx\n\t"       \
	"movq 8+%c[linear](%%rsp), %%r14\n\t" \
	"leaq 8(%%rsp), %%rsp\n\t"            \
	"movq %%rcx, %c[target](%%rsp)\n\t" ENTER_TARGET

#define RETURN_BEHIND_SITE         \
	"movq (%%rsp), %%rcx\n\t"  \
	"leaq 4(%%rcx), %%rcx\n\t" \
	"leaq 8(%%rsp), %%rsp\n\t" \
	"jmpq *%%rcx\n\t"

/* Flags and the registers that C may destroy, in the context; guest RCX is in saved[7]. RSP = context - 8. Destroys RAX. */
#define SAVE_VOLATILE                           \
	"movq %%rax, 8+%c[saved]+0(%%rsp)\n\t"  \
	"lahf\n\t"                              \
	"seto %%al\n\t"                         \
	"movw %%ax, 8+%c[flags](%%rsp)\n\t"     \
	"movq %%rdx, 8+%c[saved]+8(%%rsp)\n\t"  \
	"movq %%rsi, 8+%c[saved]+16(%%rsp)\n\t" \
	"movq %%rdi, 8+%c[saved]+24(%%rsp)\n\t" \
	"movq %%r8, 8+%c[saved]+32(%%rsp)\n\t"  \
	"movq %%r9, 8+%c[saved]+40(%%rsp)\n\t"  \
	"movq %%r10, 8+%c[saved]+48(%%rsp)\n\t" \
	"movq %%r11, 8+%c[saved]+56(%%rsp)\n\t"

#define LOAD_VOLATILE                           \
	"movzwl 8+%c[flags](%%rsp), %%eax\n\t"  \
	"addb $127, %%al\n\t"                   \
	"sahf\n\t"                              \
	"movq 8+%c[saved]+0(%%rsp), %%rax\n\t"  \
	"movq 8+%c[saved]+8(%%rsp), %%rdx\n\t"  \
	"movq 8+%c[saved]+16(%%rsp), %%rsi\n\t" \
	"movq 8+%c[saved]+24(%%rsp), %%rdi\n\t" \
	"movq 8+%c[saved]+32(%%rsp), %%r8\n\t"  \
	"movq 8+%c[saved]+40(%%rsp), %%r9\n\t"  \
	"movq 8+%c[saved]+48(%%rsp), %%r10\n\t" \
	"movq 8+%c[saved]+56(%%rsp), %%r11\n\t"

/* R14 = linear address, or a jump's target. Comes back to where the site says with its entry there and R14 as it was, or leaves with STEP. */
#define FILL_THUNK(name, kind, first, back)                                                                                       \
	__attribute__((naked)) void name(void)                                                                                    \
	{                                                                                                                         \
		__asm__ volatile(first SAVE_VOLATILE "movq %%r14, 8+%c[linear](%%rsp)\n\t"                                        \
						     "leaq 8(%%rsp), %%rdi\n\t"                                                   \
						     "movq %%r14, %%rsi\n\t"                                                      \
						     "movq (%%rsp), %%rax\n\t"                                                    \
						     "movl (%%rax), %%edx\n\t"                                                    \
						     "movl %[fill], %%ecx\n\t"                                                    \
						     "movq %%rsp, %%r14\n\t"                                                      \
						     "movq %c[host](%%rdi), %%rsp\n\t"                                            \
						     "call jit_fill\n\t"                                                          \
						     "movq %%r14, %%rsp\n\t"                                                      \
						     "movzbl %%al, %%ecx\n\t" LOAD_VOLATILE "movq 8+%c[linear](%%rsp), %%r14\n\t" \
						     "jrcxz 1f\n\t" back "1: jmp jit_thunk_exit_step\n\t"                         \
				 :                                                                                                \
				 : [saved] C(saved), [flags] C(flags), [linear] C(linear), [host] C(host_rsp), [fill] "i"(kind),  \
				   [direct] C(direct), [target] C(target));                                                       \
	}
FILL_THUNK(jit_thunk_fill_read, JIT_FILL_READ, "", RETURN_FROM_FILL)
FILL_THUNK(jit_thunk_fill_write, JIT_FILL_WRITE, "", RETURN_FROM_FILL)

/*
 * R14 = linear address. The page's entry is copied for accesses to the stack; where there is none, it is filled first. Where the page is the copied one
 * already, the stack is not aligned: x86_step is for that. No flag changes.
 */
#define STACK_THUNK(name, array, kind, fill, mode)                                                                               \
	__attribute__((naked)) void name(void)                                                                                   \
	{                                                                                                                        \
		__asm__ volatile(                                                                                                \
			"movq %%r14, 8+%c[linear](%%rsp)\n\t"                                                                    \
			"pextq 8+%c[page_mask](%%rsp), %%r14, %%rcx\n\t"                                                         \
			"movq 8+%c[tag](%%rsp,%%rcx,8), %%r14\n\t"                                                               \
			"movq 8+%c[linear](%%rsp), %%rcx\n\t"                                                                    \
			"leaq (%%rcx,%%r14), %%rcx\n\t"                                                                          \
			"pextq 8+%c[high_mask](%%rsp), %%rcx, %%rcx\n\t"                                                         \
			"loop 1f\n\t"                                                                                            \
			"leaq -4095(%%r14), %%r14\n\t"                                                                           \
			"movq 8+%c[copy](%%rsp), %%rcx\n\t"                                                                      \
			"notq %%rcx\n\t"                                                                                         \
			"leaq 1(%%rcx,%%r14), %%rcx\n\t"                                                                         \
			"jrcxz 2f\n\t"                                                                                           \
			"movq %%r14, 8+%c[copy](%%rsp)\n\t"                                                                      \
			"movq 8+%c[linear](%%rsp), %%r14\n\t"                                                                    \
			"pextq 8+%c[page_mask](%%rsp), %%r14, %%rcx\n\t"                                                         \
			"movq 8+%c[addend](%%rsp,%%rcx,8), %%rcx\n\t"                                                            \
			"movq %%rcx, 8+%c[copy]+8(%%rsp)\n\t"                                                                    \
			"movq %[mask], %%rcx\n\t"                                                                                \
			"movq %%rcx, 8+%c[copy]+16(%%rsp)\n\t" RETURN_FROM_FILL "1: movq 8+%c[linear](%%rsp), %%r14\n\t"         \
			"jmp " #fill "\n\t"                                                                                      \
			"2: jmp jit_thunk_exit_step\n\t"                                                                         \
			:                                                                                                        \
			: [linear] C(linear), [page_mask] C(page_mask), [high_mask] C(high_mask), [mask] "i"(X86_TLB_COPY_MASK), \
			  [tag] "i"(JIT_TLB(array) + (int)(mode * sizeof(struct x86_tlb_array))),                                \
			  [addend] "i"(JIT_TLB(array) + (int)(mode * sizeof(struct x86_tlb_array)) +                             \
				       (int)offsetof(struct x86_tlb_array, addend)),                                             \
			  [copy] "i"(JIT_TLB(stack[mode][kind])));                                                               \
	}
STACK_THUNK(jit_thunk_stack_read_0, read, 0, jit_thunk_fill_read, 0)
STACK_THUNK(jit_thunk_stack_read_1, read, 0, jit_thunk_fill_read, 1)
STACK_THUNK(jit_thunk_stack_read_2, read, 0, jit_thunk_fill_read, 2)
STACK_THUNK(jit_thunk_stack_write_0, write, 1, jit_thunk_fill_write, 0)
STACK_THUNK(jit_thunk_stack_write_1, write, 1, jit_thunk_fill_write, 1)
STACK_THUNK(jit_thunk_stack_write_2, write, 1, jit_thunk_fill_write, 2)

FILL_THUNK(jit_thunk_jump_fill, JIT_FILL_JUMP, DIRECT_LEAVE("8"), RETURN_FROM_JUMP_FILL)
FILL_THUNK(jit_thunk_return_fill, JIT_FILL_RETURN, DIRECT_LEAVE("8"), RETURN_FROM_JUMP_FILL)

/* RCX = the decoded instruction. */
#define CALL_HANDLER               \
	SAVE_GUEST                 \
	"leaq 8(%%rsp), %%rdi\n\t" \
	"movq %%rcx, %%rsi\n\t"    \
	"movq (%%rsp), %%rax\n\t"  \
	"movl (%%rax), %%edx\n\t"  \
	"movq %%rsp, %%rbx\n\t"    \
	"movq %c[host](%%rdi), %%rsp\n\t"

__attribute__((naked)) void jit_thunk_handler(void)
{
	__asm__ volatile(CALL_HANDLER "call jit_handler\n\t"
				      "testb %%al, %%al\n\t"
				      "jz 1f\n\t"
				      "movq %%rbx, %%rsp\n\t" LOAD_GUEST("8") RETURN_BEHIND_SITE "1: movl %[next], %%eax\n\t" LEAVE
			 :
			 : GUEST_OPERANDS, [host] C(host_rsp), [next] "i"(JIT_EXIT_NEXT));
}

__attribute__((naked)) void jit_thunk_handler_end(void)
{
	__asm__ volatile(CALL_HANDLER
			 "call jit_handler_end\n\t"
			 "testq %%rax, %%rax\n\t"
			 "jz 1f\n\t"
			 "movq 8+%c[cpu](%%rbx), %%r14\n\t"
			 "movq %c[tlb](%%r14), %%rsp\n\t"
			 "leaq %c[engine](%%rsp), %%rsp\n\t"
			 "movq %%rax, %c[target](%%rsp)\n\t" LOAD_GUEST("0") "movq %c[reg]+136(%%r14), %%r14\n\t" ENTER_TARGET
									     "1: movl %[next], %%eax\n\t" LEAVE
			 :
			 : GUEST_OPERANDS, [host] C(host_rsp), [target] C(target), [tlb] CPU(tlb),
			   [engine] "i"(offsetof(struct x86_tlb, engine)), [next] "i"(JIT_EXIT_NEXT));
}

/*
 * SYSCALL and its like between two translated blocks: jit_light has the registers that it needs in the context and cpu->reg, as a fill has (guest RCX in
 * saved[7], RSP in cpu->reg), and changes them there. Goes on in the block that it names, or behind the site, where the handler is called.
 */
#define LIGHT_THUNK(name, kind, first, otherwise)                                                                             \
	__attribute__((naked)) void name(void)                                                                                \
	{                                                                                                                     \
		__asm__ volatile(first SAVE_VOLATILE "movq 8+%c[cpu](%%rsp), %%r14\n\t"                                       \
						     "movq %%r15, %c[reg]+32(%%r14)\n\t"                                      \
						     "leaq 8(%%rsp), %%rdi\n\t"                                               \
						     "movq (%%rsp), %%rax\n\t"                                                \
						     "movq %%rax, %%rsi\n\t"                                                  \
						     "movl %[light], %%edx\n\t"                                               \
						     "movq %%rsp, %%r14\n\t"                                                  \
						     "movq %c[host](%%rdi), %%rsp\n\t"                                        \
						     "call jit_light\n\t"                                                     \
						     "movq %%r14, %%rsp\n\t"                                                  \
						     "movq %%rax, %%rcx\n\t" LOAD_VOLATILE "movq 8+%c[cpu](%%rsp), %%r14\n\t" \
						     "movq %c[reg]+32(%%r14), %%r15\n\t"                                      \
						     "jrcxz 1f\n\t"                                                           \
						     "leaq 8(%%rsp), %%rsp\n\t"                                               \
						     "movq %%rcx, %c[target](%%rsp)\n\t"                                      \
						     "movq %c[reg]+136(%%r14), %%r14\n\t" ENTER_TARGET "1:\n\t" otherwise     \
				 :                                                                                            \
				 : [saved] C(saved), [flags] C(flags), [host] C(host_rsp), [cpu] C(cpu), [reg] CPU(reg),      \
				   [light] "i"(kind), [direct] C(direct), [target] C(target));                                \
	}
LIGHT_THUNK(jit_thunk_light_syscall, JIT_LIGHT_SYSCALL, "", RETURN_BEHIND_SITE)
LIGHT_THUNK(jit_thunk_light_sysret, JIT_LIGHT_SYSRET, "", RETURN_BEHIND_SITE)
LIGHT_THUNK(jit_thunk_light_iret, JIT_LIGHT_IRET, "", RETURN_BEHIND_SITE)
/* Here the block that is linked to may be entered at once. */
LIGHT_THUNK(jit_thunk_exit_link, JIT_LIGHT_LINK, DIRECT_LEAVE("8"), "jmp jit_thunk_leave_link\n\t")

#define VECTORS(access)                                                                                                           \
	access(0) access(1) access(2) access(3) access(4) access(5) access(6) access(7) access(8) access(9) access(10) access(11) \
		access(12) access(13) access(14) access(15)
#define VECTOR_LOAD(n) "vmovdqu %c[vector]+32*" #n "(%%r14), %%ymm" #n "\n\t"
#define VECTOR_STORE(n) "vmovdqu %%ymm" #n ", %c[vector]+32*" #n "(%%rdi)\n\t"

/* Destroys R14. */
__attribute__((naked)) void jit_thunk_vector_load(void)
{
	__asm__ volatile("movq 8+%c[cpu](%%rsp), %%r14\n\t" VECTORS(VECTOR_LOAD) "ldmxcsr %c[mxcsr](%%r14)\n\t"
										 "movq $0, 8+%c[out](%%rsp)\n\t"
										 "ret\n\t"
			 :
			 : [cpu] C(cpu), [out] C(vector_out), [vector] CPU(s.vector), [mxcsr] CPU(s.x87.mxcsr));
}

/* Of ST(i) ten bytes count. */
#define ST(access) access(0) access(1) access(2) access(3) access(4) access(5) access(6) access(7)
#define ST_COPY(n)                                    \
	"movq %c[st]+16*" #n "(%%r14), %%rax\n\t"     \
	"movq %%rax, 32+16*" #n "(%%rcx)\n\t"         \
	"movzwl %c[st]+8+16*" #n "(%%r14), %%eax\n\t" \
	"movq %%rax, 40+16*" #n "(%%rcx)\n\t"

/* Destroys RCX and R14. XRSTOR alone leaves the vector registers as they are; 512 in its area is XSTATE_BV. */
__attribute__((naked)) void jit_thunk_x87_load(void)
{
	__asm__ volatile("movq 8+%c[cpu](%%rsp), %%r14\n\t"
			 "movq 8+%c[area](%%rsp), %%rcx\n\t"
			 "movq %%rax, 8+%c[saved](%%rsp)\n\t"
			 "movq %%rdx, 8+%c[saved]+8(%%rsp)\n\t"
			 "movq %c[x87](%%r14), %%rax\n\t"
			 "movq %%rax, (%%rcx)\n\t" ST(ST_COPY) "movl $1, %%eax\n\t"
							       "movl $0, %%edx\n\t"
							       "movq %%rax, 512(%%rcx)\n\t"
							       "xrstor64 (%%rcx)\n\t"
							       "movq %c[fdp](%%r14), %%rax\n\t"
							       "movq %%rax, 8+%c[xfdp](%%rsp)\n\t"
							       "movl $0, 8+%c[trace](%%rsp)\n\t"
							       "movq $0, 8+%c[out](%%rsp)\n\t"
							       "movq 8+%c[saved](%%rsp), %%rax\n\t"
							       "movq 8+%c[saved]+8(%%rsp), %%rdx\n\t"
							       "ret\n\t"
			 :
			 : [cpu] C(cpu), [area] C(x87_area), [saved] C(saved), [x87] CPU(s.x87), [st] CPU(s.x87.st),
			   [fdp] CPU(s.x87.fdp), [xfdp] C(x87_fdp), [trace] C(x87_trace), [out] C(x87_out));
}

#define MXCSR_DEFAULT 0x1f80

void jit_vector_store(struct x86_state *state)
{
	uint32_t mxcsr = MXCSR_DEFAULT;

	__asm__ volatile(VECTORS(VECTOR_STORE) "stmxcsr %c[mxcsr](%%rdi)\n\t"
					       "ldmxcsr %[initial]\n\t"
					       "vzeroupper\n\t"
			 :
			 : "D"(state), [initial] "m"(mxcsr), [vector] "i"(offsetof(struct x86_state, vector)),
			   [mxcsr] "i"(offsetof(struct x86_state, x87.mxcsr))
			 : "memory");
}
