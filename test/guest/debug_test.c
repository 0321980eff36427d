/* SPDX-License-Identifier: Apache-2.0 */
/* debug_test.c - proves single step, the STI and MOV SS shadows, code, data and I/O breakpoints, DR6, DR7.GD (SDM vol. 3, 17 and 6.8). */
#include "test/guest/long.h"

#define DR6_FIXED 0xffff0ff0ull
#define DR6_BD 0x2000u
#define DR6_BS 0x4000u

#define HITS 32
static volatile unsigned hits;
static volatile struct {
	uint64_t rip, dr6, rflags;
} hit[HITS];
static volatile bool set_rf;

static void note(struct frame *frame)
{
	if (hits < HITS) {
		hit[hits].rip = frame->rip;
		hit[hits].dr6 = read_dr6();
		hit[hits].rflags = frame->rflags;
	}
	hits++;
	write_dr6(DR6_FIXED);
	if (set_rf)
		frame->rflags |= FLAG_RF;
	if (hits > 100)
		guest_exit(4);
}

/* Single-stepped code; symbols say where the traps are to be. TF is set by POPFQ: the first trap comes after the instruction behind it. */
#define TF_ON "pushfq; orq $0x100, (%rsp); popfq\n"
#define TF_OFF "pushfq; andq $~0x100, (%rsp); popfq\n"
void step_plain(void);
void step_ss(void);
void step_rep(void);
void step_branch(void);
extern const uint8_t step_plain_1[], step_plain_2[], step_plain_3[], step_ss_1[], step_ss_2[], step_rep_1[], step_rep_2[],
	step_branch_1[], step_branch_2[];
__asm__(".text\n"
	"step_plain:\n" TF_ON "	nop\n"
	"step_plain_1: nop\n"
	"step_plain_2: nop\n"
	"step_plain_3:\n" TF_OFF "	ret\n"
	"step_ss:\n"
	"	mov %ss, %eax\n" TF_ON "	mov %eax, %ss\n" /* no trap behind this one */
	"	nop\n"
	"step_ss_1: nop\n"
	"step_ss_2:\n" TF_OFF "	ret\n"
	"step_rep:\n"
	"	mov $3, %ecx; lea hit_bytes(%rip), %rdi; mov %rdi, %rsi\n" TF_ON
	"step_rep_1: rep movsb\n" /* a trap an iteration; the last one behind it */
	"step_rep_2: nop\n" TF_OFF "	ret\n"
	"step_branch:\n" TF_ON "	jmp 1f\n"
	"	nop\n"
	"step_branch_1:\n"
	"1:	call 2f\n"
	"	jmp 3f\n"
	"step_branch_2:\n"
	"2:	ret\n"
	"3:\n" TF_OFF "	ret\n"
	".bss\n"
	"hit_bytes: .skip 64\n"
	".text\n");

static bool was_hit(unsigned number, const void *rip, uint64_t dr6, const char *what)
{
	return check(number < hits && hit[number].rip == (uint64_t)rip && hit[number].dr6 == (DR6_FIXED | dr6), "%s", what) ||
	       (print("# %u hits; rip %lx dr6 %lx, not %lx %lx\n", hits, hit[number % HITS].rip, hit[number % HITS].dr6,
		      (uint64_t)rip, (uint64_t)(DR6_FIXED | dr6)),
		false);
}

static void single_step(void)
{
	hits = 0;
	step_plain();
	was_hit(0, step_plain_1, DR6_BS, "single step: behind the instruction after POPF");
	was_hit(1, step_plain_2, DR6_BS, "single step: behind the next");
	was_hit(2, step_plain_3, DR6_BS, "and the next");
	check_equal(hit[0].rflags & FLAG_TF, FLAG_TF, "the saved RFLAGS has TF");
	hits = 0;
	step_ss();
	was_hit(0, step_ss_1, DR6_BS, "MOV SS holds the trap back for one instruction");
	was_hit(1, step_ss_2, DR6_BS, "and no longer");
	hits = 0;
	step_rep();
	was_hit(0, step_rep_1, DR6_BS, "REP MOVS traps after its first iteration, at itself");
	was_hit(1, step_rep_1, DR6_BS, "after its second");
	was_hit(2, step_rep_2, DR6_BS, "and after the last, behind itself");
	hits = 0;
	step_branch();
	was_hit(0, step_branch_1, DR6_BS, "a jump traps at its target");
	was_hit(1, step_branch_2, DR6_BS, "a call too");
}

static uint64_t watched[4] __attribute__((aligned(64)));
void touch_write(void);
void touch_read(void);
void touch_wide(void);
void touch_rep(void);
void touch_ss(void);
extern const uint8_t touch_write_1[], touch_read_1[], touch_wide_1[], touch_rep_1[], touch_ss_1[], code_here[];
void code_break(void);
__asm__(".text\n"
	"touch_write: movl $1, watched(%rip)\n"
	"touch_write_1: nop; ret\n"
	"touch_read: mov watched(%rip), %eax\n"
	"touch_read_1: nop; ret\n"
	"touch_wide: movq $1, watched-4(%rip)\n"
	"touch_wide_1: nop; ret\n"
	"touch_rep: lea watched(%rip), %rdi; mov $4, %ecx; xor %eax, %eax; rep stosq\n"
	"touch_rep_1: nop; ret\n"
	"touch_ss: mov %ss, watched+8(%rip); mov watched+8(%rip), %ss\n" /* its #DB waits behind the next */
	"	nop\n"
	"touch_ss_1: nop; ret\n"
	"code_break: nop\n"
	"code_here: nop\n"
	"	ret\n");

static uint64_t dr7(unsigned number, unsigned kind, unsigned length)
{
	static const uint8_t code[9] = {[1] = 0, [2] = 1, [4] = 3, [8] = 2};

	return 0x400 | 2ull << 2 * number | (uint64_t)(kind | code[length] << 2) << (16 + 4 * number);
}
#define EXECUTE 0
#define WRITE 1
#define IO 2
#define ACCESS 3

static void data_breakpoints(void)
{
	write_dr0((uint64_t)watched);
	write_dr7(dr7(0, WRITE, 4));
	hits = 0;
	touch_write();
	was_hit(0, touch_write_1, 1, "a write breakpoint traps behind the write");
	hits = 0;
	touch_read();
	check_equal(hits, 0, "and not on reads");
	touch_wide();
	was_hit(0, touch_wide_1, 1, "a wider access that overlaps it counts");
	write_dr7(dr7(0, ACCESS, 4));
	hits = 0;
	touch_read();
	was_hit(0, touch_read_1, 1, "an access breakpoint traps on reads");
	write_dr2((uint64_t)watched + 8);
	write_dr7(dr7(2, WRITE, 8));
	hits = 0;
	touch_rep();
	check(hits >= 1 && hit[0].dr6 == (DR6_FIXED | 4), "REP STOS traps with B2 for DR2");
	write_dr3((uint64_t)watched + 8);
	write_dr7(dr7(3, ACCESS, 8));
	hits = 0;
	touch_ss();
	check(hits >= 1 && hit[hits - 1].rip == (uint64_t)touch_ss_1 && (hit[hits - 1].dr6 & 8),
	      "the #DB of MOV SS from memory waits for the next instruction");
	write_dr7(0x400);
	hits = 0;
	touch_write();
	check_equal(hits, 0, "DR7 clear: no more breakpoints");
	write_dr0((uint64_t)watched);
	write_dr1((uint64_t)watched);
	write_dr7(dr7(0, WRITE, 4));
	hits = 0;
	touch_write();
	check((hit[0].dr6 & 1) == 1, "an enabled breakpoint reports itself");
	write_dr7(0x400);
}

static void code_breakpoints(void)
{
	write_dr1((uint64_t)code_here);
	write_dr7(dr7(1, EXECUTE, 1));
	hits = 0;
	set_rf = true;
	code_break();
	set_rf = false;
	was_hit(0, code_here, 2, "a code breakpoint faults before its instruction");
	check_equal(hits, 1, "RF lets the instruction run once");
	hits = 0;
	set_rf = true;
	code_break();
	code_break();
	set_rf = false;
	check_equal(hits, 2, "RF is gone after it");
	write_dr7(0x400);
}

static void write_dr(void *unused)
{
	(void)unused;
	write_dr0(0);
}
static void read_dr4(void *unused)
{
	(void)unused;
	__asm__ volatile("mov %%db4, %%rax" : : : "rax");
}
static void dr6_high(void *unused)
{
	(void)unused;
	write_dr6(1ull << 32);
}
static void icebp(void *unused)
{
	(void)unused;
	__asm__ volatile(".byte 0xf1");
}

static void others(void)
{
	interrupt_handler *saved = handlers[DB];
	uint64_t cr4 = read_cr4();

	handlers[DB] = NULL;
	write_dr6(DR6_FIXED);
	write_dr7(0x2400);
	check_trap(trap_run(write_dr, NULL), DB, 0, "DR7.GD: an access to a debug register faults");
	check_equal(this_cpu()->trap_dr6, DR6_FIXED | DR6_BD, "with DR6.BD");
	check_equal(read_dr7() & 0x2000, 0, "and GD is clear in the handler");
	write_dr6(DR6_FIXED);
	write_cr4(cr4 | 8);
	check_trap(trap_run(read_dr4, NULL), UD, 0, "DR4 with CR4.DE: #UD");
	/* I/O breakpoints exist with CR4.DE only. */
	handlers[DB] = saved;
	write_dr0(0x80);
	write_dr7(dr7(0, IO, 1));
	hits = 0;
	outb(0x80, 0);
	check(hits == 1 && hit[0].dr6 == (DR6_FIXED | 1), "an I/O breakpoint traps behind OUT");
	write_dr7(0x400);
	write_cr4(cr4 & ~8ull);
	handlers[DB] = NULL;
	check_trap(trap_run(read_dr4, NULL), NO_TRAP, 0, "DR4 without CR4.DE is DR6");
	check_trap(trap_run(dr6_high, NULL), GP, 0, "DR6 63:32 not 0: #GP(0)");
	write_dr6(DR6_FIXED);
	check_trap(trap_run(icebp, NULL), DB, 0, "INT1: #DB");
	check_equal(this_cpu()->trap_dr6 & 0xe00f, 0, "which leaves no mark in DR6");
	write_dr6(0);
	check_equal(read_dr6(), DR6_FIXED, "DR6's fixed bits");
	write_dr7(0);
	check_equal(read_dr7(), 0x400, "DR7's fixed bit");
	handlers[DB] = saved;
}

/* STI holds interrupts back for one instruction: the self-IPI that waits comes behind the one after STI. */
static volatile uint64_t interrupted_at;
static void interrupt(struct frame *frame)
{
	interrupted_at = frame->rip;
	apic_write(APIC_EOI, 0);
}

void shadow_sti(void);
void shadow_ss(void);
void shadow_sti_twice(void);
extern const uint8_t shadow_sti_1[], shadow_ss_1[], shadow_sti_twice_1[];
__asm__(".text\n"
	"shadow_sti: sti\n"
	"	nop\n"
	"shadow_sti_1: nop; cli; ret\n"
	"shadow_ss: mov %ss, %eax; pushfq; orq $0x200, (%rsp)\n"
	"	popfq\n" /* no shadow: comes at once */
	"shadow_ss_1: mov %eax, %ss\n"
	"	nop; cli; ret\n"
	"shadow_sti_twice: sti\n"
	"	sti\n" /* IF was set already: no shadow of its own */
	"shadow_sti_twice_1: nop; cli; ret\n");
void shadow_cli(void);
__asm__(".text\n"
	"shadow_cli: sti; cli; nop; ret\n");

static void shadows(void)
{
	handlers[0x40] = interrupt;
	apic_enable();
	interrupts_off();
	ipi_send(0, 0x44040); /* to self */
	interrupted_at = 0;
	shadow_sti();
	check_equal(interrupted_at, (uint64_t)shadow_sti_1, "an interrupt comes one instruction behind STI");
	ipi_send(0, 0x44040);
	shadow_ss();
	check_equal(interrupted_at, (uint64_t)shadow_ss_1, "POPF has no shadow");
	ipi_send(0, 0x44040);
	shadow_sti_twice();
	check_equal(interrupted_at, (uint64_t)shadow_sti_twice_1, "a second STI prolongs no shadow");
	ipi_send(0, 0x44040);
	interrupted_at = 0;
	shadow_cli();
	check_equal(interrupted_at, 0, "STI; CLI lets nothing in");
	__asm__ volatile("sti; nop; cli" : : : "memory");
}

void guest_main(void)
{
	handlers[DB] = note;
	write_dr6(DR6_FIXED);
	single_step();
	data_breakpoints();
	code_breakpoints();
	others();
	shadows();
}
