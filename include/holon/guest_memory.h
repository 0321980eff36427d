/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guest_memory.h - the guest's RAM: where it is in the host, who has written it, and where code was translated.
 *
 * RAM is one host mapping (`base`, `size`; a memfd or private memory); slots say which guest-physical range shows which part
 * of it. A *RAM page* is an index into that mapping: (hva - base) / 4096. The guest is hostile and runs at the
 * same time: read a structure once into a local copy, check the copy.
 *
 * Each RAM page has flags. While any is set, a write must take the slow way, which
 * clears what it can: no vcpu may keep a writable translation (TLB entry) of a page with flags != 0.
 */
#ifndef HOLON_GUEST_MEMORY_H
#define HOLON_GUEST_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <holon/status.h>

#define GUEST_PAGE_SHIFT 12
#define GUEST_PAGE_SIZE 4096u
#define GUEST_MEMORY_SLOTS 8

#define GUEST_PAGE_CODE 1u  /* an engine holds decoded or translated code of this page */
#define GUEST_PAGE_CLEAN 2u /* dirty logging is on and the page has not been written since the last collection */

struct memory_slot {
	unsigned id;
	uint64_t gpa;
	uint64_t length;
	uint8_t *hva;
	bool readonly; /* ROM: writes by the guest are swallowed */
};

struct guest_memory {
	uint8_t *base;
	uint64_t size;
	struct memory_slot slot[GUEST_MEMORY_SLOTS];
	unsigned slots;
	_Atomic uint8_t *page_flags;       /* by RAM page */
	_Atomic uint32_t *code_generation; /* by RAM page: stepped by the engine's code_written when it finds that code was hit */
	_Atomic uint64_t *dirty;           /* a bit a RAM page; valid while `logging` */
	bool logging;
	/* Set by an engine that translates; called after bytes of a page with GUEST_PAGE_CODE were written. Any thread. */
	void (*code_written)(void *engine, uint64_t page, unsigned offset, unsigned length);
	void *engine;
};

/* `base` must be zeroed or loaded host memory of `size` bytes, whole pages. Allocates the page tables above. */
enum status guest_memory_init(struct guest_memory *memory, uint8_t *base, uint64_t size) must_check;
void guest_memory_destroy(struct guest_memory *memory);
/* Shows [offset, offset + length) of the mapping at `gpa`. Creation time only. */
enum status guest_memory_slot_add(struct guest_memory *memory, uint64_t gpa, uint64_t length, uint64_t offset,
				  bool readonly) must_check;

/* The host address of [gpa, gpa + length) if all of it lies in one slot, else NULL. For reading; to write see below. */
const uint8_t *guest_memory_at(const struct guest_memory *memory, uint64_t gpa, uint64_t length);
/* The slot that contains `gpa`, or NULL. */
const struct memory_slot *guest_memory_slot_find(const struct guest_memory *memory, uint64_t gpa);

/* Whoever writes guest RAM from the host brackets it so. begin returns NULL where guest_memory_at would or for ROM. */
uint8_t *guest_memory_write_begin(struct guest_memory *memory, uint64_t gpa, uint64_t length) must_check;
void guest_memory_write_end(struct guest_memory *memory, uint64_t gpa, uint64_t length);

/* Copies; STATUS_RANGE (and nothing done) where part of the range is no RAM. Ranges may span slots. */
enum status guest_memory_read(const struct guest_memory *memory, uint64_t gpa, void *buffer, uint64_t length) must_check;
enum status guest_memory_write(struct guest_memory *memory, uint64_t gpa, const void *buffer, uint64_t length) must_check;

/*
 * The guest does not need the whole pages in [gpa, gpa + length): they go back to the host and are zero when touched again. Returns how many bytes
 * went; what is no RAM or is read-only stays. A write like any other for translations and dirty logging.
 */
uint64_t guest_memory_discard(struct guest_memory *memory, uint64_t gpa, uint64_t length);

static inline uint64_t guest_memory_page(const struct guest_memory *memory, const uint8_t *hva)
{
	return (uint64_t)(hva - memory->base) >> GUEST_PAGE_SHIFT;
}

/*
 * After a store of `length` bytes at `hva` (within one page) while the page's flags were not 0: marks the page dirty, tells the engine if code
 * was there. Called by vcpus' slow way and by guest_memory_write_end. The store is done before the call.
 */
void guest_memory_page_written(struct guest_memory *memory, const uint8_t *hva, unsigned length);

/* Dirty logging: start clears and arms; collect moves the dirty bits into `bitmap` (a bit a RAM page) and re-arms.
 * The caller sees to it that no vcpu keeps a writable translation across either call (engine->run_exclusive + flush). */
enum status guest_memory_dirty_start(struct guest_memory *memory) must_check;
void guest_memory_dirty_collect(struct guest_memory *memory, uint64_t *bitmap);
void guest_memory_dirty_stop(struct guest_memory *memory);

#endif
