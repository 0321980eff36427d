/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trap.c - which instruction of a block has trapped on the host: the sites are kept behind the block's code (cache.h), a few bytes each, for in a window
 * every access has one.
 */
#include "engine/jit/translate.h"

void trap_here(struct translation *t)
{
	/* One an instruction, at the end of what may trap. */
	if (t->traps && t->trap[t->traps - 1].guest == t->offset - t->start)
		t->traps--;
	t->trap[t->traps++] = (struct jit_trap){.host = (unsigned)(t->e.p - t->code),
						.guest = t->offset - t->start,
						.undone = t->count - t->index,
						.stack = t->stack_before};
}

void trap_behind(struct translation *t)
{
	t->trap[t->traps++] = (struct jit_trap){
		.host = (unsigned)(t->e.p - t->code), .guest = t->next - t->start, .undone = t->count - t->index - 1};
}

static unsigned part(unsigned distance)
{
	return distance > UINT8_MAX ? UINT8_MAX : distance;
}

unsigned trap_sites_write(const struct translation *t, const struct jit_trap_site *where)
{
	const struct host_code *code = &t->cache->code;
	struct jit_trap_site *site = (struct jit_trap_site *)(code->write + ((const uint8_t *)where - code->execute));
	unsigned host = 0, guest = 0, count = 0;

	for (unsigned i = 0; i < t->traps; i++) {
		const struct jit_trap *trap = &t->trap[i];

		for (bool last = false; !last; count++) {
			unsigned by = part(trap->host - host), guest_by = part(trap->guest - guest);

			host += by;
			guest += guest_by;
			last = host == trap->host && guest == trap->guest;
			site[count] = (struct jit_trap_site){.host = (uint8_t)by,
							     .guest = (uint8_t)guest_by,
							     .undone = (uint8_t)(last ? trap->undone + 1 : 0),
							     .stack = (int8_t)(trap->stack / 8)};
		}
	}
	return count;
}

bool trap_find(const struct jit_trap_site *site, unsigned count, uint64_t host, struct jit_trap *trap)
{
	*trap = (struct jit_trap){.host = 0};
	for (unsigned i = 0; i < count; i++) {
		trap->host += site[i].host;
		trap->guest += site[i].guest;
		trap->stack = site[i].stack * 8;
		if (!site[i].undone || trap->host <= host)
			continue;
		trap->undone = site[i].undone - 1u;
		return true;
	}
	return false;
}
