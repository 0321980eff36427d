/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.h - one VM, as its owner wrote it down. The command line, VM files and the API all make this struct; the board builds
 * the machine from it and from nothing else. Strings are owned by whoever made the config and outlive the VM.
 */
#ifndef HOLON_CONFIG_H
#define HOLON_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#define VM_CPUS_MAX 64
#define VM_DISKS_MAX 16
#define VM_MEMORY_MIN (UINT64_C(16) << 20)
#define VM_MEMORY_MAX (UINT64_C(512) << 30)

enum console_kind { CONSOLE_STDIO, CONSOLE_NONE, CONSOLE_FILE };

enum disk_bus { DISK_VIRTIO, DISK_NVME };

/* A limit; 0: none. The burst is what may go at once after idleness; 0: a tenth of a second's worth. */
struct disk_rate {
	uint64_t second;
	uint64_t burst;
};

struct disk_config {
	const char *path;
	const char *format; /* "raw" */
	enum disk_bus bus;
	bool readonly;
	uint32_t block_size;   /* what the guest sees: 512 or 4096; 0: the backend's */
	struct disk_rate rate; /* requests a second */
	struct disk_rate byte_rate;
	char serial[21]; /* what the guest reads; from the path's hash where the owner gave none */
};

struct vm_config {
	const char *name;
	const char *engine;    /* "auto", "interp", "jit", "kvm" */
	const char *cpu_model; /* "x86-64-v2", "x86-64-v3", "host", "max" */
	unsigned cpus;
	uint64_t memory; /* bytes, whole MiB */
	bool overcommit;
	const char *kernel; /* NULL: none */
	const char *initrd;
	const char *cmdline; /* never NULL */
	struct disk_config disk[VM_DISKS_MAX];
	unsigned disks;
	enum console_kind console;
	const char *console_path;
	int debug_exit_port; /* -1: none */
	bool no_reboot;
	const char *stats_path;    /* JSON at exit; NULL: none */
	bool deterministic;        /* the clock counts instructions (tests) */
	uint32_t engine_switch_ms; /* the VM moves to another engine so often (tests); 0: never */
	uint32_t rebuild_ms;       /* and is rebuilt from its saved state; 0: never */
	uint64_t jit_cache;        /* bytes; 0: the engine's default */
	const char *jit_dump_path; /* guest and host code of every block; NULL: none */
};

#endif
