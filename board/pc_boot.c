/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pc_boot.c - what happens between a reset and the guest's first instruction: firmware's part (pc_firmware.c), the ACPI tables, the kernel.
 */
#include "board/pc.h"
#include "board/pc_firmware.h"
#include "x86/state.h"

#define GPE0_LENGTH 16
#define PIC_PIRQ_IRQS ((1u << 5) | (1u << 10) | (1u << 11)) /* ISA interrupts that no device has */
#define PIC_ELCR_PIRQS 0x0c                                 /* ELCR of the slave: 10 and 11 */
#define ACPI_TABLES_SIZE (PC_RAM_HIGH - PC_ACPI_TABLES)
#define RESET_SYSTEM 0x06 /* RST_CNT: SYS_RST and RST_CPU */

static void acpi_tables_write(struct board *board)
{
	const struct acpi_machine machine = {
		.cpus = board->vm->vcpus,
		.lapic_base = PC_LAPIC,
		.ioapic_base = PC_IOAPIC,
		.hpet_base = PC_HPET,
		.hpet_id = HPET_ID,
		.ecam_base = PC_ECAM,
		.pci_buses = PC_PCI_BUSES,
		.memory32 = board->memory32,
		.memory64 = board->memory64,
		.slots = board->slots,
		.pirq = (const uint8_t(*)[4])board->pci->wiring.pirq,
		.pirq_gsi = board->pci->wiring.gsi,
		.pirq_isa_irqs = PIC_PIRQ_IRQS,
		.root_port_slot = PC_SLOT_ROOT_PORTS,
		.root_ports = PC_ROOT_PORTS,
		.lpc_slot = PC_SLOT_LPC,
		.pm_event = PC_PORT_PM + ACPI_PM_EVENT,
		.pm_control = PC_PORT_PM + ACPI_PM_CONTROL,
		.pm_timer = PC_PORT_PM + ACPI_PM_TIMER,
		.gpe0 = PC_PORT_PM + ACPI_PM_GPE0,
		.gpe0_length = GPE0_LENGTH,
		.sci_gsi = PC_IRQ_SCI,
		.sleep_type_s5 = ACPI_PM_SLP_TYP_S5,
		.reset_port = PC_PORT_RESET_CONTROL,
		.reset_value = RESET_SYSTEM,
		.serial_port = PC_PORT_SERIAL,
		.serial_irq = PC_IRQ_SERIAL,
		.pvpanic_port = PC_PORT_PVPANIC,
	};
	uint8_t *tables = guest_memory_write_begin(&board->vm->memory, PC_ACPI_TABLES, ACPI_TABLES_SIZE);

	bug_on(!tables || !acpi_build(&machine, tables, ACPI_TABLES_SIZE, PC_ACPI_TABLES));
	guest_memory_write_end(&board->vm->memory, PC_ACPI_TABLES, ACPI_TABLES_SIZE);
}

/* The kernel goes in with the first vcpu's registers; the others wait for it with what firmware gave them. */
static enum status vcpu_setup(struct board *board, struct vcpu *vcpu, struct reason *why)
{
	const struct engine *engine = board->vm->engine;
	struct x86_state state;
	enum status status = engine->vcpu_get(vcpu, &state);

	if (status == STATUS_OK) {
		pc_firmware_cpu_setup(&state, board->model.physical_bits, vcpu->id == 0);
		if (vcpu->id == 0)
			status = boot_commit(&board->boot, &board->vm->memory, &state, why);
	}
	if (status == STATUS_OK)
		status = engine->vcpu_set(vcpu, &state);
	return status;
}

void pc_boot(void *object)
{
	struct board *board = object;
	struct reason why = {""};
	enum status status = STATUS_OK;
	unsigned i;

	pc_firmware_pci_setup(board->pci, &board->memory32, &board->memory64);
	/* PIRQs are level-triggered at the PIC. */
	bus_write(&board->vm->ports, PC_PORT_ELCR + 1, 1, PIC_ELCR_PIRQS);
	acpi_tables_write(board);
	for (i = 0; i < board->vm->vcpus && status == STATUS_OK; i++)
		status = vcpu_setup(board, board->vm->vcpu[i], &why);
	if (status == STATUS_OK) {
		host_log(HOST_LOG_DEBUG, "kernel %s: booted by %s", board->boot.input.kernel.path, board->boot.protocol);
		if (board->backends.image_settled) {
			board->backends.image_settled(&board->backends.kernel);
			board->backends.image_settled(&board->backends.initrd);
		}
		return;
	}
	host_log(HOST_LOG_ERROR, "%s", why.text[0] ? why.text : status_name(status));
	vm_end_request(board->vm, VM_END_FAILURE);
}
