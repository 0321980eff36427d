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
#define VM_NETS_MAX 4
#define VM_MEMORY_MIN (UINT64_C(16) << 20)
#define VM_MEMORY_MAX (UINT64_C(512) << 30)

enum console_kind { CONSOLE_STDIO, CONSOLE_NONE, CONSOLE_FILE };

enum disk_source { DISK_FILE, DISK_NBD, DISK_VHOST_USER }; /* what the path is: an image or device, an NBD URI, a socket */
enum disk_bus { DISK_VIRTIO, DISK_NVME, DISK_SATA };
#define VM_SATA_MAX 6 /* drives at the SATA controller */

/* A limit; 0: none. The burst is what may go at once after idleness; 0: a tenth of a second's worth. */
struct disk_rate {
	uint64_t second;
	uint64_t burst;
};

struct disk_config {
	const char *path;
	const char *format; /* "raw", "qcow2"; NULL: qcow2 if the path ends in .qcow2 and the header agrees, else raw */
	enum disk_source source;
	enum disk_bus bus;
	bool readonly;
	bool cdrom;            /* an ISO image in a CD-ROM drive: readonly, at DISK_SATA */
	bool direct;           /* past the host's page cache: raw files and devices */
	bool pause_on_error;   /* a host's disk that is full or fails pauses the VM; else the guest is told */
	uint32_t block_size;   /* what the guest sees: 512 or 4096; 0: the backend's */
	struct disk_rate rate; /* requests a second */
	struct disk_rate byte_rate;
	char serial[21]; /* what the guest reads; from the path's hash where the owner gave none */
};

/* Bytes a second and after idleness at once; 0: no limit, a tenth of a second's worth. */
struct rng_config {
	uint64_t second;
	uint64_t burst;
};
#define VM_RNG_DEFAULT                                \
	{                                             \
		UINT64_C(1) << 20, UINT64_C(64) << 10 \
	}

/* What happens when the guest lets its watchdog run out. */
enum watchdog_action { WATCHDOG_NONE, WATCHDOG_RESET, WATCHDOG_POWER_OFF, WATCHDOG_CRASH };

/* Memory that the guest gives back; there is no such device unless `present`. */
struct balloon_config {
	bool present;
	uint64_t target;        /* bytes asked back from the beginning */
	unsigned stats_seconds; /* how often the guest's statistics are asked for; 0: once */
};

/* A named port of the guest's that leads to a Unix socket. */
#define VM_PORTS_MAX 8
#define VM_PORT_NAME_MAX 32
struct port_config {
	char name[VM_PORT_NAME_MAX + 1];
	char *path;
};

enum net_kind { NET_USER, NET_TAP, NET_BRIDGE, NET_SWITCH };

/* A limit in each direction; 0: none. The burst is what may go at once after idleness; 0: a tenth of a second's worth. */
struct net_rate {
	uint64_t second;
	uint64_t burst;
};

/* An IPv4 address is in the first four bytes. */
struct net_address {
	bool ip6;
	uint8_t byte[16];
};

/* -p: a port of the host that leads to one of the guest's. */
struct net_publish {
	struct net_address address; /* of the host, to listen on */
	uint16_t host, guest;
	bool udp;
};

/* allow=: where the guest may send to. */
struct net_allow {
	struct net_address address;
	uint8_t bits;         /* of the address that count */
	bool everything;      /* any port, and ICMP */
	uint8_t protocol;     /* 6 TCP, 17 UDP, 0 both */
	uint16_t first, last; /* ports */
};
#define NET_PUBLISH_MAX 64
#define NET_ALLOW_MAX 64

struct net_config {
	enum net_kind kind;
	const char *name; /* of the tap device, the bridge or the switch; NULL: user */
	char *text;       /* what `name` points into; the config's */
	uint8_t mac[6];
	bool mac_given;
	uint16_t mtu;    /* 0: the backend's */
	unsigned queues; /* pairs; tap and bridge only */
	struct net_rate bytes, frames;
	/* Of the user network. */
	bool no_host;    /* the host's loopback addresses cannot be reached; so unless somebody asks for it */
	bool restricted; /* only what `allow` lists */
	struct net_allow allow[NET_ALLOW_MAX];
	unsigned allows;
	struct net_publish publish[NET_PUBLISH_MAX];
	unsigned publishes;
};

/* A folder of the host's that the guest mounts by its tag. */
#define VM_SHARES_MAX 8
#define VM_TAG_MAX 36
struct share_config {
	const char *path;
	char tag[VM_TAG_MAX + 1];
	bool readonly;
};

/* Who gets a window on the host's MMU (engine/jit/window.h). */
enum jit_window { JIT_WINDOW_AUTO, JIT_WINDOW_ALWAYS, JIT_WINDOW_NEVER };

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
	struct share_config share[VM_SHARES_MAX];
	unsigned shares;
	struct net_config net[VM_NETS_MAX];
	unsigned nets;
	bool no_net;
	struct net_publish publish[NET_PUBLISH_MAX]; /* as given; the first user network has them */
	unsigned publishes;
	struct rng_config rng;
	struct balloon_config balloon;
	struct port_config port[VM_PORTS_MAX];
	unsigned ports;
	const char *vsock_path; /* of the Unix socket; NULL: the guest has no such device */
	char *vsock_text;       /* what vsock_path points into; the config's */
	uint64_t vsock_cid;
	enum watchdog_action watchdog; /* NONE: the guest has none */
	enum console_kind console;
	const char *console_path;
	int debug_exit_port; /* -1: none */
	bool no_reboot;
	const char *control_path;  /* of the control socket; NULL: in the user's folder of running VMs */
	bool no_control;           /* there is none */
	const char *stats_path;    /* JSON at exit; NULL: none */
	bool deterministic;        /* the clock counts instructions (tests) */
	uint32_t engine_switch_ms; /* the VM moves to another engine so often (tests); 0: never */
	uint32_t rebuild_ms;       /* and is rebuilt from its saved state; 0: never */
	uint32_t grow_ms;          /* and its disks become 1 MiB longer; 0: never */
	uint32_t check_dirty_ms;   /* and its dirty log is checked; 0: never */
	uint64_t jit_cache;        /* bytes; 0: the engine's default */
	enum jit_window jit_window;
	const char *jit_dump_path; /* guest and host code of every block; NULL: none */
};

#endif
