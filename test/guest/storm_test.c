/* SPDX-License-Identifier: Apache-2.0 */
/*
 * storm_test.c - proves what a translating engine may get wrong: exact registers and flags at faults and under a storm of interrupts, code that another
 * page takes the place of, address spaces that change all the time, one physical page run at several addresses, privileges and code sizes.
 *
 * test/engine/perturb_test.c runs it again while it flushes caches, moves states and sends signals.
 */
#include "test/guest/long.h"

#define SNIPPET_RFLAGS 0x57u /* CF PF AF ZF: of -1 + 1 */
#define ARITHMETIC 0x8d5u

static volatile bool storming;
static volatile uint64_t storms;
static uint8_t fx_image[512] __attribute__((aligned(16)));

/* --- a storm of interrupts --- */

static void storm_interrupt(struct frame *frame)
{
	(void)frame;
	storms++;
	/* Every other interrupt moves the vector and x87 state out and in and leaves traces in the registers between. */
	if (storms & 1)
		__asm__ volatile("fxsave64 %0; pxor %%xmm0, %%xmm0; pcmpeqd %%xmm7, %%xmm7; fninit; fldpi; fxrstor64 %0"
				 : "+m"(fx_image));
	if (storming)
		apic_write(APIC_TIMER_INITIAL, 3000 + (uint32_t)(storms * 7919 % 15000));
	apic_write(APIC_EOI, 0);
	__asm__ volatile("cmp %0, %0; std; cld" : : "r"(storms)); /* flags of our own */
}

static void storm_begin(void)
{
	apic_enable();
	handlers[0x50] = storm_interrupt;
	apic_write(APIC_TIMER_DIVIDE, 0xb);
	apic_write(APIC_LVT_TIMER, 0x50);
	storming = true;
	apic_write(APIC_TIMER_INITIAL, 3000);
	interrupts_on();
}

static void storm_end(void)
{
	storming = false;
	interrupts_off();
	apic_write(APIC_TIMER_INITIAL, 0);
	interrupts_on(); /* one may be pending */
	__asm__ volatile("nop; nop");
	interrupts_off();
}

/* CF lives over a loop's end and over every access; OF, SF, AF, PF go into the sum. */
uint64_t carry_chain(const uint64_t *a, const uint64_t *b, uint64_t *sum, uint64_t count);
uint64_t flag_mix(uint64_t seed, uint64_t count);
uint64_t vector_mix(uint64_t seed, uint64_t count);
__asm__(".pushsection .text\n"
	"carry_chain:\n"
	"	clc\n"
	"1:	mov (%rdi), %rax\n"
	"	adc (%rsi), %rax\n"
	"	mov %rax, (%rdx)\n"
	"	lea 8(%rdi), %rdi\n"
	"	lea 8(%rsi), %rsi\n"
	"	lea 8(%rdx), %rdx\n"
	"	dec %rcx\n"
	"	jnz 1b\n"
	"	sbb %rax, %rax\n"
	"	ret\n"
	"flag_mix:\n"
	"	mov %rdi, %rax\n"
	"	mov %rsi, %rcx\n"
	"	xor %r8d, %r8d\n"
	"	push %r15\n"
	"	push %r11\n"
	"	mov %rdi, %r15\n"
	"	mov %rdi, %r11\n"
	"1:	add %r11, %r15\n"
	"	push %rax\n"
	"	seto %r9b\n"
	"	lahf\n"
	"	movzx %ax, %r10d\n"
	"	pop %rax\n"
	"	rcr $1, %r11\n"
	"	rcl $3, %rax\n"
	"	adc %r10, %r8\n"
	"	pushf\n"
	"	popf\n"
	"	adc %r9, %r8\n"
	"	rol $7, %r8\n"
	"	imul $0x6d2b79f5, %r8, %r8\n"
	"	call 2f\n"
	"	dec %rcx\n"
	"	jnz 1b\n"
	"	lea (%r8, %r15), %rax\n"
	"	pop %r11\n"
	"	pop %r15\n"
	"	ret\n"
	"2:	adc $0, %r8\n"
	"	cmc\n"
	"	sbb $1, %r15\n"
	"	ret\n"
	"vector_mix:\n"
	"	movq %rdi, %xmm0\n"
	"	movq %rdi, %xmm7\n"
	"	movlhps %xmm0, %xmm0\n"
	"	fninit\n"
	"	fld1\n"
	"	mov $3, %eax\n"
	"	push %rax\n"
	"1:	paddq %xmm7, %xmm0\n"
	"	pshufd $0x39, %xmm0, %xmm7\n"
	"	pmuludq %xmm0, %xmm7\n"
	"	fiaddl (%rsp)\n"
	"	dec %rsi\n"
	"	jnz 1b\n"
	"	fistpll (%rsp)\n"
	"	pxor %xmm7, %xmm0\n"
	"	movq %xmm0, %rax\n"
	"	add (%rsp), %rax\n"
	"	pop %rdx\n"
	"	ret\n"
	".popsection\n");

static uint64_t a[256], b[256], sum[256];

static uint64_t calculate(unsigned round)
{
	uint64_t result = carry_chain(a, b, sum, 256), i;

	for (i = 0; i < 256; i++)
		result = result * 31 + sum[i];
	return result + flag_mix(0x123456789abcdef + round, 200) * 3 + vector_mix(round + 0xfedcba987654321, 200) * 5;
}

static void interrupts(void)
{
	uint64_t expected[16], wrong = 0, rounds = 0, i;

	for (i = 0; i < 256; i++) {
		a[i] = i % 3 ? ~UINT64_C(0) : i * 0x9e3779b97f4a7c15;
		b[i] = i % 3 == 1 ? 0 : ~a[i] + i % 5 / 4;
	}
	for (i = 0; i < 16; i++)
		expected[i] = calculate((unsigned)i);
	storm_begin();
	while (storms < 3000 || rounds < 64)
		wrong += calculate((unsigned)(rounds & 15)) != expected[rounds & 15], rounds++;
	storm_end();
	check_equal(wrong, 0, "flags, x87 and vector registers live through 3,000 interrupts");
}

/* --- faults in the middle --- */

uint64_t snippet_in[16], snippet_out[16], snippet_flags;
void snippet_run(const uint8_t *code);
extern uint8_t snippet_done[];
__asm__(".pushsection .text\n"
	"snippet_run:\n"
	"	push %rbx\n	push %rbp\n	push %r12\n	push %r13\n	push %r14\n	push %r15\n"
	"	mov %rsp, snippet_rsp\n"
	"	mov %rdi, snippet_code\n"
	"	mov snippet_in+0, %rax\n	mov snippet_in+8, %rcx\n	mov snippet_in+16, %rdx\n	mov snippet_in+24, "
	"%rbx\n"
	"	mov snippet_in+32, %rsp\n	mov snippet_in+40, %rbp\n	mov snippet_in+48, %rsi\n	mov snippet_in+56, "
	"%rdi\n"
	"	mov snippet_in+64, %r8\n	mov snippet_in+72, %r9\n	mov snippet_in+80, %r10\n	mov snippet_in+88, "
	"%r11\n"
	"	mov snippet_in+96, %r12\n	mov snippet_in+104, %r13\n	mov snippet_in+112, %r14\n	mov "
	"snippet_in+120, %r15\n"
	"	jmp *snippet_code\n"
	"snippet_done:\n"
	"	mov %rsp, snippet_out+32\n"
	"	mov snippet_rsp, %rsp\n"
	"	pushf\n	pop snippet_flags\n"
	"	mov %rax, snippet_out+0\n	mov %rcx, snippet_out+8\n	mov %rdx, snippet_out+16\n	mov %rbx, "
	"snippet_out+24\n"
	"	mov %rbp, snippet_out+40\n	mov %rsi, snippet_out+48\n	mov %rdi, snippet_out+56\n"
	"	mov %r8, snippet_out+64\n	mov %r9, snippet_out+72\n	mov %r10, snippet_out+80\n	mov %r11, "
	"snippet_out+88\n"
	"	mov %r12, snippet_out+96\n	mov %r13, snippet_out+104\n	mov %r14, snippet_out+112\n	mov %r15, "
	"snippet_out+120\n"
	"	pop %r15\n	pop %r14\n	pop %r13\n	pop %r12\n	pop %rbp\n	pop %rbx\n"
	"	ret\n"
	".popsection\n"
	".pushsection .bss\n"
	"snippet_rsp: .skip 8\n"
	"snippet_code: .skip 8\n"
	".popsection\n");

/* R9 = -1 becomes 0 and leaves its flags, then the instruction in question on [RDI] (RSP: the faulting stack), then R10 moves. */
#define SNIPPET(name, text)                                                                                          \
	extern const uint8_t name[], name##_fault[];                                                                 \
	__asm__(".pushsection .text\n.balign 16\n" #name ": lea 1(%rbx), %rbx\n add $1, %r9\n" #name "_fault: " text \
		"\n lea 1(%r10), %r10\n jmp snippet_done\n.popsection\n")
SNIPPET(load, "mov (%rdi), %rax");
SNIPPET(load_r15, "mov (%rdi), %r15");
SNIPPET(store, "mov %r14, (%rdi)");
SNIPPET(modify, "add %r11, (%rdi)");
SNIPPET(exchange, "xchg %r15, (%rdi)");
SNIPPET(compare, "lock cmpxchg %r14, (%rdi)");
SNIPPET(vector_load, "movups (%rdi), %xmm3");
SNIPPET(vector_store, "movdqu %xmm3, (%rdi)");
SNIPPET(push_register, "push %r11");
SNIPPET(push_memory, "push (%rdi)");
SNIPPET(push_flags, "pushfq");
SNIPPET(call_near, "call 1f\n1:");
SNIPPET(call_memory, "call *(%rdi)");
SNIPPET(jump_memory, "jmp *(%rdi)");
SNIPPET(pop_register, "pop %r14");
SNIPPET(pop_memory, "pop (%rdi)");
SNIPPET(leave_frame, "leave");
SNIPPET(string, "rep movsb");
SNIPPET(bit, "bts %r8, (%rdi)");
SNIPPET(x87, "fldl (%rdi)");

static volatile uint64_t *fault_entry;
static uint64_t fault_page, fault_linear;
static struct frame fault_seen;
static volatile unsigned faults;
static uint64_t fault_cr2;
static unsigned without_rf;

static void fault_handler(struct frame *frame)
{
	fault_seen = *frame;
	fault_cr2 = read_cr2();
	faults++;
	without_rf += !(frame->rflags & FLAG_RF);
	*fault_entry = fault_page | PTE_P | PTE_W;
}

static bool fault_registers_good(const uint8_t *fault, uint64_t cr2)
{
	const struct frame *f = &fault_seen;
	const uint64_t got[16] = {f->rax, f->rcx,    f->rdx, f->rbx - 1, f->rsp, f->rbp, f->rsi, f->rdi,
				  f->r8,  f->r9 - 1, f->r10, f->r11,     f->r12, f->r13, f->r14, f->r15};
	bool good = faults == 1 && fault_cr2 == cr2 && f->rip == (uint64_t)fault &&
		    (f->rflags & ARITHMETIC) == (SNIPPET_RFLAGS & ARITHMETIC);
	unsigned i;

	for (i = 0; i < 16; i++)
		good &= got[i] == snippet_in[i];
	return good;
}

enum operand { RDI, STACK_DOWN, STACK_UP, RBP_FRAME };

/* The operand lies `before` bytes in front of a page that is not there; the page in front of that one is. */
static bool fault_case(const uint8_t *code, const uint8_t *fault, enum operand operand, unsigned size, unsigned before,
		       const uint8_t *again)
{
	uint64_t at = fault_linear - before;
	unsigned i;

	for (i = 0; i < 16; i++)
		snippet_in[i] = 0x1111111111111111u * i + 0x0123456789abcdu;
	snippet_in[9] = ~UINT64_C(0);
	snippet_in[8] = 3;
	snippet_in[7] = operand == RDI ? at : fault_linear - 512;
	snippet_in[6] = fault_linear - 256;
	snippet_in[1] = size;
	snippet_in[5] = operand == RBP_FRAME ? at : 0x77;
	snippet_in[4] = operand == STACK_DOWN ? at + 8 : operand == STACK_UP ? at : fault_linear - 1024;
	*(volatile uint64_t *)(fault_linear - 512) = (uint64_t)again;
	*fault_entry = 0;
	/* What a CALL or JMP finds in its operand, over the border. */
	for (i = 0; i < before; i++)
		((volatile uint8_t *)at)[i] = (uint8_t)((uint64_t)again >> 8 * i);
	for (i = before; i < 8; i++)
		((volatile uint8_t *)fault_page)[i - before] = (uint8_t)((uint64_t)again >> 8 * i);
	invlpg(fault_linear);
	faults = 0;
	snippet_run(code);
	return fault_registers_good(fault, before ? fault_linear : at) && snippet_out[10] == snippet_in[10] + 1;
}

static void middle_faults(void)
{
	static const struct {
		const char *name;
		const uint8_t *code, *fault;
		enum operand operand;
		unsigned size;
		bool whole; /* only where it does not cross */
	} cases[] = {
		{"MOV load", load, load_fault, RDI, 8, false},
		{"MOV load to R15", load_r15, load_r15_fault, RDI, 8, false},
		{"MOV store", store, store_fault, RDI, 8, false},
		{"ADD to memory", modify, modify_fault, RDI, 8, false},
		{"XCHG", exchange, exchange_fault, RDI, 8, false},
		{"LOCK CMPXCHG", compare, compare_fault, RDI, 8, false},
		{"MOVUPS load", vector_load, vector_load_fault, RDI, 16, false},
		{"MOVDQU store", vector_store, vector_store_fault, RDI, 16, false},
		{"PUSH", push_register, push_register_fault, STACK_DOWN, 8, false},
		{"PUSH memory, the operand", push_memory, push_memory_fault, RDI, 8, false},
		{"PUSH memory, the stack", push_memory, push_memory_fault, STACK_DOWN, 8, false},
		{"PUSHFQ", push_flags, push_flags_fault, STACK_DOWN, 8, false},
		{"CALL", call_near, call_near_fault, STACK_DOWN, 8, false},
		{"CALL memory, the operand", call_memory, call_memory_fault, RDI, 8, false},
		{"CALL memory, the stack", call_memory, call_memory_fault, STACK_DOWN, 8, false},
		{"JMP memory", jump_memory, jump_memory_fault, RDI, 8, false},
		{"POP", pop_register, pop_register_fault, STACK_UP, 8, false},
		{"POP memory, the operand", pop_memory, pop_memory_fault, RDI, 8, false},
		{"POP memory, the stack", pop_memory, pop_memory_fault, STACK_UP, 8, false},
		{"LEAVE", leave_frame, leave_frame_fault, RBP_FRAME, 8, false},
		{"REP MOVSB", string, string_fault, RDI, 40, true},
		{"BTS register", bit, bit_fault, RDI, 8, true},
		{"FLD", x87, x87_fault, RDI, 8, false},
	};
	uint8_t *front = page_allocate();
	unsigned i, round, before;

	fault_page = (uint64_t)page_allocate();
	fault_linear = TEST_SPACE + 0x101000;
	page_set(fault_linear - 4096, (uint64_t)front | PTE_P | PTE_W);
	fault_entry = page_set(fault_linear, 0);
	handlers[PF] = fault_handler;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		bool good = true;

		/* What comes behind the instruction is where the operand of CALL and JMP points. */
		for (round = 0; round < 3; round++)
			for (before = 0; before < (cases[i].whole ? 1 : 8); before++)
				good &= fault_case(cases[i].code, cases[i].fault, cases[i].operand, cases[i].size, before,
						   cases[i].code == call_memory || cases[i].code == jump_memory ? cases[i].fault + 2
														: cases[i].code);
		check(good, "#PF in %s: registers and flags before it, then it goes on", cases[i].name);
	}
	check_equal(without_rf, 0, "faults push RF"); /* QEMU's TCG does not */
	handlers[PF] = NULL;
}

/* --- code that another page takes the place of --- */

#define SPACE (TEST_SPACE + 0x200000)
#define PAGES 4
static uint8_t *version[PAGES];

/* MOV EAX, value; RET */
static void return_value(uint8_t *at, uint32_t value)
{
	at[0] = 0xb8;
	*(uint32_t *)(at + 1) = value;
	at[5] = 0xc3;
}
static uint32_t call_at(uint64_t address)
{
	return ((uint32_t(*)(void))address)();
}

static void invalidate(uint64_t linear, unsigned how)
{
	switch (how % 3) {
	case 0: invlpg(linear); break;
	case 1: tlb_flush(); break;
	default:
		write_cr4(read_cr4() ^ 0x80);
		write_cr4(read_cr4() ^ 0x80);
		break;
	}
}

static void remaps(void)
{
	/* A caller on the page in front: a direct CALL and a direct JMP over the border, and code that runs over it. */
	uint8_t *caller = page_allocate();
	volatile uint64_t *entry;
	uint64_t wrong = 0, i;

	for (i = 0; i < PAGES; i++) {
		version[i] = page_allocate();
		return_value(version[i], (uint32_t)i);
		return_value(version[i] + 64, (uint32_t)i + 100);
	}
	caller[0] = 0xe8; /* CALL the next page; RET */
	*(int32_t *)(caller + 1) = 4096 - 5;
	caller[5] = 0xc3;
	caller[16] = 0xe9; /* JMP to its other function */
	*(int32_t *)(caller + 17) = 4096 + 64 - 21;
	caller[32] = 0x31; /* XOR EAX, EAX; JE its other function */
	caller[33] = 0xc0;
	caller[34] = 0x0f;
	caller[35] = 0x84;
	*(int32_t *)(caller + 36) = 4096 + 64 - 40;
	caller[4090] = 0x90; /* runs over the border, an instruction's end being the page's */
	caller[4091] = 0x31;
	caller[4092] = 0xc0;
	caller[4093] = 0x0f;
	caller[4094] = 0x1f;
	caller[4095] = 0x00;
	page_set(SPACE, (uint64_t)caller | PTE_P);
	entry = page_set(SPACE + 4096, (uint64_t)version[0] | PTE_P | PTE_W);
	for (i = 0; i < 3000; i++) {
		uint64_t v = i * 7 / 3 % PAGES;

		*entry = (uint64_t)version[v] | PTE_P | PTE_W | (i & 1 ? PTE_G : 0);
		invalidate(SPACE + 4096, i & 1 ? (unsigned)(i / 2 % 2 * 2) : (unsigned)i / 2);
		wrong += call_at(SPACE) != v;
		wrong += call_at(SPACE + 16) != v + 100;
		wrong += call_at(SPACE + 32) != v + 100;
		wrong += call_at(SPACE + 4090) != v;
		wrong += call_at(SPACE + 4096) != v;
	}
	check_equal(wrong, 0, "3,000 times another page at an address: calls, jumps and what runs over the border find it");
	*entry = 0;
	invlpg(SPACE + 4096);
	check_trap(trap_run((void (*)(void *))(SPACE + 4090), NULL), PF, 0x10, "code runs over a border behind which nothing is");
	check_equal(this_cpu()->trap.rip, SPACE + 4096, "which faults behind it");
	*entry = (uint64_t)version[0] | PTE_P | PTE_NX;
	invlpg(SPACE + 4096);
	check_trap(trap_run((void (*)(void *))SPACE, NULL), PF, 0x11, "a direct CALL to where nothing may run");
}

/* Jumps inside a page to an instruction that ends in the next one, which is exchanged or written. */
static void borders(void)
{
	uint8_t *first = page_allocate(), *second[2] = {page_allocate(), page_allocate()};
	uint64_t linear = SPACE + 0x8000;
	volatile uint64_t *entry;
	uint64_t wrong = 0, i;

	first[0] = 0xe9; /* JMP */
	*(int32_t *)(first + 1) = 4094 - 5;
	first[16] = 0x31; /* XOR EAX, EAX; JE */
	first[17] = 0xc0;
	first[18] = 0x0f;
	first[19] = 0x84;
	*(int32_t *)(first + 20) = 4094 - 24;
	first[4094] = 0xb8; /* MOV EAX, 55 | version << 8 */
	first[4095] = 0x55;
	second[0][3] = second[1][3] = 0xc3;
	page_set(linear, (uint64_t)first | PTE_P);
	entry = page_set(linear + 4096, (uint64_t)second[0] | PTE_P);
	for (i = 0; i < 1000; i++) {
		unsigned which = i / 3 & 1;

		*entry = (uint64_t)second[which] | PTE_P;
		invlpg(linear + 4096);
		*(volatile uint16_t *)second[which] = (uint16_t)i;
		wrong += call_at(linear) != (0x55 | i << 8);
		wrong += call_at(linear + 16) != (0x55 | i << 8);
		*(volatile uint16_t *)second[which] = (uint16_t)~i;
		wrong += call_at(linear) != (0x55 | (uint32_t)(uint16_t)~i << 8);
		wrong += call_at(linear + 16) != (0x55 | (uint32_t)(uint16_t)~i << 8);
	}
	check_equal(wrong, 0, "jumps to an instruction over a border whose second page changes");
}

/* INVLPG of the page that runs: what follows is the new page's. RSI: the PTE, RDI: its new value, RDX: this page. */
CODE(replace_self, "mov %rdi, (%rsi)\n invlpg (%rdx)\n mov $1, %eax\n ret");
CODE(replace_self_cr3, "mov %rdi, (%rsi)\n mov %cr3, %rax\n mov %rax, %cr3\n mov $1, %eax\n ret");
static void replaces_self(void)
{
	static const struct {
		const uint8_t *begin, *end;
	} code[2] = {{replace_self, replace_self_end}, {replace_self_cr3, replace_self_cr3_end}};
	unsigned which, i, n, wrong = 0;

	for (which = 0; which < 2; which++) {
		uint8_t *page[2] = {page_allocate(), page_allocate()};
		uint64_t linear = SPACE + 0x10000 + which * 4096;
		unsigned length = (unsigned)(code[which].end - code[which].begin);
		volatile uint64_t *entry = page_set(linear, (uint64_t)page[0] | PTE_P);

		for (i = 0; i < 2; i++) {
			for (n = 0; n < length; n++)
				page[i][n] = code[which].begin[n];
			page[i][length - 5] = (uint8_t)(i + 1);
		}
		for (n = 0; n < 500; n++) {
			unsigned to = (n + 1) & 1;

			wrong += ((uint32_t(*)(uint64_t, volatile uint64_t *, uint64_t))linear)((uint64_t)page[to] | PTE_P, entry,
												linear) != to + 1;
		}
	}
	check_equal(wrong, 0, "code that replaces its own page goes on in the new one");
}

/* --- address spaces --- */

#define SPACES 20
#define SPACE_AT UINT64_C(0x10000000000) /* PML4 entry 2 */
static uint64_t root[SPACES];
static uint8_t *space_code[SPACES];
static uint64_t *space_data[SPACES];
static volatile uint64_t *space_entry[SPACES];

static void spaces_make(void)
{
	unsigned i, n;

	for (i = 0; i < SPACES; i++) {
		uint64_t *top = page_allocate();

		for (n = 0; n < 512; n++)
			top[n] = page_map[n];
		space_code[i] = page_allocate();
		space_data[i] = page_allocate();
		return_value(space_code[i], i);
		space_data[i][0] = i + 1000;
		page_map[2] = 0;
		space_entry[i] = page_set(SPACE_AT, (uint64_t)space_code[i] | PTE_P | PTE_W);
		page_set(SPACE_AT + 4096, (uint64_t)space_data[i] | PTE_P | PTE_W);
		top[2] = page_map[2];
		root[i] = (uint64_t)top;
	}
	page_map[2] = 0;
}

static unsigned space_wrong(unsigned i, uint32_t code)
{
	return (call_at(SPACE_AT) != code) + (*(volatile uint64_t *)(SPACE_AT + 4096) != i + 1000);
}

static void spaces(void)
{
	uint64_t old = read_cr3();
	unsigned n, wrong = 0;

	spaces_make();
	for (n = 0; n < 4000; n++) {
		unsigned i = n * 7 % SPACES;

		write_cr3(root[i]);
		wrong += space_wrong(i, i);
	}
	write_cr3(old);
	check_equal(wrong, 0, "4,000 changes among 20 address spaces");
	if (!HAS_PCID || !HAS_INVPCID) {
		skip("no PCID");
		return;
	}
	write_cr4(read_cr4() | 0x20000);
	for (n = 0, wrong = 0; n < 4000; n++) {
		unsigned i = n * 7 / 3 % SPACES;

		write_cr3(root[i] | (i + 1) | (n % 5 ? UINT64_C(1) << 63 : 0));
		wrong += space_wrong(i, i);
	}
	check_equal(wrong, 0, "4,000 changes with PCIDs, most of which keep what they know");
	for (n = 0, wrong = 0; n < 2000; n++) {
		unsigned i = n % SPACES, other = (i + 3) % SPACES, version = n / SPACES % 2;
		struct {
			uint64_t pcid, linear;
		} descriptor = {other + 1, SPACE_AT};
		uint64_t type = n / 40 % 4; /* an address, a PCID, all, all but global */

		write_cr3(root[i] | (i + 1) | UINT64_C(1) << 63);
		call_at(SPACE_AT);
		/* Another space's code is exchanged while its translations are kept, but for what INVPCID drops. */
		*space_entry[other] = (uint64_t)(version ? space_code[i] : space_code[other]) | PTE_P | PTE_W;
		__asm__ volatile("invpcid %0, %1" : : "m"(descriptor), "r"(type) : "memory");
		write_cr3(root[other] | (other + 1) | UINT64_C(1) << 63);
		wrong += space_wrong(other, version ? i : other);
		*space_entry[other] = (uint64_t)space_code[other] | PTE_P | PTE_W;
		invlpg(SPACE_AT);
		wrong += space_wrong(other, other);
	}
	check_equal(wrong, 0, "code exchanged under another PCID, INVPCID of every type");
	write_cr3(old & ~UINT64_C(0xfff));
	write_cr4(read_cr4() & ~UINT64_C(0x20000));
}

/* --- one physical page, several ways to run it --- */

CODE(which_privilege, "mov %cs, %eax\n and $3, %eax\n int $0x80\n ret");
/* 48 is REX.W here and DEC EAX there. RAX = 0x1ffffffff: 64-bit INC makes 0x200000000, 32-bit DEC and INC leave EAX as it was. */
CODE(which_size, "mov %rdi, %rax\n .byte 0x48, 0xff, 0xc0\n int $0x80");
CODE(privileged, "mov $7, %eax\n cli\n mov $8, %eax\n int $0x80\n ret");

static int run_user(uint64_t code, uint16_t cs, uint64_t stack, uint64_t argument)
{
	struct user_start start = {.rip = code, .cs = cs, .rflags = 2, .rsp = stack, .ss = USER_SS, .rdi = argument};

	return user_run(&start);
}

static void returns(struct frame *frame)
{
	frame->rcx = frame->rax;
}

static uint64_t run_kernel(uint64_t address)
{
	uint64_t value;

	handlers[0x80] = returns;
	__asm__ volatile("call *%1" : "=&a"(value) : "r"(address) : "rcx", "memory", "cc");
	handlers[0x80] = NULL;
	return value;
}

static void aliases(void)
{
	uint64_t stack = user_stack();
	static const struct {
		const uint8_t *begin, *end;
	} code_of[3] = {{which_privilege, which_privilege_end}, {which_size, which_size_end}, {privileged, privileged_end}};
	uint64_t code[3];
	unsigned n, i, wrong = 0, sizes = 0, faults_wrong = 0;

	for (n = 0; n < 3; n++) {
		uint8_t *page = page_allocate();

		for (i = 0; code_of[n].begin + i < code_of[n].end; i++)
			page[i] = code_of[n].begin[i];
		code[n] = user_code(code_of[n].begin, code_of[n].end);
		page_set(code[n], (uint64_t)page | PTE_P | PTE_U);
		invlpg(code[n]);
		page_set(SPACE + 0x20000 + n * 4096, (uint64_t)page | PTE_P);
	}
	for (n = 0; n < 300; n++) {
		wrong += run_kernel(SPACE + 0x20000) != 0;
		wrong += run_user(code[0], USER_CS64, stack, 0) != NO_TRAP || this_cpu()->trap.rax != 3;
		wrong += run_user(code[0], USER_CS32, stack, 0) != NO_TRAP || this_cpu()->trap.rax != 3;
		sizes += run_user(code[1], USER_CS64, stack, 0x1ffffffff) != NO_TRAP || this_cpu()->trap.rax != 0x200000000;
		sizes += run_user(code[1], USER_CS32, stack, 0x1ffffffff) != NO_TRAP || this_cpu()->trap.rax != 0xffffffff;
		faults_wrong += run_kernel(SPACE + 0x22000) != 8;
		faults_wrong += run_user(code[2], USER_CS64, stack, 0) != GP || this_cpu()->trap.rax != 7;
		faults_wrong += run_user(code[2], USER_CS32, stack, 0) != GP || this_cpu()->trap.rax != 7;
	}
	check_equal(wrong, 0, "one physical page run by the kernel and by user mode, 64 and 32 bits");
	check_equal(sizes, 0, "the same bytes as 64-bit and as 32-bit code, by turns");
	check_equal(faults_wrong, 0, "CLI for the kernel and #GP for user mode in one physical page");
}

/* --- data beside code --- */

static void neighbours(void)
{
	uint8_t *page = page_allocate();
	volatile uint32_t *data = (uint32_t *)(page + 2048);
	uint32_t wrong = 0, i;

	return_value(page, 0);
	for (i = 1; i <= 3000; i++) {
		*data += i;
		if (i % 100 == 0)
			*(volatile uint32_t *)(page + 1) = i;
		wrong += call_at((uint64_t)page) != i / 100 * 100;
	}
	check(wrong == 0 && *data == 3000 * 3001 / 2, "data on a page of code changes 3,000 times, the code 30 times");
}

void guest_main(void)
{
	interrupts();
	middle_faults();
	storm_begin();
	remaps();
	borders();
	storm_end();
	replaces_self();
	spaces();
	aliases();
	neighbours();
}
