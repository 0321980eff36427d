/* SPDX-License-Identifier: Apache-2.0 */
/* task_test.c - proves hardware task switches: JMP, CALL, IRET, task gates, interrupts, busy bits, links, NT, TS, #TS (SDM vol. 3, 8). */
#include "test/guest/protected.h"

#define TASK_SELECTOR (FREE_SELECTOR + 0x40)
#define GATE_SELECTOR (FREE_SELECTOR + 0x48)

static struct tss task __attribute__((aligned(4096)));
static uint32_t task_stack[1024];
static volatile struct {
	uint32_t runs, eax, ebx, cs, ss, esp, eflags, link, tr, cr0, own_busy, main_busy, main_eip;
} seen;

static unsigned busy(unsigned selector)
{
	return gdt[selector / 8] >> 41 & 1;
}

extern const uint8_t task_entry[];
void task_body(void);
__asm__(".text\n"
	"task_entry:\n" /* entered anew each time: comes back by IRET, or by a jump where `leave_by_jump` says so */
	"1:	mov %eax, seen+4\n"
	"	mov %ebx, seen+8\n"
	"	pushf; pop seen+24\n"
	"	mov %esp, seen+20\n"
	"	call task_body\n"
	"	cmpl $0, leave_by_jump\n"
	"	jne 2f\n"
	"	iret\n"
	"	jmp 1b\n"
	"2:	ljmp $0x38, $0\n"
	"	jmp 1b\n");
volatile uint32_t leave_by_jump;

void task_body(void)
{
	uint32_t value;

	seen.runs++;
	__asm__ volatile("mov %%cs, %0" : "=r"(value));
	seen.cs = value;
	__asm__ volatile("mov %%ss, %0" : "=r"(value));
	seen.ss = value;
	value = 0;
	__asm__ volatile("str %w0" : "+r"(value));
	seen.tr = value;
	seen.cr0 = (uint32_t)read_cr0();
	seen.link = task.link & 0xffff;
	seen.own_busy = busy(TASK_SELECTOR);
	seen.main_busy = busy(TSS_SELECTOR);
	seen.main_eip = tss.eip;
	__asm__ volatile("clts");
}

static void task_make(void)
{
	unsigned i;

	for (i = 0; i < sizeof(task) / 4; i++)
		((uint32_t *)&task)[i] = 0;
	task.eip = (uint32_t)task_entry;
	task.eflags = 2;
	task.esp = (uint32_t)(task_stack + 1024);
	task.eax = 0x11111111;
	task.ebx = 0x22222222;
	task.cs = KERNEL_CS;
	task.ss = task.ds = task.es = task.fs = task.gs = KERNEL_DS;
	task.iomap = sizeof(task);
	gdt[TASK_SELECTOR / 8] = descriptor((uint32_t)&task, sizeof(task) - 1, TSS_32);
	gdt[GATE_SELECTOR / 8] = (uint64_t)TASK_SELECTOR << 16 | UINT64_C(0x85) << 40;
	seen.runs = 0;
	leave_by_jump = 0;
}

static void call_task(void *selector)
{
	struct {
		uint32_t offset;
		uint16_t selector;
	} __attribute__((packed)) pointer = {0, (uint16_t)(uint32_t)selector};

	__asm__ volatile("mov $0x33333333, %%ebx; lcall *%0" : : "m"(pointer) : "ebx", "memory");
}
static void jump_task(void *selector)
{
	struct {
		uint32_t offset;
		uint16_t selector;
	} __attribute__((packed)) pointer = {0, (uint16_t)(uint32_t)selector};

	__asm__ volatile("ljmp *%0" : : "m"(pointer) : "memory");
}
static void interrupt(void *unused)
{
	(void)unused;
	__asm__ volatile("int $0x90");
}
static void divide(void *unused)
{
	(void)unused;
	__asm__ volatile("xor %%edx, %%edx; xor %%eax, %%eax; xor %%ecx, %%ecx; div %%ecx; nop" : : : "eax", "ecx", "edx");
}
static void iret_nt(void *unused)
{
	(void)unused;
	__asm__ volatile("pushf; orl $0x4000, (%%esp); popf; iret" : : : "memory");
}

static void calls(void)
{
	task_make();
	check_trap(trap_run(call_task, (void *)TASK_SELECTOR), NO_TRAP, 0, "CALL of a TSS and IRET back");
	check_equal(seen.runs, 1, "the task has run");
	check_equal(seen.eax, 0x11111111, "with EAX from its TSS");
	check_equal(seen.ebx, 0x22222222, "and EBX");
	check_equal(seen.tr, TASK_SELECTOR, "TR is its TSS");
	check_equal(seen.link, TSS_SELECTOR, "the link names the caller");
	check_equal(seen.eflags & FLAG_NT, FLAG_NT, "NT is set");
	check_equal(seen.cr0 & 8, 8, "CR0.TS is set");
	check_equal(seen.own_busy, 1, "its TSS is busy");
	check_equal(seen.main_busy, 1, "the caller's stays busy");
	check_equal(busy(TASK_SELECTOR), 0, "after IRET it is not");
	check_equal(tss.ebx, 0x33333333, "the caller's registers went into its TSS");
	check(task.eip > (uint32_t)task_entry, "the task's EIP was saved behind its IRET");
	check_trap(trap_run(call_task, (void *)TASK_SELECTOR), NO_TRAP, 0, "it goes on from there the next time");
	check_equal(seen.runs, 2, "and runs again");
	check_trap(trap_run(call_task, (void *)GATE_SELECTOR), NO_TRAP, 0, "CALL of a task gate");
	check_equal(seen.runs, 3, "reaches the task");
}

static void jumps(void)
{
	task_make();
	leave_by_jump = 1;
	check_trap(trap_run(jump_task, (void *)TASK_SELECTOR), NO_TRAP, 0, "JMP to a TSS and back by JMP");
	check_equal(seen.runs, 1, "the task has run");
	check_equal(seen.eflags & FLAG_NT, 0, "NT is clear");
	check_equal(seen.main_busy, 0, "the one that jumped is not busy any more");
	check_equal(busy(TSS_SELECTOR), 1, "and is again when it is back");
	check_equal(busy(TASK_SELECTOR), 0, "the task is not");
	gdt[TASK_SELECTOR / 8] |= UINT64_C(2) << 40;
	check_trap(trap_run(jump_task, (void *)TASK_SELECTOR), GP, TASK_SELECTOR, "JMP to a busy TSS: #GP(selector)");
	gdt[TASK_SELECTOR / 8] &= ~(UINT64_C(0x82) << 40);
	check_trap(trap_run(jump_task, (void *)TASK_SELECTOR), NP, TASK_SELECTOR, "JMP to an absent TSS: #NP(selector)");
	gdt[TASK_SELECTOR / 8] = descriptor((uint32_t)&task, 0x66, TSS_32);
	check_trap(trap_run(jump_task, (void *)TASK_SELECTOR), TS, TASK_SELECTOR,
		   "JMP to a TSS with a limit below 103: #TS(selector)");
	tss.link = FREE_SELECTOR; /* nothing there */
	check_trap(trap_run(iret_nt, NULL), TS, FREE_SELECTOR, "IRET with NT to a link that is no busy TSS: #TS(link)");
}

/* Faults whose handler is a task; and faults that a switch itself meets, in the new task's context. */
static volatile uint32_t fault_error, fault_seen;
extern const uint8_t fault_task[];
void fault_body(uint32_t error);
__asm__(".text\n"
	"fault_task:\n"
	"	call fault_body\n" /* the error code, if any, is on the stack */
	"	mov saved_eip, %eax\n"
	"	iret\n"
	"	jmp fault_task\n");
uint32_t saved_eip;
void fault_body(uint32_t error)
{
	fault_error = error;
	fault_seen++;
	tss.eip += 2; /* over the DIV */
	__asm__ volatile("clts");
}

static void gates(void)
{
	struct gate saved = idt[0x90], saved_de = idt[DE];

	task_make();
	idt[0x90] = (struct gate){.selector = TASK_SELECTOR, .type = 0x85};
	check_trap(trap_run(interrupt, NULL), NO_TRAP, 0, "INT through a task gate and IRET back");
	check_equal(seen.runs, 1, "the task has run");
	check_equal(seen.link, TSS_SELECTOR, "linked to what was interrupted");
	idt[0x90] = saved;
	task_make();
	task.eip = (uint32_t)fault_task;
	idt[DE] = (struct gate){.selector = TASK_SELECTOR, .type = 0x85};
	fault_seen = 0;
	check_trap(trap_run(divide, NULL), NO_TRAP, 0, "#DE through a task gate: the task steps over the instruction");
	check_equal(fault_seen, 1, "once");
	idt[DE] = saved_de;
}

/* A switch that fails half-way has no stack to speak of: its handler is a task too. */
static struct tss handler_task __attribute__((aligned(4096)));
static uint32_t handler_stack[1024];
#define HANDLER_SELECTOR (FREE_SELECTOR + 0x50)
static unsigned handled_vector;
extern const uint8_t handler_entry[];
_Noreturn void handler_body(uint32_t error);
__asm__(".text\n"
	"handler_entry:\n"
	"	push $0\n" /* a return address that is none: the error code is the argument */
	"	jmp handler_body\n");
_Noreturn void handler_body(uint32_t error)
{
	__asm__ volatile("clts; pushf; andl $~0x4000, (%%esp); popf" : : : "memory");
	seen.link = handler_task.link & 0xffff;
	trap_end(handled_vector, error);
}

static void handler_make(unsigned vector)
{
	handler_task = (struct tss){.eip = (uint32_t)handler_entry,
				    .eflags = 2,
				    .esp = (uint32_t)(handler_stack + 1024),
				    .cs = KERNEL_CS,
				    .ss = KERNEL_DS,
				    .ds = KERNEL_DS,
				    .es = KERNEL_DS,
				    .fs = KERNEL_DS,
				    .gs = KERNEL_DS,
				    .iomap = sizeof(struct tss)};
	gdt[HANDLER_SELECTOR / 8] = descriptor((uint32_t)&handler_task, sizeof(handler_task) - 1, TSS_32);
	idt[vector] = (struct gate){.selector = HANDLER_SELECTOR, .type = 0x85};
	handled_vector = vector;
}

static void bad_state(void)
{
	struct gate ts = idt[TS], np = idt[NP];

	handler_make(TS);
	task_make();
	task.cs = KERNEL_DS;
	check_trap(trap_run(call_task, (void *)TASK_SELECTOR), TS, KERNEL_DS,
		   "a task whose CS is data: #TS(selector), in the new task");
	check_equal(seen.link, TASK_SELECTOR, "whose TSS the handler's task is linked to");
	tss_load();
	task_make();
	handler_make(TS);
	task.ss = 0;
	check_trap(trap_run(call_task, (void *)TASK_SELECTOR), TS, 0, "a task with a null SS: #TS(0)");
	tss_load();
	task_make();
	handler_make(NP);
	gdt[FREE_SELECTOR / 8] = descriptor(0, 0xfffff, 0xc013);
	task.ds = FREE_SELECTOR;
	check_trap(trap_run(call_task, (void *)TASK_SELECTOR), NP, FREE_SELECTOR, "a task whose DS is absent: #NP(selector)");
	tss_load();
	idt[NP] = np;
	task_make();
	handler_make(TS);
	task.ldt = KERNEL_DS;
	check_trap(trap_run(call_task, (void *)TASK_SELECTOR), TS, KERNEL_DS, "a task whose LDT is none: #TS(selector)");
	tss_load();
	idt[TS] = ts;
}

static void debug_trap(void)
{
	task_make();
	task.trap = 1;
	write_dr6(0xffff0ff0);
	check_trap(trap_run(call_task, (void *)TASK_SELECTOR), DB, 0, "a task with its T bit: #DB before its first instruction");
	check_equal(trap.eip, (uint32_t)task_entry, "at its EIP");
	check_equal(read_dr6() & 0x8000, 0x8000, "with DR6.BT");
	__asm__ volatile("pushf; andl $~0x4000, (%%esp); popf" : : : "memory");
	tss_load();
}

void guest_main(void)
{
	calls();
	jumps();
	gates();
	bad_state();
	debug_trap();
}
