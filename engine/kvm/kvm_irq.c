/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kvm_irq.c - interrupts on their way to the local APICs, which are the kernel's.
 *
 * Everything is a message: devices send MSIs, the IOAPIC makes messages of its lines. irq_msi leads here. A message goes by KVM_SIGNAL_MSI; one that is sent often gets an
 * eventfd of its own (KVM_IRQFD over an MSI route behind the IOAPIC's pins), which the kernel can deliver without a sleep. Which messages those are changes with
 * the guest's mind (affinity, new drivers), so they are kept in a small direct-mapped table, and the hotter one has the place.
 *
 * Level-triggered pins: the kernel reports an EOI to us (KVM_EXIT_IOAPIC_EOI) only for vectors that it finds in the MSI routes of the first IRQ_GSIS GSIs. The IOAPIC says which
 * those are (irq_route_set). KVM_SET_GSI_ROUTING waits for every reader in the kernel, so it is done no earlier than before a level-triggered message goes out.
 *
 * The PIC's output is a wire to LINT0 of the BSP. Its vector becomes an injected event at a moment when the kernel says that one is possible: when
 * ready_for_interrupt_injection is set, for which KVM_EXIT_IRQ_WINDOW_OPEN waits. KVM_INTERRUPT would do as well, but what it leaves in the kernel until the next
 * entry no ioctl reads back, and a vcpu that is moved to another engine just then would lose its interrupt.
 */
#include <errno.h>
#include <unistd.h>

#include "engine/kvm/kvm_engine.h"

#define MSI_ADDRESS_BASE UINT64_C(0xfee00000)
#define MSI_ADDRESS_MASK UINT64_C(0xfffffffffff00000)
#define MSI_DATA_ASSERT 0x4000u
#define MSI_DATA_LEVEL 0x8000u
#define MSI_DATA_INIT 0x4500u
#define MSI_DATA_SIPI 0x4600u
#define MSI_DATA_UNHALT 0x300u /* KVM's own: what KVM_HC_KICK_CPU sends */
#define SENT_HOT 32u           /* messages sent before one gets an eventfd */
#define SENT_MAX 256u

/* --- routes --- */

static void route_add(struct kvm_irq_routing *table, uint32_t gsi, uint64_t address, uint32_t data)
{
	table->entries[table->nr++] = (struct kvm_irq_routing_entry){
		.gsi = gsi,
		.type = KVM_IRQ_ROUTING_MSI,
		.u.msi = {.address_lo = (uint32_t)address, .address_hi = (uint32_t)(address >> 32), .data = data},
	};
}

static int routes_commit_locked(struct kvm_vm *self)
{
	struct {
		struct kvm_irq_routing head;
		struct kvm_irq_routing_entry entry[IRQ_GSIS + KVM_MESSAGES];
	} table = {.head.nr = 0};
	int result;

	for (unsigned pin = 0; pin < IRQ_GSIS; pin++)
		if (self->pin[pin].level)
			route_add(&table.head, pin, self->pin[pin].address, self->pin[pin].data);
	for (unsigned i = 0; i < KVM_MESSAGES; i++)
		if (self->message[i].event >= 0)
			route_add(&table.head, IRQ_GSIS + i, self->message[i].address, self->message[i].data);
	result = kvm_call_pointer(self->fd, KVM_SET_GSI_ROUTING, &table);
	if (result >= 0)
		self->routes_stale = false;
	return result;
}

static void route_changed(void *owner, unsigned pin)
{
	struct kvm_vm *self = owner;
	const struct irq_route *now = &self->vm->irq.route_of[pin];

	host_mutex_lock(&self->irq_lock);
	self->routes_stale |= now->level || self->pin[pin].level;
	self->pin[pin] = *now;
	host_mutex_unlock(&self->irq_lock);
}

/* --- messages --- */

static int irqfd_set(struct kvm_vm *self, unsigned index, uint32_t flags)
{
	struct kvm_irqfd irqfd = {.fd = (uint32_t)self->message[index].event, .gsi = IRQ_GSIS + index, .flags = flags};

	return kvm_call_pointer(self->fd, KVM_IRQFD, &irqfd);
}

static void event_close(struct kvm_message *message)
{
	if (message->event >= 0)
		close(message->event);
	message->event = -1;
}

/* Where the host has no more eventfds, the message goes on by ioctl and is not asked about for a while. */
static void message_promote_locked(struct kvm_vm *self, unsigned index)
{
	struct kvm_message *message = &self->message[index];

	message->event = kvm_call_eventfd();
	if (message->event >= 0 && routes_commit_locked(self) >= 0 && irqfd_set(self, index, 0) >= 0)
		return;
	event_close(message);
	message->sent = 0;
	self->routes_stale = true;
}

static void message_replace_locked(struct kvm_vm *self, unsigned index, uint64_t address, uint32_t data)
{
	struct kvm_message *message = &self->message[index];

	if (message->event >= 0 && irqfd_set(self, index, KVM_IRQFD_FLAG_DEASSIGN) < 0)
		return; /* it keeps its place */
	event_close(message);
	*message = (struct kvm_message){.address = address, .data = data, .event = -1};
}

/* The eventfd of the message, or -1. */
static int message_event_locked(struct kvm_vm *self, uint64_t address, uint32_t data)
{
	unsigned index = (unsigned)(address >> 12 ^ address >> 2 ^ data) % KVM_MESSAGES;
	struct kvm_message *message = &self->message[index];

	if (message->address != address || message->data != data) {
		if (message->sent)
			message->sent--;
		else
			message_replace_locked(self, index, address, data);
		return -1;
	}
	if (message->sent < SENT_MAX)
		message->sent++;
	if (message->event < 0 && message->sent == SENT_HOT)
		message_promote_locked(self, index);
	return message->event;
}

static int signal_msi(struct kvm_vm *self, uint64_t address, uint32_t data)
{
	struct kvm_msi msi = {.address_lo = (uint32_t)address, .address_hi = (uint32_t)(address >> 32), .data = data};

	return kvm_call_pointer(self->fd, KVM_SIGNAL_MSI, &msi);
}

/*
 * An eventfd's interrupt may be left to a worker in the kernel, and taking the eventfd back waits for that. A message that is still frequent soon has one again.
 */
void kvm_irq_messages_stop(struct kvm_vm *self)
{
	host_mutex_lock(&self->irq_lock);
	for (unsigned i = 0; i < KVM_MESSAGES; i++) {
		struct kvm_message *message = &self->message[i];

		if (message->event < 0 || irqfd_set(self, i, KVM_IRQFD_FLAG_DEASSIGN) < 0)
			continue;
		event_close(message);
		message->sent = SENT_HOT / 2;
		self->routes_stale = true;
	}
}

void kvm_irq_messages_go(struct kvm_vm *self)
{
	host_mutex_unlock(&self->irq_lock);
}

/* struct irq's `msi`. A message whose destination is nobody is not an error. */
static void message_send(void *owner, uint64_t address, uint32_t data)
{
	static const uint64_t one = 1;
	struct kvm_vm *self = owner;
	bool sent = false;
	int result = 0;

	if ((address & MSI_ADDRESS_MASK) != MSI_ADDRESS_BASE || (data & (MSI_DATA_LEVEL | MSI_DATA_ASSERT)) == MSI_DATA_LEVEL)
		return;
	host_mutex_lock(&self->irq_lock);
	if (data & MSI_DATA_LEVEL) {
		if (self->routes_stale)
			result = routes_commit_locked(self);
	} else {
		int event = message_event_locked(self, address, data);

		sent = event >= 0 && write(event, &one, sizeof(one)) == sizeof(one);
	}
	if (!sent && result >= 0)
		result = signal_msi(self, address, data);
	host_mutex_unlock(&self->irq_lock);
	if (result < 0)
		host_log(HOST_LOG_WARN, "kvm: an interrupt was lost: KVM answers %d", result);
}

int kvm_irq_request_send(struct kvm_vcpu *self, uint32_t request)
{
	uint64_t address = MSI_ADDRESS_BASE | (uint64_t)self->vcpu->id << 12;
	uint32_t data = MSI_DATA_SIPI | atomic_load(&self->vcpu->sipi_vector);

	if (request != VCPU_SIPI)
		data = request == VCPU_INIT ? MSI_DATA_INIT : MSI_DATA_UNHALT;
	return signal_msi(self->vm, address, data);
}

/* --- the PIC --- */

/* struct irq's `lint0`. */
static void lint0_changed(void *owner, bool level)
{
	struct kvm_vm *self = owner;

	atomic_store(&self->lint0, level);
	if (level)
		vcpu_interrupt(self->vm->vcpu[0]);
}

/* HLT ends: an event that is injected does not wake a halted vcpu by itself. */
static int halt_end(struct kvm_vcpu *self)
{
	struct kvm_mp_state state;
	int result = kvm_call_pointer(self->fd, KVM_GET_MP_STATE, &state);

	if (result < 0 || state.mp_state != KVM_MP_STATE_HALTED)
		return result;
	state.mp_state = KVM_MP_STATE_RUNNABLE;
	return kvm_call_pointer(self->fd, KVM_SET_MP_STATE, &state);
}

static int extint_inject(struct kvm_vcpu *self, int vector)
{
	struct kvm_vcpu_events events;
	int result = kvm_call_pointer(self->fd, KVM_GET_VCPU_EVENTS, &events);

	if (result < 0)
		return result;
	events.interrupt.injected = 1;
	events.interrupt.nr = (uint8_t)vector;
	events.interrupt.soft = 0;
	events.flags = 0; /* what they would make valid stays as it is */
	result = kvm_call_pointer(self->fd, KVM_SET_VCPU_EVENTS, &events);
	return result < 0 ? result : halt_end(self);
}

bool kvm_irq_extint_serve(struct kvm_vcpu *self)
{
	struct irq *irq = &self->vcpu->vm->irq;
	struct kvm_run *run = self->run;
	int vector, result;

	run->request_interrupt_window = atomic_load(&self->vm->lint0);
	if (!run->request_interrupt_window || !irq->extint_accept)
		return true;
	if (!self->ready_known) {
		/* Turned back at once, KVM_RUN says whether it is ready. A halted vcpu would sleep in there: it is not woken to say that. */
		__atomic_store_n(&run->immediate_exit, 1, __ATOMIC_SEQ_CST);
		return true;
	}
	if (!run->ready_for_interrupt_injection)
		return true;
	run->ready_for_interrupt_injection = 0;
	vector = irq->extint_accept(irq->pic);
	if (vector < 0)
		return true;
	self->counts.interrupt++;
	result = extint_inject(self, vector);
	run->request_interrupt_window = atomic_load(&self->vm->lint0);
	if (result < 0)
		host_log(HOST_LOG_ERROR, "kvm: vcpu %u: the PIC's interrupt cannot be injected: KVM answers %d", self->vcpu->id,
			 result);
	return result >= 0;
}

/* --- attach and detach: no vcpu runs, devices are quiet --- */

enum status kvm_irq_attach(struct kvm_vm *self, struct reason *why)
{
	struct irq *irq = &self->vm->irq;
	int result;

	for (unsigned i = 0; i < KVM_MESSAGES; i++)
		self->message[i].event = -1;
	__builtin_memcpy(self->pin, irq->route_of, sizeof(self->pin));
	result = routes_commit_locked(self);
	if (result < 0)
		return kvm_failed(why, "KVM_SET_GSI_ROUTING", result);
	self->before = (struct kvm_irq_before){irq->msi, irq->lint0, irq->route, irq->msi_owner};
	irq->msi_owner = self;
	irq->msi = message_send;
	irq->lint0 = lint0_changed;
	irq->route = route_changed;
	self->irq_taken = true;
	atomic_store(&self->lint0, irq->extint_pending && irq->extint_pending(irq->pic));
	return STATUS_OK;
}

void kvm_irq_detach(struct kvm_vm *self)
{
	struct irq *irq = &self->vm->irq;

	if (!self->irq_taken)
		return;
	/* Where the board is gone already, so is its wiring. */
	if (irq->msi_owner == self) {
		irq->msi = self->before.msi;
		irq->lint0 = self->before.lint0;
		irq->route = self->before.route;
		irq->msi_owner = self->before.owner;
		irq_lint0(irq, atomic_load(&self->lint0));
	}
	for (unsigned i = 0; i < KVM_MESSAGES; i++)
		event_close(&self->message[i]);
	self->irq_taken = false;
}
