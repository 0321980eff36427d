/* SPDX-License-Identifier: Apache-2.0 */
/*
 * device_fixture.h - a machine without a CPU around one device: both buses, a counted clock, and interrupt sinks that remember.
 */
#ifndef HOLON_TEST_DEVICE_FIXTURE_H
#define HOLON_TEST_DEVICE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <holon/bus.h>
#include <holon/device.h>
#include <holon/irq.h>
#include <holon/timer.h>

#define FIXTURE_MSIS 64
#define FIXTURE_WALL_NS UINT64_C(1700000000000000000) /* 2023-11-14 22:13:20 UTC, a Tuesday, when guest time is 0 */
#define MS UINT64_C(1000000)
#define SECOND UINT64_C(1000000000)

struct fixture {
	struct vm_clock clock; /* COUNTED; the TSC counts nanoseconds */
	struct irq irq;
	struct bus ports, mmio;
	bool level[IRQ_GSIS];
	unsigned rises[IRQ_GSIS];
	struct {
		uint64_t address;
		uint32_t data;
	} msi[FIXTURE_MSIS];
	unsigned msis;         /* all of them; the last FIXTURE_MSIS are kept */
	unsigned long wakeups; /* timer deadlines that fixture_run met */
};

void fixture_init(struct fixture *fixture);
void fixture_place(struct bus *bus, struct bus_region *region, uint64_t base);
/* Guest time passes, timer after timer. */
void fixture_run(struct fixture *fixture, uint64_t ns);

uint64_t fixture_in(struct fixture *fixture, uint64_t port, unsigned size);
void fixture_out(struct fixture *fixture, uint64_t port, unsigned size, uint64_t value);
uint64_t fixture_load(struct fixture *fixture, uint64_t gpa, unsigned size);
void fixture_store(struct fixture *fixture, uint64_t gpa, unsigned size, uint64_t value);

/* Saves `from`, loads it into `into` (another object of the same kind) and saves that: the bytes must be equal. */
void fixture_carry_over(const struct device *from, const struct device *into);
/* Loads `count` damaged states: it must not crash, whatever it says. The device is reset afterwards. */
void fixture_load_rubbish(const struct device *device, unsigned count);
/* Random accesses of all widths to [base, base + length), with time passing in between. */
void fixture_hammer(struct fixture *fixture, struct bus *bus, uint64_t base, uint64_t length, unsigned count);
uint64_t fixture_random(void);

#endif
