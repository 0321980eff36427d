/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ticks.h - nanoseconds to the ticks of a counter and back, exactly, without 128-bit arithmetic.
 *
 * For the devices whose counters run at a rate that does not divide 10^9 (PIT, PM timer, RTC). Rates below 1 GHz.
 */
#ifndef HOLON_DEVICE_TICKS_H
#define HOLON_DEVICE_TICKS_H

#include <stdint.h>

#define TICKS_SECOND_NS UINT64_C(1000000000)

/* How many ticks have passed at `ns`. */
static inline uint64_t ticks_from_ns(uint64_t ns, uint32_t hz)
{
	return ns / TICKS_SECOND_NS * hz + ns % TICKS_SECOND_NS * hz / TICKS_SECOND_NS;
}

/* The first nanosecond at which `ticks` have passed: ticks_from_ns(ticks_to_ns(t)) == t. */
static inline uint64_t ticks_to_ns(uint64_t ticks, uint32_t hz)
{
	return ticks / hz * TICKS_SECOND_NS + (ticks % hz * TICKS_SECOND_NS + hz - 1) / hz;
}

#endif
