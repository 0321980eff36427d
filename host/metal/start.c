/* SPDX-License-Identifier: Apache-2.0 */
/*
 * start.c - the first C code on the bare machine: brings up one part of host.h after the other, then hands on to program/metal.c. Called from start.S
 * with interrupts off.
 */
#include "host/metal/internal.h"

#define MULTIBOOT2_LOADED 0x36d76289u

uint64_t start_image;

static struct multiboot multiboot;

_Noreturn void metal_start(uint32_t magic, uint32_t information, uint64_t delta);
_Noreturn void metal_start(uint32_t magic, uint32_t information, uint64_t delta)
{
	bool good = magic == MULTIBOOT2_LOADED && multiboot_read(&multiboot, page_direct(information), information);

	start_image = (uint64_t)(uintptr_t)link_begin - (UINT64_C(0xffffffff80000000)) + delta;
	trap_start();
	uart_start(multiboot.boot.words);
	if (!good) {
		host_log(HOST_LOG_ERROR,
			 "the boot loader did not hand over as multiboot2 says; start Holon with GRUB's `multiboot2`");
		power_end(1);
	}
	power_start(multiboot.boot.words);
	frame_start(&multiboot);
	page_table_start(&multiboot);
	screen_start(&multiboot);
	fadt_start(&multiboot);
	time_start();
	apic_start();
	xstate_start();
	thread_start();
	random_start();
	power_end(metal_main(&multiboot.boot));
}
