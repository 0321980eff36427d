/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lapic_test.c - the local APICs: priorities and EOI, modes, IPIs and MSIs to every kind of destination, the timer, saved state, a hostile guest.
 */
#include "test/device/device_fixture.h"

#include "device/lapic.h"

#include "x86/state.h"

#define CPUS 20

struct fake_vcpu {
	unsigned interrupts;
	unsigned requests[3];
	uint8_t sipi_vector;
	struct lapic *lapic;
};

static struct fixture fixture;
static struct lapic_set set;
static struct fake_vcpu vcpu[CPUS];
static bool pic_int;
static unsigned eois;
static uint8_t eoi_vector;

static void interrupt_heard(void *object)
{
	((struct fake_vcpu *)object)->interrupts++;
}

static void request_heard(void *object, enum lapic_request kind, uint8_t vector)
{
	struct fake_vcpu *it = object;

	it->requests[kind]++;
	if (kind == LAPIC_REQUEST_SIPI)
		it->sipi_vector = vector;
}

static bool pic_pending_now(void *pic)
{
	return *(bool *)pic;
}

static int pic_accept_now(void *pic)
{
	*(bool *)pic = false;
	lapic_set_lint0(&set, false);
	return 0x99;
}

static void eoi_heard(void *chip, uint8_t vector)
{
	(void)chip;
	eois++;
	eoi_vector = vector;
}

static uint32_t get(unsigned cpu, unsigned offset)
{
	return (uint32_t)lapic_ops.mmio_read(vcpu[cpu].lapic, offset, 4);
}

static void put(unsigned cpu, unsigned offset, uint32_t value)
{
	lapic_ops.mmio_write(vcpu[cpu].lapic, offset, 4, value);
}

static bool wrmsr(unsigned cpu, uint32_t msr, uint64_t value)
{
	return lapic_ops.msr_write(vcpu[cpu].lapic, msr, value);
}

static uint64_t rdmsr(unsigned cpu, uint32_t msr)
{
	uint64_t value = 0xdead;

	assert_true(lapic_ops.msr_read(vcpu[cpu].lapic, msr, &value));
	return value;
}

static bool rdmsr_faults(unsigned cpu, uint32_t msr)
{
	uint64_t value;

	return !lapic_ops.msr_read(vcpu[cpu].lapic, msr, &value);
}

static int accept(unsigned cpu)
{
	return lapic_ops.accept(vcpu[cpu].lapic);
}

static bool has(unsigned cpu, unsigned vector)
{
	return get(cpu, 0x200 + (vector >> 5) * 16) >> (vector & 31) & 1;
}

/* How many CPUs have `vector` requested; takes the requests back. */
static unsigned who(unsigned vector, uint32_t *cpus)
{
	unsigned count = 0;

	*cpus = 0;
	for (unsigned i = 0; i < CPUS; i++) {
		if (!(vcpu[i].lapic->irr[vector >> 6] >> (vector & 63) & 1))
			continue;
		vcpu[i].lapic->irr[vector >> 6] = 0;
		*cpus |= 1u << i;
		count++;
	}
	return count;
}

static void x2apic(unsigned cpu)
{
	assert_true(wrmsr(cpu, 0x1b, rdmsr(cpu, 0x1b) | 0x400));
}

static int setup(void **state)
{
	const struct lapic_wiring wiring = {
		.clock = &fixture.clock,
		.irq = &fixture.irq,
		.physical_bits = 40,
		.interrupt = interrupt_heard,
		.request = request_heard,
		.extint_pending = pic_pending_now,
		.extint_accept = pic_accept_now,
		.pic = &pic_int,
	};

	(void)state;
	fixture_init(&fixture);
	fixture.irq.eoi = eoi_heard;
	memset(vcpu, 0, sizeof(vcpu));
	pic_int = false;
	eois = 0;
	assert_int_equal(lapic_set_init(&set, CPUS, &wiring), STATUS_OK);
	for (unsigned i = 0; i < CPUS; i++) {
		vcpu[i].lapic = lapic_set_attach(&set, i, &vcpu[i]);
		put(i, 0xf0, 0x1ff);
	}
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	set.device.destroy(&set);
	return 0;
}

static void test_reset_values_are_the_manuals(void **state)
{
	(void)state;
	set.device.reset(&set);
	assert_int_equal(rdmsr(0, 0x1b), 0xfee00900);
	assert_int_equal(rdmsr(3, 0x1b), 0xfee00800);
	assert_int_equal(lapic_ops.base(vcpu[3].lapic), 0xfee00000);
	assert_int_equal(get(3, 0x20), 3u << 24);
	assert_int_equal(get(3, 0x30), 0x01050014);
	assert_int_equal(get(3, 0xe0), 0xffffffff);
	assert_int_equal(get(3, 0xf0), 0xff);
	for (unsigned lvt = 0x320; lvt <= 0x370; lvt += 0x10)
		assert_int_equal(get(3, lvt), 0x10000);
	assert_int_equal(get(0, 0x350), 0x700);
	put(3, 0x320, 0x40); /* software-disabled: stays masked */
	assert_int_equal(get(3, 0x320), 0x10040);
	put(3, 0x20, 0);
	assert_int_equal(get(3, 0x20), 3u << 24);
}

static void test_priorities_nest_and_eoi_unwinds(void **state)
{
	struct lapic *lapic = vcpu[1].lapic;

	(void)state;
	assert_int_equal(lapic_ops.pending(lapic), -1);
	lapic_set_msi(&set, 0xfee01000, 0x45);
	lapic_set_msi(&set, 0xfee01000, 0x91);
	assert_int_equal(vcpu[1].interrupts, 2);
	assert_int_equal(lapic_ops.pending(lapic), 0x91);
	assert_int_equal(accept(1), 0x91);
	assert_int_equal(get(1, 0xa0), 0x90);
	assert_int_equal(lapic_ops.pending(lapic), -1);
	lapic_set_msi(&set, 0xfee01000, 0x9f); /* same class */
	assert_int_equal(accept(1), -1);
	lapic_set_msi(&set, 0xfee01000, 0xa0);
	assert_int_equal(accept(1), 0xa0);
	put(1, 0xb0, 0);
	assert_int_equal(lapic_ops.pending(lapic), -1);
	vcpu[1].interrupts = 0;
	put(1, 0xb0, 0);
	assert_int_equal(vcpu[1].interrupts, 1); /* 0x9f is deliverable now */
	assert_int_equal(accept(1), 0x9f);
	put(1, 0xb0, 0);
	assert_int_equal(accept(1), 0x45);
	assert_int_equal(get(1, 0x120), 1u << 5);
	put(1, 0xb0, 0);
	put(1, 0xb0, 0); /* one too many */
	assert_int_equal(get(1, 0xa0), 0);
	assert_int_equal(eois, 0);
}

static void test_one_wake_for_a_vector_that_is_requested_already(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 5; i++)
		lapic_set_msi(&set, 0xfee02000, 0x50);
	assert_int_equal(vcpu[2].interrupts, 1);
}

static void test_task_priority_holds_back(void **state)
{
	struct lapic *lapic = vcpu[1].lapic;

	(void)state;
	lapic_ops.tpr_set(lapic, 5);
	assert_int_equal(get(1, 0x80), 0x50);
	assert_int_equal(get(1, 0xa0), 0x50);
	lapic_set_msi(&set, 0xfee01000, 0x5f);
	assert_int_equal(lapic_ops.pending(lapic), -1);
	vcpu[1].interrupts = 0;
	put(1, 0x80, 0x4f);
	assert_int_equal(lapic_ops.tpr_get(lapic), 4);
	assert_int_equal(vcpu[1].interrupts, 1);
	assert_int_equal(accept(1), 0x5f);
	assert_int_equal(get(1, 0xa0), 0x50);
	put(1, 0x80, 0x5a);
	assert_int_equal(get(1, 0xa0), 0x5a);
}

static void test_level_eoi_is_broadcast_unless_suppressed(void **state)
{
	(void)state;
	lapic_set_msi(&set, 0xfee01000, 0xc060);
	assert_int_equal(get(1, 0x180 + 0x30), 1);
	assert_int_equal(accept(1), 0x60);
	put(1, 0xb0, 0);
	assert_int_equal(eois, 1);
	assert_int_equal(eoi_vector, 0x60);
	lapic_set_msi(&set, 0xfee01000, 0x60); /* an edge now */
	assert_int_equal(get(1, 0x180 + 0x30), 0);
	accept(1);
	put(1, 0xb0, 0);
	assert_int_equal(eois, 1);
	put(1, 0xf0, 0x11ff);
	lapic_set_msi(&set, 0xfee01000, 0xc060);
	accept(1);
	put(1, 0xb0, 0);
	assert_int_equal(eois, 1);
	lapic_set_msi(&set, 0xfee01000, 0x8061); /* deassertion */
	assert_false(has(1, 0x61));
}

static void test_mode_changes_follow_the_state_diagram(void **state)
{
	struct lapic *lapic = vcpu[2].lapic;

	(void)state;
	assert_false(wrmsr(2, 0x1b, 0xfee00400));         /* EXTD without EN */
	assert_false(wrmsr(2, 0x1b, 0xfee00a00));         /* reserved bit 9 */
	assert_false(wrmsr(2, 0x1b, 0x1000000fee00800u)); /* beyond MAXPHYADDR */
	assert_true(rdmsr_faults(2, 0x802));
	x2apic(2);
	assert_true(lapic_ops.base(lapic) == UINT64_MAX);
	assert_int_equal(rdmsr(2, 0x802), 2);
	assert_false(wrmsr(2, 0x1b, 0xfee00800)); /* x2APIC to xAPIC */
	assert_true(wrmsr(2, 0x1b, 0xfee00000));
	assert_int_equal(rdmsr(2, 0x1b), 0xfee00000);
	assert_false(wrmsr(2, 0x1b, 0xfee00c00)); /* disabled to x2APIC */
	assert_true(wrmsr(2, 0x1b, 0xfee00800));
	assert_int_equal(get(2, 0xf0), 0xff); /* it was reset on the way */
	assert_true(wrmsr(2, 0x1b, 0xfed00900));
	assert_int_equal(rdmsr(2, 0x1b), 0xfed00800); /* the BSP flag stays what it was */
	assert_int_equal(lapic_ops.base(lapic), 0xfed00000);
}

static void test_x2apic_registers_check_reserved_bits(void **state)
{
	static const uint32_t faults_on_read[] = {0x800, 0x809, 0x80b, 0x80c, 0x80e, 0x829,
						  0x82f, 0x831, 0x83a, 0x83f, 0x840, 0x8ff};
	static const struct {
		uint32_t msr;
		uint64_t value;
	} faults_on_write[] = {{0x802, 0},       {0x803, 0},     {0x808, 0x100},   {0x80a, 0},         {0x80b, 1},
			       {0x80d, 0},       {0x80f, 0x400}, {0x810, 0},       {0x828, 1},         {0x830, 0x2000},
			       {0x830, 0x10000}, {0x831, 0},     {0x832, 0x80100}, {0x837, 0x20000},   {0x838, UINT64_C(1) << 32},
			       {0x839, 0},       {0x83e, 4},     {0x83f, 0x100},   {0x80e, 0xffffffff}};

	(void)state;
	x2apic(17);
	for (unsigned i = 0; i < sizeof(faults_on_read) / sizeof(faults_on_read[0]); i++)
		assert_true(rdmsr_faults(17, faults_on_read[i]));
	for (unsigned i = 0; i < sizeof(faults_on_write) / sizeof(faults_on_write[0]); i++)
		assert_false(wrmsr(17, faults_on_write[i].msr, faults_on_write[i].value));
	assert_int_equal(rdmsr(17, 0x80d), 1 << 16 | 1 << 1);
	assert_int_equal(rdmsr(17, 0x803), 0x01050014);
	assert_true(wrmsr(17, 0x830, UINT64_C(0x1234) << 32 | 0x10));
	assert_int_equal(rdmsr(17, 0x830), UINT64_C(0x1234) << 32 | 0x10);
	assert_true(wrmsr(17, 0x808, 0xff));
	assert_true(wrmsr(17, 0x80b, 0));
}

static void test_self_ipi(void **state)
{
	(void)state;
	x2apic(4);
	assert_true(wrmsr(4, 0x83f, 0x77));
	assert_int_equal(vcpu[4].interrupts, 1);
	assert_int_equal(accept(4), 0x77);
	assert_true(wrmsr(4, 0x83f, 0x0f)); /* an illegal vector */
	assert_true(wrmsr(4, 0x828, 0));
	assert_int_equal(rdmsr(4, 0x828), 0x20);
}

static void test_ipis_reach_physical_destinations_and_shorthands(void **state)
{
	uint32_t cpus;

	(void)state;
	put(0, 0x310, 7u << 24);
	put(0, 0x300, 0x4050);
	assert_int_equal(get(0, 0x300), 0x4050);
	assert_int_equal(who(0x50, &cpus), 1);
	assert_int_equal(cpus, 1u << 7);
	put(0, 0x310, 0xffu << 24);
	put(0, 0x300, 0x50);
	assert_int_equal(who(0x50, &cpus), CPUS);
	put(3, 0x300, 0x40050); /* self */
	assert_int_equal(who(0x50, &cpus), 1);
	assert_int_equal(cpus, 1u << 3);
	put(3, 0x300, 0x80050); /* all */
	assert_int_equal(who(0x50, &cpus), CPUS);
	put(3, 0x300, 0xc0050); /* all but self */
	assert_int_equal(who(0x50, &cpus), CPUS - 1);
	assert_int_equal(cpus & 1u << 3, 0);
	put(0, 0x310, 200u << 24); /* nobody */
	put(0, 0x300, 0x50);
	assert_int_equal(who(0x50, &cpus), 0);
	put(5, 0xf0, 0xff); /* software-disabled */
	put(0, 0x310, 5u << 24);
	put(0, 0x300, 0x50);
	assert_int_equal(who(0x50, &cpus), 0);
}

static void test_init_sipi_and_nmi(void **state)
{
	(void)state;
	put(0, 0x310, 2u << 24);
	put(0, 0x300, 0xc500);
	assert_int_equal(vcpu[2].requests[LAPIC_REQUEST_INIT], 1);
	put(0, 0x300, 0x8500); /* de-assert */
	assert_int_equal(vcpu[2].requests[LAPIC_REQUEST_INIT], 1);
	put(2, 0xf0, 0xff);
	put(0, 0x300, 0x469a);
	assert_int_equal(vcpu[2].requests[LAPIC_REQUEST_SIPI], 1);
	assert_int_equal(vcpu[2].sipi_vector, 0x9a);
	put(0, 0x300, 0xc4400); /* NMI to all others */
	assert_int_equal(vcpu[0].requests[LAPIC_REQUEST_NMI], 0);
	assert_int_equal(vcpu[19].requests[LAPIC_REQUEST_NMI], 1);
	put(0, 0x300, 0x84500); /* INIT to all including self: no such thing */
	assert_int_equal(vcpu[1].requests[LAPIC_REQUEST_INIT], 0);
	put(0, 0x300, 0xc4500);
	assert_int_equal(vcpu[1].requests[LAPIC_REQUEST_INIT], 1);
	assert_int_equal(vcpu[0].requests[LAPIC_REQUEST_INIT], 0);
	assert_true(wrmsr(6, 0x1b, 0xfee00000)); /* a disabled one hears nothing */
	put(0, 0x310, 6u << 24);
	put(0, 0x300, 0x4400);
	assert_int_equal(vcpu[6].requests[LAPIC_REQUEST_NMI], 1);
}

static void test_logical_destinations_flat_and_cluster(void **state)
{
	uint32_t cpus;

	(void)state;
	for (unsigned i = 0; i < 8; i++)
		put(i, 0xd0, 1u << (24 + i));
	lapic_set_msi(&set, 0xfee00004 | 0xa5 << 12, 0x50);
	assert_int_equal(who(0x50, &cpus), 4);
	assert_int_equal(cpus, 0xa5);
	for (unsigned i = 0; i < 8; i++) {
		put(i, 0xe0, 0x0fffffff);
		put(i, 0xd0, (i / 4) << 28 | 1u << (24 + i % 4));
	}
	put(0, 0x310, 0x1au << 24);
	put(0, 0x300, 0x850);
	assert_int_equal(who(0x50, &cpus), 2);
	assert_int_equal(cpus, 0xa0);
	for (unsigned i = 0; i < CPUS; i++)
		x2apic(i);
	assert_true(wrmsr(0, 0x830, UINT64_C(0x1000a) << 32 | 0x850));
	assert_int_equal(who(0x50, &cpus), 2);
	assert_int_equal(cpus, 0xau << 16);
	assert_true(wrmsr(0, 0x830, UINT64_C(0xffffffff) << 32 | 0x850));
	assert_int_equal(who(0x50, &cpus), CPUS);
	assert_true(wrmsr(0, 0x830, UINT64_C(19) << 32 | 0x50));
	assert_int_equal(who(0x50, &cpus), 1);
	assert_int_equal(cpus, 1u << 19);
	assert_true(wrmsr(0, 0x830, UINT64_C(0xff) << 32 | 0x50)); /* no broadcast in 32 bits */
	assert_int_equal(who(0x50, &cpus), 0);
	lapic_set_msi(&set, 0xfeeff000, 0x50); /* but in an MSI's eight */
	assert_int_equal(who(0x50, &cpus), CPUS);
}

static void test_lowest_priority_finds_the_idle_one_and_spreads(void **state)
{
	uint32_t cpus, all = 0;

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		put(i, 0xd0, 1u << (24 + i));
	put(0, 0x80, 0x20);
	put(1, 0x80, 0x10);
	put(2, 0x80, 0x20);
	put(3, 0x80, 0x30);
	for (unsigned i = 0; i < 10; i++) {
		lapic_set_msi(&set, 0xfee0f004, 0x150);
		assert_int_equal(who(0x50, &cpus), 1);
		assert_int_equal(cpus, 2);
	}
	put(1, 0x80, 0x20);
	for (unsigned i = 0; i < 40; i++) {
		lapic_set_msi(&set, 0xfee0f00c, 0x50); /* redirection hint */
		assert_int_equal(who(0x50, &cpus), 1);
		all |= cpus;
	}
	assert_int_equal(all, 7);
}

static void test_rubbish_messages_go_nowhere(void **state)
{
	uint32_t cpus;

	(void)state;
	lapic_set_msi(&set, 0xfed00000, 0x50);
	lapic_set_msi(&set, UINT64_C(0x1fee00000), 0x50);
	lapic_set_msi(&set, 0xfee00000, 0x650); /* SIPI */
	lapic_set_msi(&set, 0xfee00000, 0x750); /* ExtINT */
	lapic_set_msi(&set, 0xfee00000, 0x250); /* SMI */
	assert_int_equal(who(0x50, &cpus), 0);
	assert_int_equal(vcpu[0].requests[LAPIC_REQUEST_SIPI], 0);
}

static void test_errors_are_latched_and_interrupt_once(void **state)
{
	(void)state;
	put(0, 0x370, 0x70);
	lapic_set_msi(&set, 0xfee00000, 0x0f); /* receive illegal vector */
	assert_int_equal(get(0, 0x280), 0);
	assert_true(has(0, 0x70));
	assert_int_equal(accept(0), 0x70);
	put(0, 0x300, 0x00); /* send illegal vector: not armed again yet */
	assert_false(has(0, 0x70));
	put(0, 0x280, 0);
	assert_int_equal(get(0, 0x280), 0x60);
	get(0, 0x3f8 & ~0xfu); /* 0x3f0 cannot be read */
	put(0, 0x280, 0);
	assert_int_equal(get(0, 0x280), 0x80);
	put(0, 0x280, 0);
	assert_int_equal(get(0, 0x280), 0);
	put(0, 0x370, 0x0f); /* an illegal vector for errors does not go round in circles */
	lapic_set_msi(&set, 0xfee00000, 0x01);
	put(0, 0x280, 0);
	assert_int_equal(get(0, 0x280), 0x40);
}

static void test_pic_interrupts_through_lint0(void **state)
{
	struct lapic *bsp = vcpu[0].lapic;

	(void)state;
	assert_int_equal(get(0, 0x350), 0x700);
	pic_int = true;
	lapic_set_lint0(&set, true);
	assert_int_equal(vcpu[0].interrupts, 1);
	assert_true(lapic_ops.pending(bsp) >= 0);
	assert_int_equal(lapic_ops.pending(vcpu[1].lapic), -1);
	lapic_ops.tpr_set(bsp, 15); /* means nothing to it */
	assert_int_equal(accept(0), 0x99);
	assert_int_equal(lapic_ops.pending(bsp), -1);
	put(0, 0x350, 0x10700);
	pic_int = true;
	lapic_set_lint0(&set, true);
	assert_int_equal(lapic_ops.pending(bsp), -1);
	assert_true(wrmsr(0, 0x1b, 0xfee00000)); /* an APIC that is off is not in the way */
	assert_int_equal(accept(0), 0x99);
}

static void test_lint0_as_a_fixed_level(void **state)
{
	(void)state;
	put(0, 0x350, 0x8066);
	lapic_set_lint0(&set, true);
	assert_int_equal(get(0, 0x350), 0xc066);
	assert_int_equal(accept(0), 0x66);
	put(0, 0xb0, 0);
	assert_int_equal(accept(0), 0x66); /* still high */
	lapic_set_lint0(&set, false);
	put(0, 0xb0, 0);
	assert_int_equal(accept(0), -1);
	assert_int_equal(get(0, 0x350), 0x8066);
	put(0, 0x350, 0x400);
	lapic_set_lint0(&set, true);
	assert_int_equal(vcpu[0].requests[LAPIC_REQUEST_NMI], 1);
}

static void test_one_shot_timer_counts_down_and_stops(void **state)
{
	(void)state;
	put(1, 0x320, 0x40);
	put(1, 0x3e0, 0x3); /* by 16 */
	put(1, 0x380, 1000);
	assert_int_equal(get(1, 0x390), 1000);
	fixture_run(&fixture, 8000);
	assert_int_equal(get(1, 0x390), 500);
	assert_false(has(1, 0x40));
	put(1, 0x3e0, 0xb); /* by 1: what is left goes on faster */
	assert_int_equal(get(1, 0x390), 500);
	fixture_run(&fixture, 499);
	assert_false(has(1, 0x40));
	fixture_run(&fixture, 1);
	assert_int_equal(accept(1), 0x40);
	assert_int_equal(get(1, 0x390), 0);
	fixture_run(&fixture, SECOND);
	assert_false(has(1, 0x40));
	put(1, 0x380, 1000);
	put(1, 0x380, 0); /* stops it */
	fixture_run(&fixture, SECOND);
	assert_false(has(1, 0x40));
}

static void test_periodic_timer_keeps_its_beat(void **state)
{
	unsigned ticks = 0;

	(void)state;
	put(1, 0x320, 0x20040);
	put(1, 0x3e0, 0xb);
	put(1, 0x380, 1000000);
	for (unsigned i = 0; i < 1000; i++) {
		fixture_run(&fixture, MS);
		ticks += accept(1) == 0x40;
		put(1, 0xb0, 0);
	}
	assert_int_equal(ticks, 1000);
	vm_clock_count(&fixture.clock, 10 * MS + MS / 2); /* a late host: one interrupt, then in step again */
	assert_int_equal(get(1, 0x390), 500000);
	assert_int_equal(accept(1), 0x40);
	put(1, 0xb0, 0);
	fixture_run(&fixture, MS / 2);
	assert_int_equal(accept(1), 0x40);
	put(1, 0x320, 0x30040); /* masked: runs on silently */
	put(1, 0xb0, 0);
	fixture_run(&fixture, 3 * MS);
	assert_int_equal(accept(1), -1);
	assert_int_equal(get(1, 0x390), 1000000);
}

static void test_tiny_periods_cannot_eat_the_host(void **state)
{
	(void)state;
	put(1, 0x320, 0x20040);
	put(1, 0x3e0, 0xb);
	put(1, 0x380, 1);
	fixture.wakeups = 0;
	fixture_run(&fixture, SECOND);
	assert_in_range(fixture.wakeups, 9000, 10002);
}

static void test_tsc_deadline(void **state)
{
	(void)state;
	assert_true(wrmsr(1, 0x6e0, 12345)); /* ignored in the other modes */
	assert_int_equal(rdmsr(1, 0x6e0), 0);
	put(1, 0x320, 0x40040);
	put(1, 0x380, 1000);
	assert_int_equal(get(1, 0x380), 0);
	fixture_run(&fixture, 1000);
	assert_true(wrmsr(1, 0x6e0, vm_clock_tsc(&fixture.clock) + 5000));
	assert_int_equal(rdmsr(1, 0x6e0), vm_clock_tsc(&fixture.clock) + 5000);
	fixture_run(&fixture, 4999);
	assert_false(has(1, 0x40));
	fixture_run(&fixture, 1);
	assert_int_equal(accept(1), 0x40);
	assert_int_equal(rdmsr(1, 0x6e0), 0);
	put(1, 0xb0, 0);
	assert_true(wrmsr(1, 0x6e0, 1)); /* long past: at once */
	assert_int_equal(accept(1), 0x40);
	put(1, 0xb0, 0);
	assert_true(wrmsr(1, 0x6e0, vm_clock_tsc(&fixture.clock) + 5000));
	assert_true(wrmsr(1, 0x6e0, 0)); /* disarms */
	fixture_run(&fixture, SECOND);
	assert_int_equal(accept(1), -1);
	assert_true(wrmsr(1, 0x6e0, UINT64_MAX));
	put(1, 0x320, 0x40); /* leaving the mode disarms */
	assert_int_equal(fixture.clock.next_deadline_ns, UINT64_MAX);
}

static void test_software_disable_masks_and_init_keeps_the_mode(void **state)
{
	(void)state;
	put(1, 0x320, 0x40);
	put(1, 0xf0, 0xff);
	assert_int_equal(get(1, 0x320), 0x10040);
	put(1, 0xf0, 0x1ff);
	assert_int_equal(get(1, 0x320), 0x10040);
	x2apic(1);
	lapic_ops.init(vcpu[1].lapic);
	assert_int_equal(rdmsr(1, 0x1b), 0xfee00c00);
	assert_int_equal(rdmsr(1, 0x80f), 0xff);
	assert_int_equal(rdmsr(1, 0x832), 0x10000);
}

static void test_state_goes_out_and_in_without_loss(void **state)
{
	struct x86_apic_state first, second;

	(void)state;
	put(1, 0x320, 0x20040);
	put(1, 0x3e0, 0x3);
	put(1, 0x380, 100000);
	put(1, 0x80, 0x31);
	put(1, 0xd0, 0x12000000);
	put(1, 0x300, 0x05); /* leaves an error that nobody has latched */
	lapic_set_msi(&set, 0xfee01000, 0xc071);
	lapic_set_msi(&set, 0xfee01000, 0x95);
	accept(1);
	fixture_run(&fixture, 700000);
	lapic_ops.get(vcpu[1].lapic, &first);
	set.device.reset(&set);
	assert_int_equal(lapic_ops.pending(vcpu[1].lapic), -1);
	lapic_ops.set(vcpu[1].lapic, &first);
	lapic_ops.get(vcpu[1].lapic, &second);
	assert_memory_equal(&first, &second, sizeof(first));
	put(1, 0xb0, 0);
	assert_int_equal(accept(1), 0x71);
	put(1, 0x280, 0);
	assert_int_equal(get(1, 0x280), 0x20);
	put(1, 0xb0, 0);
	assert_int_equal(eoi_vector, 0x71);
	fixture_run(&fixture, 900000);
	assert_int_equal(accept(1), 0x40);
	lapic_ops.get(vcpu[0].lapic, &first); /* the BSP as reset leaves it, LINT0 open */
	lapic_ops.set(vcpu[0].lapic, &first);
	assert_int_equal(get(0, 0x350), 0x700);
}

static void test_hostile_guest_and_rubbish_state_break_nothing(void **state)
{
	struct x86_apic_state rubbish;

	(void)state;
	for (unsigned i = 0; i < 300000; i++) {
		uint64_t dice = fixture_random(), value = fixture_random() >> (dice >> 56 & 63);
		unsigned cpu = (unsigned)(dice >> 32) % CPUS;
		struct lapic *lapic = vcpu[cpu].lapic;

		switch (dice & 7) {
		case 0: lapic_ops.mmio_read(lapic, dice >> 8 & 0xfff, 1u << (dice >> 20 & 3)); break;
		case 1: lapic_ops.mmio_write(lapic, dice >> 8 & 0x3f0, 1u << (dice >> 20 & 3), value); break;
		case 2: lapic_ops.msr_read(lapic, 0x800 + (dice >> 8 & 0xff), &value); break;
		case 3: lapic_ops.msr_write(lapic, 0x800 + (dice >> 8 & 0x3f), value); break;
		case 4:
			lapic_ops.msr_write(lapic, dice & 8 ? 0x6e0 : 0x1b, dice & 16 ? value : 0xfee00800 | (value & 0x400));
			break;
		case 5: lapic_set_msi(&set, 0xfee00000 | (value & 0xfffff), (uint32_t)fixture_random()); break;
		case 6:
			assert_in_range(lapic_ops.accept(lapic) + 1, 0, 256);
			lapic_set_lint0(&set, dice >> 9 & 1);
			break;
		default: fixture_run(&fixture, dice >> 8 & 0xfff); break;
		}
	}
	for (unsigned i = 0; i < 20000; i++) {
		for (size_t word = 0; word < sizeof(rubbish) / 8; word++)
			((uint64_t *)(void *)&rubbish)[word] = fixture_random();
		lapic_ops.set(vcpu[i % CPUS].lapic, &rubbish);
		fixture_run(&fixture, 1000);
		assert_in_range(lapic_ops.accept(vcpu[i % CPUS].lapic) + 1, 0, 256);
	}
	set.device.reset(&set);
	fixture_run(&fixture, SECOND);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_reset_values_are_the_manuals),
		TEST(test_priorities_nest_and_eoi_unwinds),
		TEST(test_one_wake_for_a_vector_that_is_requested_already),
		TEST(test_task_priority_holds_back),
		TEST(test_level_eoi_is_broadcast_unless_suppressed),
		TEST(test_mode_changes_follow_the_state_diagram),
		TEST(test_x2apic_registers_check_reserved_bits),
		TEST(test_self_ipi),
		TEST(test_ipis_reach_physical_destinations_and_shorthands),
		TEST(test_init_sipi_and_nmi),
		TEST(test_logical_destinations_flat_and_cluster),
		TEST(test_lowest_priority_finds_the_idle_one_and_spreads),
		TEST(test_rubbish_messages_go_nowhere),
		TEST(test_errors_are_latched_and_interrupt_once),
		TEST(test_pic_interrupts_through_lint0),
		TEST(test_lint0_as_a_fixed_level),
		TEST(test_one_shot_timer_counts_down_and_stops),
		TEST(test_periodic_timer_keeps_its_beat),
		TEST(test_tiny_periods_cannot_eat_the_host),
		TEST(test_tsc_deadline),
		TEST(test_software_disable_masks_and_init_keeps_the_mode),
		TEST(test_state_goes_out_and_in_without_loss),
		TEST(test_hostile_guest_and_rubbish_state_break_nothing),
	};

	return cmocka_run_group_tests_name("lapic", tests, NULL, NULL);
}
