/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_oracle.c - the oracle of the CPU is the CPU: runs random blocks natively and in an engine and compares all state.
 *
 *   fuzz_oracle [--blocks N] [--seed S] [--engine step|host|interp|jit|jit-window|jit-tlb] [--mode 64|32|both] [--block I] [--mismatches N] [--all-flags]
 *
 * What is compared: 16 general registers, RIP, RFLAGS, 16 ymm, MXCSR, x87 control, status, tags and registers, the memory window, and of the exception
 * that ends the block the vector, the error code and CR2. What is not, and why:
 *   - Flags that SDM and APM leave undefined after the block's last writer of them (AF after AND OR XOR TEST and shifts; OF after shifts by
 *     more than one; CF, PF, AF, ZF, SF as MUL, IMUL, DIV, IDIV, BSF, BSR, BT*, SHLD, SHRD, AAA, AAD, AAM, AAS, DAA, DAS, BEXTR, BZHI, ... say: Zydis'
 *     tables list them per instruction). --all-flags compares these too: handlers that use the host's instruction give the host's flags.
 *   - x87's FOP, FIP and FDP: vendors fill them differently, and an engine runs x87 instructions elsewhere. An engine's are compared with x86_step's.
 *   - Bit P of a page fault's error code at a kernel address, or in the last page below those: Linux always reports it set.
 *   - Upper halves of registers in 32-bit mode, which do not exist there.
 *   - What excused() lists.
 * What is never generated is listed in fuzz_generate.c.
 *
 * Runs of note, on an AMD EPYC. jit, 22 November 2026, 3 x 10^6 blocks (2.5 x 10^7 instructions, 1.9 % not comparable): three differences, none of the
 * translator's own (the interpreter had them too): PUSHA that faults in its middle, since mended; two x87 stores over 4 GiB, since listed.
 * 23 November, windows of one distance: jit, 4 x 10^6 blocks (3.4 x 10^7 instructions), no difference; jit-window, 10^6, one, in every engine: Linux reports bit P in the
 * last page of a program's addresses, since listed. 1.3 x 10^6 before those found POP with GS and RSP at an address that is not canonical, since mended.
 * Later that day, a cache in regions and jump targets that stand again: jit, 8 x 10^6, no difference; jit-window, 4 x 10^6, one, of no engine's making: AAD among bytes that
 * were meant for others left another CF, which is not compared since.
 * Later still: jit, 1.6 x 10^7, jit-window, 1.8 x 10^7 (2.9 x 10^8 instructions). One difference was the translator's: REP STOS of more than a page from the last addresses
 * around to page 1 took an empty TLB entry for that page, and stored outside of guest RAM; since mended (test/guest/paging_test.c). Every engine's: BOUND checked the alignment of both
 * bounds as of one. The oracle's own: flags that are undefined behind a return, an x87 store with exceptions unmasked, and a block without an end, which it waited for.
 * After these were mended: jit, 1.8 x 10^7, jit-window, 1.6 x 10^7 (2.9 x 10^8 instructions), one more such x87 store. Since the cache has regions that makes 8 x 10^7.
 * With RSP in a window as the host's own (engine/jit/direct.c): two blocks of the first 2 x 10^6 had a LEAVE that was checked by the TLB and translated half for one state and half for
 * the other; since mended (window_escape_test.c). Then jit, 1.2 x 10^7, jit-window, 8 x 10^6 (1.7 x 10^8 instructions): one difference, INT1's RIP, this host's hypervisor's, since listed. That makes 10^8.
 */
#include <Zydis/Zydis.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "test/cpu/fuzz.h"
#include "x86/registers.h"

#define LINUX_TASK_SIZE ((UINT64_C(1) << 47) - 4096)
#define TEMPLATES 16
#define DATA_SIZE (FUZZ_DATA_FRAMES * FUZZ_PAGE)

static const struct fuzz_engine *engine = &fuzz_engine_step;
static uint8_t template[TEMPLATES][DATA_SIZE];
static bool all_flags;
static unsigned laid_start, laid_length; /* of the code that is there now */
static uint64_t vectors[32];

static uint64_t block_seed(uint64_t seed, uint64_t number)
{
	uint64_t state = seed ^ number * UINT64_C(0xd1342543de82ef95);

	return fuzz_random(&state);
}

static void templates_make(void)
{
	uint64_t random = 1, value;
	unsigned i, at;

	for (i = 0; i < TEMPLATES; i++)
		for (at = 0; at < DATA_SIZE; at += 8) {
			value = fuzz_random(&random);
			/* Some of it small, some floats near 1, some pointers into the window, so that loads are of use. */
			switch (fuzz_random(&random) % 8) {
			case 0: value &= 0xff; break;
			case 1: value = (value & 0x800fffffffffffff) | UINT64_C(0x3ff0000000000000); break;
			case 2: value = (value & 0x807fffff807fffff) | UINT64_C(0x3f8000003f800000); break;
			case 3: value = FUZZ_WINDOW + FUZZ_PAGE + value % (6 * FUZZ_PAGE); break;
			default: break;
			}
			memcpy(template[i] + at, &value, 8);
		}
}

static void code_put(unsigned offset, const uint8_t *bytes, unsigned length)
{
	memcpy(fuzz_native_code + offset, bytes, length);
	engine->code_write(offset, bytes, length);
}

static void code_lay(const struct fuzz_block *block)
{
	static const uint8_t int3[sizeof(block->bytes)] = {[0 ... sizeof(block->bytes) - 1] = 0xcc};
	unsigned room = FUZZ_CODE_FRAMES * FUZZ_PAGE - block->start, length = block->length < room ? block->length : room;

	code_put(laid_start, int3, laid_length);
	code_put(block->start, block->bytes, length);
	laid_start = block->start;
	laid_length = length;
}

#define LENGTH_MAX 15

static uint64_t flags_compared(const struct fuzz_block *block, uint64_t rip)
{
	/* Not IF and IOPL, which programs cannot change. */
	uint64_t mask = 0x254dd5, at = rip - block->initial.rip;

	if (all_flags)
		return mask;
	/* The final INT3's #BP has its RIP one byte on. */
	if (at == block->length + 1)
		at = block->length;
	/* Bytes in another reading have taken some of what fills the page along: who knows what that instruction leaves undefined. */
	if (at > block->length && at <= block->length + LENGTH_MAX)
		return mask & ~(uint64_t)X86_FLAGS_STATUS;
	if (at > block->length || !block->boundary[at] || block->anywhere)
		return mask & ~(uint64_t)block->flags_ever_undefined;
	return mask & ~(uint64_t)block->flags_undefined[at];
}

static uint32_t error_compared(const struct fuzz_result *result)
{
	return result->vector == 14 && result->cr2 >= LINUX_TASK_SIZE ? ~1u : ~0u;
}

static bool states_equal(const struct fuzz_block *block, const struct fuzz_result *a, const struct fuzz_result *b)
{
	uint64_t mask = block->mode == FUZZ_64 ? UINT64_MAX : UINT32_MAX;
	unsigned registers = block->mode == FUZZ_64 ? 16 : 8, i;

	if (a->outcome != b->outcome || a->vector != b->vector || a->cr2 != b->cr2 || ((a->error ^ b->error) & error_compared(a)))
		return false;
	for (i = 0; i < registers; i++)
		if ((a->state.gpr[i] ^ b->state.gpr[i]) & mask)
			return false;
	if (a->state.rip != b->state.rip || ((a->state.rflags ^ b->state.rflags) & flags_compared(block, b->state.rip)))
		return false;
	return a->state.mxcsr == b->state.mxcsr && a->state.fcw == b->state.fcw && a->state.fsw == b->state.fsw &&
	       a->state.ftw == b->state.ftw && !memcmp(a->state.st, b->state.st, sizeof(a->state.st)) &&
	       !memcmp(a->state.ymm, b->state.ymm, 32 * registers);
}

enum verdict { SAME, DIFFERENT, SKIPPED };

/* The instruction that the host's run ended at. */
static ZydisMnemonic mnemonic_at(const struct fuzz_block *block, uint64_t rip, unsigned *width)
{
	ZydisMachineMode machine = block->mode == FUZZ_64 ? ZYDIS_MACHINE_MODE_LONG_64 : ZYDIS_MACHINE_MODE_LONG_COMPAT_32;
	ZydisDisassembledInstruction text;
	uint64_t at = rip - block->initial.rip;
	unsigned i;

	*width = 0;
	if (at >= block->length || !ZYAN_SUCCESS(ZydisDisassembleIntel(machine, rip, block->bytes + at, block->length - at, &text)))
		return ZYDIS_MNEMONIC_INVALID;
	for (i = 0; i < text.info.operand_count; i++)
		if (text.operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
			*width = text.operands[i].size / 8;
	return text.info.mnemonic;
}

/*
 * Where processors differ and the specification leaves it to them, or the host's kind does not do as it says. All at one instruction that
 * faults on either side:
 *   - a misaligned access (with AC) that also meets a page fault: SDM table 6-2 puts #PF before #AC, AMD does the reverse;
 *   - misaligned accesses of more than 8 bytes with AC: #AC on AMD, not on Intel (SDM vol. 2, 2.4);
 *   - SHA instructions with a misaligned operand: #GP by both manuals, no fault on AMD;
 *   - ENTER: a frame that is written in part before the fault; whether the final stack pointer is probed, and what for;
 *   - MASKMOVQ and MASKMOVDQU: whether a mask of zeros faults, at which byte, and whether the MMX state has changed by then;
 *   - CMPS and MOVS with two operands that fault: which comes first;
 *   - POPA: which registers have their new values when it faults;
 *   - vector operands in the stack segment that are misaligned and past its limit: #GP or #SS;
 *   - BOUND over the end of the address space: #GP, or #PF for the first bound; the same of x87 operands of 10 bytes, an access of 8 and one of 2;
 *   - a misaligned store (with AC) that an unmasked numeric exception suppresses: whether alignment is checked;
 *   - an indirect CALL whose target and push both fault: which comes first;
 *   - INT1, which is where a block may come by jumping to another's middle: hypervisors that intercept it leave RIP on it, processors behind it.
 */
static bool excused(const struct fuzz_block *block, const struct fuzz_result *ours, const struct fuzz_result *host)
{
	bool faults = host->vector != 3, same_rip = ours->state.rip == host->state.rip;
	unsigned width;

	if (ours->vector == 14 && host->vector == 17 && same_rip)
		return true;
	switch (mnemonic_at(block, ours->state.rip, &width)) {
	case ZYDIS_MNEMONIC_SHA1MSG1:
	case ZYDIS_MNEMONIC_SHA1MSG2:
	case ZYDIS_MNEMONIC_SHA1NEXTE:
	case ZYDIS_MNEMONIC_SHA1RNDS4:
	case ZYDIS_MNEMONIC_SHA256MSG1:
	case ZYDIS_MNEMONIC_SHA256MSG2:
	case ZYDIS_MNEMONIC_SHA256RNDS2:
		if (ours->vector == 13)
			return true;
		break;
	default: break;
	}
	if (width == 10 && (ours->vector == 12 || ours->vector == 13) && host->vector == 14 && same_rip)
		return true;
	switch (mnemonic_at(block, faults ? host->state.rip : ours->state.rip, &width)) {
	case ZYDIS_MNEMONIC_ENTER:
	case ZYDIS_MNEMONIC_MASKMOVQ:
	case ZYDIS_MNEMONIC_MASKMOVDQU:
	case ZYDIS_MNEMONIC_POPA:
	case ZYDIS_MNEMONIC_POPAD:
	case ZYDIS_MNEMONIC_VMASKMOVDQU: return faults;
	case ZYDIS_MNEMONIC_MOVSB:
	case ZYDIS_MNEMONIC_MOVSW:
	case ZYDIS_MNEMONIC_MOVSD:
	case ZYDIS_MNEMONIC_MOVSQ:
	case ZYDIS_MNEMONIC_CMPSB:
	case ZYDIS_MNEMONIC_CMPSW:
	case ZYDIS_MNEMONIC_CMPSD:
	case ZYDIS_MNEMONIC_CMPSQ: return ours->vector != 3 && faults && same_rip;
	case ZYDIS_MNEMONIC_BOUND: return ours->vector == 13 && host->vector == 14 && same_rip;
	case ZYDIS_MNEMONIC_FIST:
	case ZYDIS_MNEMONIC_FISTP:
	case ZYDIS_MNEMONIC_FISTTP:
	case ZYDIS_MNEMONIC_FST:
	case ZYDIS_MNEMONIC_FSTP: return host->vector == 17 && (host->state.fcw & 0x3f) != 0x3f;
	case ZYDIS_MNEMONIC_VCVTPS2PH: return host->vector == 17 && (ours->vector == 19 || width > 8);
	case ZYDIS_MNEMONIC_CALL: return ours->vector == 13 && same_rip;
	case ZYDIS_MNEMONIC_INT1: return ours->vector == 1 && host->vector == 1 && ours->state.rip == host->state.rip + 1;
	default: return width > 8 && (host->vector == 17 || (ours->vector == 12 && host->vector == 13 && same_rip));
	}
}

/* Takes x86_step's word for what the host does not show. */
static bool traces_equal(const struct fuzz_block *block, const uint8_t *data, const struct fuzz_result *ours,
			 struct fuzz_result *host)
{
	if (engine != &fuzz_engine_vcpu)
		return true;
	memcpy(engine->data(), data, DATA_SIZE);
	if (!fuzz_engine_traces(block, host))
		return true;
	return ours->state.fop == host->state.fop && ours->state.fip == host->state.fip && ours->state.fdp == host->state.fdp;
}

/* Runs the block on both sides over fresh memory. */
static enum verdict try(const struct fuzz_block *block, const uint8_t *data, struct fuzz_result *ours, struct fuzz_result *host)
{
	memcpy(engine->data(), data, DATA_SIZE);
	code_lay(block);
	engine->run(block, ours);
	if (ours->outcome == FUZZ_ENDLESS || ours->outcome == FUZZ_STRAYED)
		return SKIPPED;
	memcpy(fuzz_native_data, data, DATA_SIZE);
	fuzz_native_run(block, host);
	if (host->outcome != FUZZ_EXCEPTION)
		return SKIPPED;
	if (states_equal(block, ours, host) && !memcmp(engine->data(), fuzz_native_data, DATA_SIZE))
		return traces_equal(block, data, ours, host) ? SAME : DIFFERENT;
	return ours->outcome == FUZZ_EXCEPTION && excused(block, ours, host) ? SKIPPED : DIFFERENT;
}

/* Takes instructions away, then state, as long as the sides still differ. */
static void minimise(struct fuzz_block *block, const uint8_t *data, struct fuzz_result *ours, struct fuzz_result *host)
{
	struct fuzz_block smaller;
	bool again = true;
	unsigned i;

	while (again) {
		again = false;
		for (i = 0; i < block->count; i++) {
			smaller = *block;
			memmove(&smaller.instruction[i], &smaller.instruction[i + 1],
				(smaller.count - i - 1) * sizeof(smaller.instruction[0]));
			smaller.count--;
			fuzz_block_lay(&smaller);
			if (try(&smaller, data, ours, host) == DIFFERENT) {
				*block = smaller;
				again = true;
				break;
			}
		}
	}
	for (i = 0; i < 16 + 16 + 8; i++) {
		smaller = *block;
		if (i < 16)
			smaller.initial.gpr[i] = 0;
		else if (i < 32)
			memset(smaller.initial.ymm[i - 16], 0, 32);
		else
			memset(smaller.initial.st[i - 32], 0, 16);
		if (try(&smaller, data, ours, host) == DIFFERENT)
			*block = smaller;
	}
	(void)try(block, data, ours, host);
}

static void disassemble(const struct fuzz_block *block)
{
	ZydisMachineMode machine = block->mode == FUZZ_64 ? ZYDIS_MACHINE_MODE_LONG_64 : ZYDIS_MACHINE_MODE_LONG_COMPAT_32;
	unsigned at = 0, i;

	while (at < block->length) {
		ZydisDisassembledInstruction text;

		if (!ZYAN_SUCCESS(
			    ZydisDisassembleIntel(machine, block->initial.rip + at, block->bytes + at, block->length - at, &text)))
			break;
		printf("#   %08" PRIx64 "  %-40s ", block->initial.rip + at, text.text);
		for (i = 0; i < text.info.length; i++)
			printf(" %02x", block->bytes[at + i]);
		printf("\n");
		at += text.info.length;
	}
}

static void row64(const char *name, uint64_t before, uint64_t ours, uint64_t host, uint64_t mask)
{
	if (before || (ours ^ host) & mask)
		printf("#   %-6s %016" PRIx64 "  %016" PRIx64 "  %016" PRIx64 "%s\n", name, before, ours, host,
		       (ours ^ host) & mask ? "  <<<" : "");
}

static void row_bytes(const char *name, unsigned number, const uint8_t *before, const uint8_t *ours, const uint8_t *host,
		      unsigned size)
{
	const uint8_t *value[3] = {before, ours, host};
	static const char *const side[3] = {"before", "engine", "host"};
	unsigned i, at;
	bool zero = true;

	for (at = 0; at < size; at++)
		zero &= before[at] == 0;
	if (zero && !memcmp(ours, host, size))
		return;
	for (i = 0; i < 3; i++) {
		printf("#   %s%-2u %-6s ", name, number, side[i]);
		for (at = size; at-- > 0;)
			printf("%02x%s", value[i][at], at % 8 == 0 && at ? "_" : "");
		printf("%s\n", i == 2 && memcmp(ours, host, size) ? "  <<<" : "");
	}
}

static void show(const struct fuzz_block *block, const struct fuzz_result *ours, const struct fuzz_result *host)
{
	static const char *const names[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					      "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
	const struct fuzz_state *in = &block->initial, *a = &ours->state, *b = &host->state;
	uint64_t mask = block->mode == FUZZ_64 ? UINT64_MAX : UINT32_MAX;
	unsigned i, shown = 0;

	disassemble(block);
	printf("#   %-6s %-16s  %-16s  %-16s\n", "", "before", "engine", "host");
	if (ours->outcome != FUZZ_EXCEPTION)
		printf("#   the engine shut down or failed\n");
	row64("vector", 0, ours->vector, host->vector, ~0ull);
	row64("error", 0, ours->error, host->error, error_compared(host));
	row64("cr2", 0, ours->cr2, host->cr2, ~0ull);
	for (i = 0; i < 16; i++)
		row64(names[i], in->gpr[i], a->gpr[i], b->gpr[i], mask);
	row64("rip", in->rip, a->rip, b->rip, ~0ull);
	row64("rflags", in->rflags, a->rflags, b->rflags, flags_compared(block, b->rip));
	row64("mxcsr", in->mxcsr, a->mxcsr, b->mxcsr, ~0ull);
	row64("fcw", in->fcw, a->fcw, b->fcw, ~0ull);
	row64("fsw", in->fsw, a->fsw, b->fsw, ~0ull);
	row64("ftw", in->ftw, a->ftw, b->ftw, ~0ull);
	row64("fop", 0, a->fop, b->fop, ~0ull);
	row64("fip", 0, a->fip, b->fip, ~0ull);
	row64("fdp", 0, a->fdp, b->fdp, ~0ull);
	for (i = 0; i < 8; i++)
		row_bytes("st", i, in->st[i], a->st[i], b->st[i], 10);
	for (i = 0; i < 16; i++)
		row_bytes("ymm", i, in->ymm[i], a->ymm[i], b->ymm[i], 32);
	for (i = 0; i < DATA_SIZE && shown < 32; i++)
		if (engine->data()[i] != fuzz_native_data[i]) {
			printf("#   frame %u + %03x: engine %02x host %02x  <<<\n", i / FUZZ_PAGE, i % FUZZ_PAGE, engine->data()[i],
			       fuzz_native_data[i]);
			shown++;
		}
}

static uint64_t random_seed(void)
{
	uint64_t seed;

	return getrandom(&seed, sizeof(seed), 0) == sizeof(seed) ? seed : (uint64_t)time(NULL);
}

static int usage(void)
{
	fprintf(stderr, "usage: fuzz_oracle [--blocks N] [--seed S] [--engine step|host|interp|jit] [--mode 64|32|both] [--block "
			"I] [--mismatches N] [--all-flags]\n");
	return 64;
}

int main(int argc, char **argv)
{
	uint64_t blocks = 1000000, first = 0, seed = random_seed(), number, skipped = 0, instructions = 0;
	unsigned mismatches = 0, most = 10, mode = 2, i;
	time_t shown = time(NULL);
	const char *name = "step";

	for (i = 1; i < (unsigned)argc; i++) {
		const char *value = i + 1 < (unsigned)argc ? argv[i + 1] : NULL;

		if (strcmp(argv[i], "--all-flags") == 0) {
			all_flags = true;
			continue;
		}
		if (!value)
			return usage();
		if (strcmp(argv[i], "--blocks") == 0)
			blocks = strtoull(value, NULL, 0);
		else if (strcmp(argv[i], "--seed") == 0)
			seed = strtoull(value, NULL, 0);
		else if (strcmp(argv[i], "--engine") == 0)
			name = value;
		else if (strcmp(argv[i], "--mode") == 0)
			mode = strcmp(value, "64") == 0 ? FUZZ_64 : strcmp(value, "32") == 0 ? FUZZ_32 : 2;
		else if (strcmp(argv[i], "--mismatches") == 0)
			most = (unsigned)strtoul(value, NULL, 0);
		else if (strcmp(argv[i], "--block") == 0)
			first = strtoull(value, NULL, 0), blocks = 1;
		else
			return usage();
		i++;
	}
	if (strcmp(name, "step") != 0)
		engine = strcmp(name, "host") == 0 ? &fuzz_engine_host : &fuzz_engine_vcpu;
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("1..1\n# seed %" PRIu64 ", engine %s\n", seed, name);
	fuzz_generate_init();
	if (!engine->init(name))
		return 74;
	fuzz_native_init(); /* after the engine, whose signal handlers it calls */
	templates_make();
	memset(fuzz_native_code, 0xcc, FUZZ_CODE_FRAMES * FUZZ_PAGE);

	for (number = first; number < first + blocks && mismatches < most; number++) {
		uint64_t its_seed = block_seed(seed, number);
		const uint8_t *data = template[its_seed % TEMPLATES];
		struct fuzz_result ours, host;
		struct fuzz_block block;
		enum verdict verdict;

		fuzz_generate(&block, mode < 2 ? (enum fuzz_mode)mode : its_seed >> 32 & 3 ? FUZZ_64 : FUZZ_32, its_seed);
		verdict = try(&block, data, &ours, &host);
		skipped += verdict == SKIPPED;
		instructions += block.count;
		if (verdict == SAME)
			vectors[host.vector & 31]++;
		if (verdict == DIFFERENT) {
			mismatches++;
			printf("# MISMATCH in block %" PRIu64 "; again with: fuzz_oracle --engine %s --seed %" PRIu64
			       " --mode %s --block %" PRIu64 "\n",
			       number, name, seed,
			       mode == 2         ? "both"
			       : mode == FUZZ_64 ? "64"
						 : "32",
			       number);
			minimise(&block, data, &ours, &host);
			show(&block, &ours, &host);
		}
		if (isatty(2) && time(NULL) != shown) {
			shown = time(NULL);
			fprintf(stderr, "\r%" PRIu64 " of %" PRIu64 " blocks", number - first + 1, blocks);
		}
	}
	if (isatty(2))
		fprintf(stderr, "\r\033[K");
	printf("# blocks ended in vector:count");
	for (i = 0; i < 32; i++)
		if (vectors[i])
			printf(" %u:%" PRIu64, i, vectors[i]);
	printf("\n# %" PRIu64 " blocks of %" PRIu64 " instructions, %" PRIu64 " not comparable\n", number - first, instructions,
	       skipped);
	fuzz_generate_report();
	/* A run that compared next to nothing proves nothing. */
	if (blocks >= 1000 && skipped > blocks / 10) {
		printf("# too many blocks were not comparable\n");
		mismatches++;
	}
	printf("%sok 1 - random blocks give the host's state under %s\n", mismatches ? "not " : "", name);
	return mismatches ? 1 : 0;
}
