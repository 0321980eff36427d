/* SPDX-License-Identifier: Apache-2.0 */
/*
 * acpi_pm.c - ACPI fixed hardware: the PM1 event and control blocks, the PM timer, GPE0. See acpi_pm.h.
 *
 * Registers are served byte by byte, so that every width works; sci_update_locked follows each change.
 */
#include "device/acpi_pm.h"

#include "device/ticks.h"

#define PM1_TMR 0x0001u
#define PM1_GBL 0x0020u
#define PM1_PWRBTN 0x0100u
#define PM1_RTC 0x0400u
#define PM1_PCIEXP_WAKE 0x4000u
#define PM1_ENABLES (PM1_TMR | PM1_GBL | PM1_PWRBTN | PM1_RTC | PM1_PCIEXP_WAKE)
#define PM1_SCI_SOURCES (PM1_TMR | PM1_GBL | PM1_PWRBTN | PM1_RTC)

#define CONTROL_SCI_EN 0x0001u
#define CONTROL_BM_RLD 0x0002u
#define CONTROL_SLP_TYP_SHIFT 10
#define CONTROL_SLP_TYP 0x1c00u
#define CONTROL_SLP_EN 0x2000u
#define CONTROL_STORED (CONTROL_BM_RLD | CONTROL_SLP_TYP)

#define SLP_TYP_S5_ICH9 7u

#define TIMER_TOP_BIT 31

static uint64_t timer_ticks(const struct acpi_pm *pm)
{
	return ticks_from_ns(vm_clock_ns(pm->clock), ACPI_PM_TIMER_HZ);
}

/* TMR_STS stands for every toggle of the top bit since it was cleared (4.8.3.1.1). */
static void timer_status_update(struct acpi_pm *pm)
{
	uint64_t toggles = timer_ticks(pm) >> TIMER_TOP_BIT;

	if (toggles != pm->timer_seen)
		pm->pm1_status |= PM1_TMR;
	pm->timer_seen = toggles;
}

static void sci_update_locked(struct acpi_pm *pm)
{
	bool level;

	timer_status_update(pm);
	level = (pm->pm1_status & pm->pm1_enable & PM1_SCI_SOURCES) || (pm->gpe_status & pm->gpe_enable);
	if (level != pm->sci) {
		pm->sci = level;
		irq_line_set(pm->irq, pm->sci_gsi, level);
	}
	if ((pm->pm1_enable & PM1_TMR) && !(pm->pm1_status & PM1_TMR))
		timer_set(&pm->timer, ticks_to_ns((pm->timer_seen + 1) << TIMER_TOP_BIT, ACPI_PM_TIMER_HZ));
	else
		timer_cancel(&pm->timer);
}

static void timer_fire(void *device)
{
	struct acpi_pm *pm = device;

	host_mutex_lock(&pm->lock);
	sci_update_locked(pm);
	host_mutex_unlock(&pm->lock);
}

static uint8_t byte_of(uint64_t value, unsigned index)
{
	return (uint8_t)(value >> (8 * index));
}

static uint8_t pm_byte_read(const struct acpi_pm *pm, unsigned offset, uint64_t ticks)
{
	switch (offset) {
	case ACPI_PM_EVENT ... ACPI_PM_EVENT + 1: return byte_of(pm->pm1_status, offset);
	case ACPI_PM_EVENT + 2 ... ACPI_PM_EVENT + 3: return byte_of(pm->pm1_enable, offset - 2);
	case ACPI_PM_CONTROL ... ACPI_PM_CONTROL + 1: return byte_of(pm->pm1_control | CONTROL_SCI_EN, offset - ACPI_PM_CONTROL);
	case ACPI_PM_TIMER ... ACPI_PM_TIMER + 3: return byte_of(ticks, offset - ACPI_PM_TIMER);
	case ACPI_PM_GPE0 ... ACPI_PM_GPE0 + 7: return byte_of(pm->gpe_status, offset - ACPI_PM_GPE0);
	case ACPI_PM_GPE0 + 8 ... ACPI_PM_GPE0 + 15: return byte_of(pm->gpe_enable, offset - ACPI_PM_GPE0 - 8);
	case ACPI_PM_SMI_EN ... ACPI_PM_SMI_EN + 3: return byte_of(pm->smi_enable, offset - ACPI_PM_SMI_EN);
	default: return 0;
	}
}

static uint64_t pm_read(void *device, uint64_t offset, unsigned size)
{
	struct acpi_pm *pm = device;
	uint64_t value = 0, ticks = timer_ticks(pm);

	if (offset != ACPI_PM_TIMER) /* which is read often and changes nothing */
		sci_update_locked(pm);
	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)pm_byte_read(pm, (unsigned)offset + i, ticks) << (8 * i);
	return value;
}

static void control_write(struct acpi_pm *pm, unsigned index, uint8_t value)
{
	uint16_t written = (uint16_t)(value << (8 * index)), mask = (uint16_t)(0xff << (8 * index));
	unsigned type;

	pm->pm1_control = (uint16_t)((pm->pm1_control & ~mask) | (written & CONTROL_STORED));
	if (!(written & CONTROL_SLP_EN))
		return;
	/* The DSDT offers S5 alone: any other sleep type is none. */
	type = (pm->pm1_control & CONTROL_SLP_TYP) >> CONTROL_SLP_TYP_SHIFT;
	if (type == ACPI_PM_SLP_TYP_S5 || type == SLP_TYP_S5_ICH9)
		pm->power_off(pm->machine);
}

static void byte_replace64(uint64_t *value, unsigned index, uint8_t byte)
{
	*value = (*value & ~(UINT64_C(0xff) << (8 * index))) | (uint64_t)byte << (8 * index);
}

static void pm_byte_write(struct acpi_pm *pm, unsigned offset, uint8_t value)
{
	uint64_t wide;

	switch (offset) {
	case ACPI_PM_EVENT ... ACPI_PM_EVENT + 1: pm->pm1_status &= (uint16_t) ~(value << (8 * offset)); break; /* 1 clears */
	case ACPI_PM_EVENT + 2 ... ACPI_PM_EVENT + 3:
		wide = pm->pm1_enable;
		byte_replace64(&wide, offset - 2, value);
		pm->pm1_enable = (uint16_t)(wide & PM1_ENABLES);
		break;
	case ACPI_PM_CONTROL ... ACPI_PM_CONTROL + 1: control_write(pm, offset - ACPI_PM_CONTROL, value); break;
	case ACPI_PM_GPE0 ... ACPI_PM_GPE0 + 7: pm->gpe_status &= ~((uint64_t)value << (8 * (offset - ACPI_PM_GPE0))); break;
	case ACPI_PM_GPE0 + 8 ... ACPI_PM_GPE0 + 15: byte_replace64(&pm->gpe_enable, offset - ACPI_PM_GPE0 - 8, value); break;
	case ACPI_PM_SMI_EN ... ACPI_PM_SMI_EN + 3:
		wide = pm->smi_enable;
		byte_replace64(&wide, offset - ACPI_PM_SMI_EN, value);
		pm->smi_enable = (uint32_t)wide;
		break;
	default: break;
	}
}

static void pm_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct acpi_pm *pm = device;

	timer_status_update(pm);
	for (unsigned i = 0; i < size; i++)
		pm_byte_write(pm, (unsigned)offset + i, byte_of(value, i));
	sci_update_locked(pm);
}

void acpi_pm_power_button(struct acpi_pm *pm)
{
	host_mutex_lock(&pm->lock);
	pm->pm1_status |= PM1_PWRBTN;
	sci_update_locked(pm);
	host_mutex_unlock(&pm->lock);
}

void acpi_pm_gpe_raise(struct acpi_pm *pm, unsigned event)
{
	bug_on(event >= 64);
	host_mutex_lock(&pm->lock);
	pm->gpe_status |= UINT64_C(1) << event;
	sci_update_locked(pm);
	host_mutex_unlock(&pm->lock);
}

static void acpi_pm_reset(void *object)
{
	struct acpi_pm *pm = object;

	host_mutex_lock(&pm->lock);
	timer_status_update(pm);
	pm->pm1_status = 0;
	pm->pm1_enable = 0;
	pm->pm1_control = 0;
	pm->gpe_status = 0;
	pm->gpe_enable = 0;
	pm->smi_enable = 0;
	sci_update_locked(pm);
	host_mutex_unlock(&pm->lock);
}

static void acpi_pm_before_save(void *object)
{
	struct acpi_pm *pm = object;

	host_mutex_lock(&pm->lock);
	sci_update_locked(pm);
	host_mutex_unlock(&pm->lock);
}

static enum status acpi_pm_after_load(void *object, uint32_t version, struct reason *why)
{
	struct acpi_pm *pm = object;

	(void)version;
	(void)why;
	host_mutex_lock(&pm->lock);
	pm->pm1_enable &= PM1_ENABLES;
	pm->pm1_control &= CONTROL_STORED;
	sci_update_locked(pm);
	host_mutex_unlock(&pm->lock);
	return STATUS_OK;
}

static const struct state_field acpi_pm_fields[] = {
	STATE_FIELD(struct acpi_pm, pm1_status), STATE_FIELD(struct acpi_pm, pm1_enable), STATE_FIELD(struct acpi_pm, pm1_control),
	STATE_FIELD(struct acpi_pm, gpe_status), STATE_FIELD(struct acpi_pm, gpe_enable), STATE_FIELD(struct acpi_pm, smi_enable),
	STATE_FIELD(struct acpi_pm, timer_seen),
};
static const struct state_table acpi_pm_state = {
	.name = "acpi_pm",
	.version = 1,
	STATE_TABLE_FIELDS(acpi_pm_fields),
	.before_save = acpi_pm_before_save,
	.after_load = acpi_pm_after_load,
};

static void acpi_pm_destroy(void *object)
{
	struct acpi_pm *pm = object;

	timer_cancel_wait(&pm->timer);
}

void acpi_pm_init(struct acpi_pm *pm, struct vm_clock *clock, struct irq *irq, unsigned sci_gsi, void (*power_off)(void *machine),
		  void *machine)
{
	__builtin_memset(pm, 0, sizeof(*pm));
	pm->clock = clock;
	pm->irq = irq;
	pm->sci_gsi = sci_gsi;
	pm->power_off = power_off;
	pm->machine = machine;
	timer_init(&pm->timer, clock, timer_fire, pm);
	pm->region = (struct bus_region){
		.name = "acpi_pm",
		.length = ACPI_PM_LENGTH,
		.lock = &pm->lock,
		.read = pm_read,
		.write = pm_write,
		.device = pm,
	};
	pm->device = (struct device){
		.name = "acpi_pm",
		.state = &acpi_pm_state,
		.reset = acpi_pm_reset,
		.destroy = acpi_pm_destroy,
		.object = pm,
	};
	acpi_pm_reset(pm);
}
