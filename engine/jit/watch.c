/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch.c - tells who looks at translated code (include/holon/code_watch.h) which of it belongs to which guest instruction.
 */
#include "engine/jit/translate.h"

void watch_span(struct translation *t, enum code_span_kind kind)
{
	if (!t->watch || t->spans == JIT_SPANS)
		return;
	t->span[t->spans++] = (struct code_span){
		.host = (uint16_t)(t->e.p - t->begin),
		.guest = (uint16_t)(t->offset - t->start),
		.guest_length = (uint8_t)(t->next - t->offset),
		.kind = (uint8_t)kind,
	};
}

void watch_data(struct translation *t, uint32_t word)
{
	watch_span(t, CODE_DATA);
	emit32(&t->e, word);
	watch_span(t, CODE_MORE);
}

/* Entries of misses (miss.c) are put into places that were left for them: spans come in another order than they lie. */
static void spans_sort(struct translation *t)
{
	for (unsigned i = 1; i < t->spans; i++) {
		struct code_span span = t->span[i];
		unsigned at = i;

		for (; at && t->span[at - 1].host > span.host; at--)
			t->span[at] = t->span[at - 1];
		t->span[at] = span;
	}
}

void watch_block(struct translation *t, const uint8_t *guest)
{
	struct jit_cache *cache = t->cache;
	const struct code_block block = {
		.vcpu = t->cpu->id,
		.code_size = t->wide ? 8 : 4,
		.key = t->key,
		.address = t->cpu->reg[X86_RIP],
		.ram = (guest_memory_page(t->cpu->memory, t->page) << GUEST_PAGE_SHIFT) + t->start,
		.guest = guest,
		.guest_length = t->next - t->start,
		.host = t->begin,
		.host_address = (uintptr_t)(cache->code.execute + (t->begin - cache->code.write)),
		.host_length = (unsigned)(t->e.p - t->begin),
		.span = t->span,
		.spans = t->spans,
	};

	if (!t->watch)
		return;
	spans_sort(t);
	for (struct code_watch *watch = t->watch; watch; watch = watch->next)
		watch->block(watch, &block);
}
