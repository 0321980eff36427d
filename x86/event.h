/* SPDX-License-Identifier: Apache-2.0 */
/* event.h - an event on its way through the IDT, between fault.c and step.c. Inside x86/ only. */
#ifndef HOLON_X86_EVENT_H
#define HOLON_X86_EVENT_H

#include "x86/execute.h"

struct x86_event {
	enum x86_event_type type;
	uint8_t vector;
	bool has_error;
	uint32_t error;
};

/* Delivers at RIP, faults on the way and what they make of it included. Never unwinds. */
void x86_event_chain(struct x86_cpu *cpu, const struct x86_event *event);

#endif
