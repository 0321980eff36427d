/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvm_dump.c - the last words of a vcpu: its registers, and the bytes at its RIP, in the log.
 */
#include "engine/kvm/kvm_engine.h"

#define CODE_BYTES 16u

static void code_dump(enum host_log_level level, struct kvm_vcpu *self, const struct x86_state *state)
{
	struct kvm_translation at = {
		.linear_address = state->rip + (state->efer & X86_EFER_LMA && state->segment[X86_CS].attributes & X86_SEGMENT_L
							? 0
							: state->segment[X86_CS].base)};
	uint64_t left;
	const uint8_t *code = NULL;
	char text[3 * CODE_BYTES + 1] = "";
	int length = 0;

	if (kvm_call_pointer(self->fd, KVM_TRANSLATE, &at) >= 0 && at.valid)
		code = guest_memory_at(&self->vcpu->vm->memory, at.physical_address, 1);
	left = code ? GUEST_PAGE_SIZE - (at.physical_address & (GUEST_PAGE_SIZE - 1)) : 0;
	for (unsigned i = 0; i < CODE_BYTES && i < left; i++)
		length += host_format(text + length, sizeof(text) - (size_t)length, " %02x", code[i]);
	host_log(level, "  code:%s", code ? text : " not in RAM");
}

static void segment_dump(enum host_log_level level, const char *name, const struct x86_segment *segment)
{
	host_log(level, "  %s %04x base %016llx limit %08x attributes %04x", name, segment->selector,
		 (unsigned long long)segment->base, segment->limit, segment->attributes);
}

static void registers_dump(enum host_log_level level, const struct x86_state *s)
{
	static const char *const gpr[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					    " r8", " r9", "r10", "r11", "r12", "r13", "r14", "r15"};
	static const char *const segment[6] = {"es", "cs", "ss", "ds", "fs", "gs"};

	host_log(level, "  rip %016llx rflags %016llx", (unsigned long long)s->rip, (unsigned long long)s->rflags);
	for (unsigned i = 0; i < 16; i += 4)
		host_log(level, "  %s %016llx %s %016llx %s %016llx %s %016llx", gpr[i], (unsigned long long)s->gpr[i], gpr[i + 1],
			 (unsigned long long)s->gpr[i + 1], gpr[i + 2], (unsigned long long)s->gpr[i + 2], gpr[i + 3],
			 (unsigned long long)s->gpr[i + 3]);
	for (unsigned i = 0; i < 6; i++)
		segment_dump(level, segment[i], &s->segment[i]);
	segment_dump(level, "ld", &s->ldtr);
	segment_dump(level, "tr", &s->tr);
	host_log(level, "  gdt %016llx %04x idt %016llx %04x", (unsigned long long)s->gdtr.base, (unsigned)s->gdtr.limit,
		 (unsigned long long)s->idtr.base, (unsigned)s->idtr.limit);
	host_log(level, "  cr0 %08llx cr2 %016llx cr3 %016llx cr4 %08llx efer %04llx", (unsigned long long)s->cr0,
		 (unsigned long long)s->cr2, (unsigned long long)s->cr3, (unsigned long long)s->cr4, (unsigned long long)s->efer);
}

void kvm_dump(struct kvm_vcpu *self, enum host_log_level level, const char *why)
{
	struct x86_state state;
	const char *step;

	host_log(level, "kvm: vcpu %u: %s", self->vcpu->id, why);
	__builtin_memset(&state, 0, sizeof(state));
	if (kvm_state_read(self, &state, false, &step) < 0) {
		host_log(level, "  its registers cannot be read: %s", step);
		return;
	}
	registers_dump(level, &state);
	code_dump(level, self, &state);
}
