/* SPDX-License-Identifier: Apache-2.0 */
/*
 * irq.c - hands interrupts on to the chips that the board wired up (include/holon/irq.h). The wiring is fixed before
 * the first vcpu runs, so nothing here needs a lock.
 */
#include <holon/host.h>
#include <holon/irq.h>

void irq_line_set(struct irq *irq, unsigned gsi, bool level)
{
	unsigned i;

	bug_on(gsi >= IRQ_GSIS);
	for (i = 0; i < irq->sinks; i++)
		irq->sink[i].set(irq->sink[i].chip, gsi, level);
}

void irq_msi(struct irq *irq, uint64_t address, uint32_t data)
{
	if (irq->msi)
		irq->msi(irq->msi_owner, address, data);
}

void irq_lint0(struct irq *irq, bool level)
{
	if (irq->lint0)
		irq->lint0(irq->msi_owner, level);
}

void irq_route_set(struct irq *irq, unsigned pin, bool level, uint64_t address, uint32_t data)
{
	struct irq_route *route = &irq->route_of[pin];

	bug_on(pin >= IRQ_GSIS);
	if (route->level == level && route->address == address && route->data == data)
		return;
	*route = (struct irq_route){level, address, data};
	if (irq->route)
		irq->route(irq->msi_owner, pin);
}

void irq_eoi(struct irq *irq, uint8_t vector)
{
	if (irq->eoi)
		irq->eoi(irq->eoi_ioapic, vector);
}
