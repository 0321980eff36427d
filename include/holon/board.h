/* SPDX-License-Identifier: Apache-2.0 */
/*
 * board.h - the one board: what control/ asks of board/pc.c, which builds the machine inside a VM.
 *
 * Order of calls, all on the program's thread: vm_create (makes vm->vcpu[] without engine state), board_create, vm_vcpus_create,
 * vm_start, vm_wait; then, once no backend calls in any more (disks drained, console stopped): board_destroy, vm_destroy. The
 * backends and the image bytes belong to the caller and outlive the board.
 */
#ifndef HOLON_BOARD_H
#define HOLON_BOARD_H

#include <stdbool.h>
#include <stdint.h>

#include <holon/balloon.h>
#include <holon/block.h>
#include <holon/chardev.h>
#include <holon/config.h>
#include <holon/net.h>
#include <holon/peer.h>
#include <holon/status.h>
#include <holon/vsock.h>

struct vm;
struct board;

/* A file of the owner's, mapped read-only. bytes NULL: there is none. */
struct board_image {
	const uint8_t *bytes;
	uint64_t length;
	const char *path; /* for messages */
};

struct board_backends {
	struct chardev *console;          /* NULL: output vanishes */
	struct block *disk[VM_DISKS_MAX]; /* config->disks of them; NULL where disk_peer has it */
	struct peer *disk_peer[VM_DISKS_MAX];
	struct peer *share[VM_SHARES_MAX];  /* config->shares of them */
	struct net *net[VM_NETS_MAX];       /* config->nets of them */
	struct vsock *vsock;                /* NULL: none */
	struct chardev *port[VM_PORTS_MAX]; /* config->ports of them */
	struct board_image kernel, initrd;
	/*
	 * Unpacks a kernel's payload: gzip, xz, lzma, zstd or lz4 by its magic number. Bytes behind the compressed stream are ignored.
	 * *out is the callee's until decompress_free. STATUS_UNSUPPORTED: no format that it knows; STATUS_INVALID: damaged. May be NULL.
	 */
	enum status (*decompress)(const uint8_t *in, uint64_t in_length, uint8_t **out, uint64_t *out_length, struct reason *why);
	void (*decompress_free)(uint8_t *out, uint64_t out_length);
	/* The image has been copied to the guest and is not read before the next reset: its pages may go meanwhile. May be NULL. */
	void (*image_settled)(const struct board_image *image);
};

/*
 * Sets up memory slots, vm->cpu_model (config->cpu_model by x86_cpu_model_find), the devices (vm_device_add), the interrupt wiring, each vcpu's
 * apic and apic_ops, vm->board and vm->boot. Checks kernel and initrd as far as it can, so that a bad file is refused before anything
 * runs. On failure nothing is left behind. `backends` is copied.
 */
enum status board_create(struct board **made, struct vm *vm, const struct board_backends *backends, struct reason *why) must_check;
/* Calls each device's destroy, last one first, and frees the board. No vcpu runs any more. */
void board_destroy(struct board *board);
/* What the guest has given back. false: it has no balloon. Any thread, with the board's lock where the machine may be held. */
bool board_balloon_report(struct board *board, struct balloon_report *report);
/* So many bytes are asked back from now on, of a guest that has a balloon. With the board's lock. */
void board_balloon_target_set(struct board *board, uint64_t target);
/* The ACPI power button is pressed and released. With the board's lock. */
void board_power_button(struct board *board);
/* block_resize for config->disk[disk], one that has a backend here; takes the board's lock where that is needed. May take the host or a server a while. */
enum status board_disk_resize(struct board *board, unsigned disk, uint64_t size, struct reason *why) must_check;

#endif
