/* SPDX-License-Identifier: Apache-2.0 */
/*
 * window_escape_test.c - code in a program's window reaches the window and nothing else: wherever an operand or RSP goes that the guest's page tables do not
 * show, there is a page fault, though Holon has memory of its own at the very host address that the window's distance would make of it. With the argument
 * `tlb`: the same of code without a window, and of the address that the TLB's addend would make.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/jit/vcpu.h"
#include "test/cpu/fuzz.h"

#define STACK (FUZZ_WINDOW + 2 * FUZZ_PAGE + 0x800)
#define FAR UINT64_C(0x50000000) /* no page of the guest's, and farther from its block than nothing is around that */
#define SECRET UINT64_C(0x5ec7e75ec7e75ec7)
#define COUNT 0x20000 /* times 0x2000: from one block to the next */
#define PAGES 16

struct attempt {
	const char *what;
	uint8_t bytes[48];
	unsigned length;
	uint64_t address; /* of the fault */
};

#define CODE(...) {__VA_ARGS__}, sizeof((uint8_t[]){__VA_ARGS__})
/* RBX and RBP are FAR, ECX is COUNT, RIP is FUZZ_CODE. */
static const struct attempt attempts[] = {
	{"mov rax, [rip + far]", CODE(0x48, 0x8b, 0x05, 0xf9, 0xff, 0xf7, 0x3f), FAR},
	{"mov [rip + far], eax", CODE(0x89, 0x05, 0xfa, 0xff, 0xf7, 0x3f), FAR},
	{"mov rax, [rsp + far]", CODE(0x48, 0x8b, 0x84, 0x24, 0x00, 0x00, 0x00, 0x40), STACK + 0x40000000},
	{"jmp far", CODE(0xe9, 0xff, 0xff, 0xff, 0x7f), FUZZ_CODE + 5 + 0x7fffffff},
	{"call far", CODE(0xe8, 0xff, 0xff, 0xff, 0x7f), FUZZ_CODE + 5 + 0x7fffffff},
	{"jc far", CODE(0xf9, 0x0f, 0x82, 0xff, 0xff, 0xff, 0x7f), FUZZ_CODE + 7 + 0x7fffffff},
	{"mov rax, [rbx]", CODE(0x48, 0x8b, 0x03), FAR},
	{"mov rax, [rsp + rbx]", CODE(0x48, 0x8b, 0x04, 0x1c), STACK + FAR},
	{"mov rsp, rbx; pop rax", CODE(0x48, 0x89, 0xdc, 0x58), FAR},
	{"mov rsp, rbx; push rax", CODE(0x48, 0x89, 0xdc, 0x50), FAR - 8},
	{"xchg rsp, rbx; ret", CODE(0x48, 0x87, 0xdc, 0xc3), FAR},
	{"lea rsp, [rbx + 8]; call", CODE(0x48, 0x8d, 0x63, 0x08, 0xe8, 0, 0, 0, 0), FAR},
	{"push rbx; pop rsp; pop rax", CODE(0x53, 0x5c, 0x58), FAR},
	{"leave", CODE(0xc9), FAR},
	{"mov rbp, rsp; leave; mov rbp, rbx; leave", CODE(0x48, 0x89, 0xe5, 0xc9, 0x48, 0x89, 0xdd, 0xc9), FAR},
	{"movq mm0, rbx; movq rsp, mm0; pop rax", CODE(0x48, 0x0f, 0x6e, 0xc3, 0x48, 0x0f, 0x7e, 0xc4, 0x58), FAR},
	{"1: add rsp, 0x2000; vpmaskmovd xmm0, xmm1, [rsp]; dec ecx; jnz 1b; pop rax",
	 CODE(0x48, 0x81, 0xc4, 0x00, 0x20, 0x00, 0x00, 0xc4, 0xe2, 0x71, 0x8c, 0x04, 0x24, 0xff, 0xc9, 0x75, 0xef, 0x58),
	 STACK + 0x2000 * (uint64_t)COUNT},
	{"add rsp, far; pop rax", CODE(0x48, 0x81, 0xc4, 0x00, 0x00, 0x00, 0x40, 0x58), STACK + 0x40000000},
	{"lea rsp, [rsp + far]; mov eax, [rsp]", CODE(0x48, 0x8d, 0xa4, 0x24, 0x00, 0x00, 0x00, 0x40, 0x8b, 0x04, 0x24),
	 STACK + 0x40000000},
	{"1: add rsp, 0x2000; dec ecx; jnz 1b; pop rax",
	 CODE(0x48, 0x81, 0xc4, 0x00, 0x20, 0x00, 0x00, 0xff, 0xc9, 0x75, 0xf5, 0x58), STACK + 0x2000 * (uint64_t)COUNT},
	{"1: lea rsp, [rsp + 0x2000]; dec ecx; jnz 1b; pop rax",
	 CODE(0x48, 0x8d, 0xa4, 0x24, 0x00, 0x20, 0x00, 0x00, 0xff, 0xc9, 0x75, 0xf4, 0x58), STACK + 0x2000 * (uint64_t)COUNT},
	{"1: add rsp, 0x2000; jmp 2f; 2: dec ecx; jnz 1b; mov eax, [rsp]",
	 CODE(0x48, 0x81, 0xc4, 0x00, 0x20, 0x00, 0x00, 0xeb, 0x00, 0xff, 0xc9, 0x75, 0xf3, 0x8b, 0x04, 0x24),
	 STACK + 0x2000 * (uint64_t)COUNT},
	{"shl rsp, cl; pop rax", CODE(0xb1, 0x03, 0x48, 0xd3, 0xe4, 0x58), STACK << 3},
	{"not rsp; pop rax", CODE(0x48, 0xf7, 0xd4, 0x48, 0xf7, 0xd4, 0x48, 0x01, 0xdc, 0x58), STACK + FAR},
	{"bts rsp, 30; push rax", CODE(0x48, 0x0f, 0xba, 0xec, 0x1e, 0x50), STACK + 0x40000000 - 8},
};

#define ATTEMPTS ((unsigned)(sizeof(attempts) / sizeof(attempts[0])))

static uint64_t base = FAR;

static void run(const uint8_t *bytes, unsigned length, struct fuzz_result *result)
{
	struct fuzz_block block = {
		.mode = FUZZ_64,
		.length = length,
		.initial = {.rip = FUZZ_CODE, .rflags = 0x202, .mxcsr = 0x1f80, .fcw = 0x37f},
	};
	uint8_t code[64];

	memset(code, 0xcc, sizeof(code));
	memcpy(code, bytes, length);
	block.initial.gpr[X86_RBX] = block.initial.gpr[X86_RBP] = base;
	block.initial.gpr[X86_RCX] = COUNT;
	block.initial.gpr[X86_RSP] = STACK;
	fuzz_engine_vcpu.code_write(0, code, sizeof(code));
	fuzz_engine_vcpu.run(&block, result);
}

/* As if a window had refused all of the code often: checked by the TLB instead (soft.c). */
static void soften(void)
{
	struct jit_vcpu *vcpu = fuzz_engine_vm()->vcpu[0]->engine;
	const uint8_t *code = fuzz_engine_vcpu.data() + FUZZ_DATA_FRAMES * FUZZ_PAGE;

	for (unsigned at = 0; at < sizeof(attempts[0].bytes); at++)
		for (unsigned i = 0; i < UINT8_MAX && !soft_known(&vcpu->translation.soft, code + at); i++)
			soft_refused(&vcpu->translation.soft, code + at);
}

/* What the window adds to addresses: there is one, for this program. */
static uint64_t distance(void)
{
	const struct jit_vcpu *vcpu = fuzz_engine_vm()->vcpu[0]->engine;

	for (unsigned i = 1; i < WINDOWS; i++)
		if (vcpu->windows.window[i].used && vcpu->windows.window[i].blocks)
			return (uint64_t)vcpu->windows.window[i].distance;
	return 0;
}

/* A page of the host's, SECRET all over, and around it as many. */
static uint64_t *secret_map(uint64_t address)
{
	uint64_t from = (address - PAGES / 2 * FUZZ_PAGE) & ~(uint64_t)(FUZZ_PAGE - 1);
	uint64_t *secret = mmap((void *)(uintptr_t)from, PAGES * FUZZ_PAGE, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	if (secret != (void *)(uintptr_t)from)
		return NULL;
	for (unsigned i = 0; i < PAGES * FUZZ_PAGE / sizeof(*secret); i++)
		secret[i] = SECRET;
	return secret;
}

static bool secret_unmap(uint64_t *secret)
{
	bool kept = true;

	for (unsigned i = 0; i < PAGES * FUZZ_PAGE / sizeof(*secret); i++)
		kept &= secret[i] == SECRET;
	munmap(secret, PAGES * FUZZ_PAGE);
	return kept;
}

static bool page_fault(const struct fuzz_result *result, uint64_t address)
{
	return result->outcome == FUZZ_EXCEPTION && result->vector == 14 && result->cr2 == address;
}

static bool faults(const struct attempt *attempt, struct fuzz_result *result)
{
	static const uint8_t begin[] = {0x50, 0x58}; /* push rax; pop rax */
	uint64_t *secret;
	bool kept;

	run(begin, sizeof(begin), result);
	secret = distance() ? secret_map(distance() + attempt->address) : NULL;
	if (!secret)
		return false;
	run(attempt->bytes, attempt->length, result);
	kept = secret_unmap(secret);
	return kept && page_fault(result, attempt->address);
}

/* Displacements near -2^31 that one check would serve: what it looks at must not be 4 GiB from what is accessed. */
#define WRAP UINT64_C(0xfffffff0)
static int tlb_test(void)
{
	static const uint8_t store[] = {0x88, 0x83, 0, 0, 0, 0x80, 0x48, 0x83, 0xeb, 0x10, 0x88, 0x8b, 0, 0, 0, 0x80};
	const uint64_t page = FUZZ_WINDOW + FUZZ_PAGE + 0x800;
	struct fuzz_result result;
	uint64_t *secret;
	bool kept;

	if (!fuzz_engine_vcpu.init("jit-tlb"))
		return 1;
	secret = secret_map((uintptr_t)fuzz_engine_vcpu.data() + 0x800 - WRAP);
	if (!secret) {
		printf("1..0 # SKIP there is something in the host's memory where it should not be reached\n");
		return 0;
	}
	base = page - 0x7ffffff0;
	run(store, sizeof(store), &result);
	kept = secret_unmap(secret);
	printf("1..1\n%sok 1 - mov [rbx - 2^31], al; sub rbx, 16; mov [rbx - 2^31], cl\n",
	       kept && page_fault(&result, page - WRAP) ? "" : "not ");
	return 0;
}

int main(int argc, char **argv)
{
	static uint8_t memory[1 << 16];
	const stack_t stack = {.ss_sp = memory, .ss_size = sizeof(memory)};
	struct fuzz_result result = {.vector = 0};
	bool failed = false;

	if (sigaltstack(&stack, NULL))
		return 1;
	if (argc > 1 && !strcmp(argv[1], "tlb"))
		return tlb_test();
	if (!fuzz_engine_vcpu.init("jit-window"))
		return 1;
	printf("1..%u\n", 2 * ATTEMPTS);
	for (unsigned i = 0; i < 2 * ATTEMPTS; i++) {
		const struct attempt *attempt = &attempts[i % ATTEMPTS];
		bool good;

		if (i >= ATTEMPTS)
			soften();
		good = faults(attempt, &result);
		printf("%sok %u - %s%s\n", good ? "" : "not ", i + 1, attempt->what, i < ATTEMPTS ? "" : ", checked by the TLB");
		if (!good)
			printf("# vector %u, cr2 %" PRIx64 ", rax %" PRIx64 ", rsp %" PRIx64 "\n", result.vector, result.cr2,
			       result.state.gpr[X86_RAX], result.state.gpr[X86_RSP]);
		failed |= !good;
	}
	return failed;
}
