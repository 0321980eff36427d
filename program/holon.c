/* SPDX-License-Identifier: Apache-2.0 */
/*
 * holon.c - the program `holon`: finds the verb and calls it. Reading order from here: run.c, vm/vm.c, board/pc.c.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include <holon/engine.h>

#include "host/linux/linux.h"
#include "program/disk.h"
#include "program/doctor.h"
#include "program/exit.h"
#include "program/run.h"
#include "program/vms.h"

static const char help_all[] =
	"Holon runs virtual machines.\n"
	"\n"
	"  holon run --kernel FILE [OPTION...]   run a VM here, its serial port on this terminal\n"
	"  holon list [--json]                   your VMs that run\n"
	"  holon show VM [--json]                what one of them has: disks, networks, memory\n"
	"  holon set VM THING.PROPERTY=VALUE...  change it while it runs: a disk's size, a cable, the balloon\n"
	"  holon disk COMMAND FILE...            make, examine, convert and change disk images\n"
	"  holon doctor [--json]                 what this host offers and lacks, and what to do about it\n"
	"  holon version [--json]                what this program is\n"
	"  holon help [VERB]                     this, or all options of a verb\n"
	"\n"
	"Example:\n"
	"  holon run --kernel vmlinuz --initrd initrd.gz --cmdline 'console=ttyS0' --memory 512M --cpus 2\n";

static const char help_run[] =
	"holon run --kernel FILE [OPTION...]\n"
	"\n"
	"Runs a VM until its guest powers off. The guest's serial port is stdin and stdout; on a terminal,\n"
	"Ctrl-] and then q leaves, Ctrl-] twice sends one. What Holon itself says goes to stderr.\n"
	"\n"
	"What it boots\n"
	"  --kernel FILE       a Linux bzImage, or an ELF with a PVH note or a multiboot header\n"
	"  --initrd FILE       its initial RAM disk, or the multiboot module\n"
	"  --cmdline STR       its command line, such as 'console=ttyS0 root=/dev/vda'\n"
	"\n"
	"The machine\n"
	"  --memory SIZE       RAM, from 16M to 512G; 1G if not given\n"
	"  --overcommit        more RAM than the host has memory and swap is all right\n"
	"  --cpus N            from 1 to 64; 1 if not given\n"
	"  --cpu MODEL         x86-64-v2, x86-64-v3, host or max (the default: all that Holon has)\n"
	"  --disk PATH[,PROPERTY]...\n"
	"                      a disk; up to 16 of them. A comma in a path is written ,,\n"
	"      bus=virtio, nvme or sata, readonly, format=raw or qcow2, serial=TEXT (up to 20 signs), block-size=512 or 4096;\n"
	"      onerror=report: the guest hears of a full or failing disk (the default), or pause: the VM waits for it;\n"
	"      cache=none: a raw disk past the host's page cache (O_DIRECT), or host: through it (the default);\n"
	"      limits: iops=N, iops-burst=N requests, bps=SIZE, bps-burst=SIZE bytes a second\n"
	"  --net KIND[,PROPERTY]...\n"
	"                      a network card; up to 4. One on a user network if not given; none: no network\n"
	"      user            no privilege needed: 10.0.2.15 by DHCP, name server, IPv6, the router is 10.0.2.2;\n"
	"                      host: the host's loopback is 10.0.2.2 too; allow=TARGET,...: only there, restrict: nowhere,\n"
	"                      with targets as 192.0.2.0/24, 192.0.2.1:80-90/tcp, [2001:db8::/32]:443, dns\n"
	"      switch=NAME     with all VMs of this user that name the same switch; no privilege needed\n"
	"      tap=NAME, bridge=NAME\n"
	"                      a tap device of the host, or a port of its bridge; queues=N, up to 4\n"
	"      every kind      mac=ADDRESS, mtu=N; limits: bps=SIZE, bps-burst=SIZE bytes, pps=N, pps-burst=N frames a second\n"
	"  -p [ADDRESS:]HOST:GUEST[/udp]\n"
	"                      a port of the host's, at 127.0.0.1 if no address is given, leads to one of the guest's,\n"
	"                      on its user network\n"
	"  --watchdog ACTION   a watchdog timer (6300ESB); when the guest lets it run out: reset, off or crash (status 70)\n"
	"  --vsock PATH[,cid=N]\n"
	"                      sockets between guest and host: a program connects to PATH and writes \"CONNECT PORT\\n\";\n"
	"                      what the guest connects to at (2, PORT) is the Unix socket PATH_PORT; the guest's cid is 3\n"
	"  --console-port NAME=unix:PATH\n"
	"                      /dev/virtio-ports/NAME in the guest leads to the program that connects to the Unix socket PATH\n"
	"  --balloon on or PROPERTY[,PROPERTY]\n"
	"                      memory that the guest frees goes back to the host; target=SIZE: ask for so much more,\n"
	"                      stats=SECONDS: how often the guest's statistics for --stats are renewed\n"
	"  --rng LIMIT         random numbers for the guest: unlimited, or bps=SIZE[,bps-burst=SIZE] bytes a second;\n"
	"                      bps=1M,bps-burst=64K if not given\n"
	"  --name NAME         the VM's name, of which its cards' addresses are made, and by which `holon show` finds it\n"
	"  --disk nbd://HOST/EXPORT[,PROPERTY]..., --disk nbd+unix:///EXPORT?socket=PATH[,PROPERTY]...\n"
	"                      a disk on an NBD server\n"
	"  --disk vhost-user=SOCKET\n"
	"                      a disk that another process serves, such as qemu-storage-daemon\n"
	"  --share DIR:TAG[,readonly]\n"
	"                      a folder of the host's, by virtiofsd; in the guest: mount -t virtiofs TAG /mnt\n"
	"  --cdrom PATH        an ISO image in a CD-ROM drive (SATA); several are allowed\n"
	"  --console KIND      stdio (the default), none, or file=PATH\n"
	"\n"
	"How it runs\n"
	"  --engine NAME       auto (the default), interp, jit or kvm\n"
	"  --no-reboot         a reset ends the VM (72), a triple fault too (70)\n"
	"  --debug-exit PORT   an OUT of V to this port ends the VM with status (V << 1) | 1\n"
	"  --control PATH      the control socket, for `holon show PATH` and other programs (HTTP, doc/control.md);\n"
	"                      if not given, in the folder where `holon list` looks; none: no socket\n"
	"  --stats FILE        write counters there as JSON when the VM has ended\n"
	"  --deterministic     the guest's time counts instructions, for tests\n"
	"  --engine-switch-every MS, --rebuild-every MS\n"
	"                      tests: move the running VM to this host's next engine, or save, destroy and\n"
	"                      rebuild all of it but its RAM, again and again\n"
	"  --grow-every MS     tests: make the running VM's disks 1 MiB longer, again and again\n"
	"  --check-dirty-every MS\n"
	"                      tests: compare RAM with a copy that is kept by what dirty logging says\n"
	"  --jit-cache SIZE    memory for translated code, from 1M to 2G\n"
	"  --jit-window WHO    which guest programs have their memory mapped for translated code: auto (busy ones), always, never\n"
	"  --jit-dump FILE     write the guest's code and what is made of it there, block by block\n"
	"\n"
	"SIGTERM, SIGINT and SIGHUP press the guest's power button; a second one, or ten seconds, stops the VM.\n"
	"SIGUSR2 has it look whether raw disks have become longer on the host; the guest sees the new size at once.\n"
	"\n"
	"Exit status: 0 powered off or asked to stop, 64 usage, 66 not found, 70 the guest crashed, 72 the guest reset\n"
	"under --no-reboot, 74 failure of the host or of Holon; odd: from --debug-exit.\n"
	"HOLON_LOG=error, warn, info or debug sets what is said on stderr.\n";

static const char help_list[] =
	"holon list [--json]\n"
	"\n"
	"Lists the VMs of this user that run, a line each. They are found in $XDG_RUNTIME_DIR/holon/vm, or\n"
	"/tmp/holon-UID/vm where there is no such variable.\n";

#define HELP_VM "VM is a name (--name), a pid, or with a slash in it the path of a control socket (--control).\n"

static const char help_show[] =
	"holon show VM [--json]\n"
	"\n"
	"Prints what a running VM has: its disks and their sizes, its networks, what its balloon holds.\n" HELP_VM;

static const char help_set[] =
	"holon set VM THING.PROPERTY=VALUE...\n"
	"\n"
	"Changes a running VM; the guest sees it at once. " HELP_VM "\n"
	"  disk0.size=SIZE       the first disk becomes that long: 20G, or +10G for so much more. Raw files and qcow2 images\n"
	"                        grow; block devices and NBD exports must have become so long already\n"
	"  balloon.target=SIZE   how much memory the guest is asked to give back to the host (--balloon): 256M, or 0\n"
	"  net0.link=down        pulls the cable of the first network card: nothing gets through any more; up: puts it back\n";

static const char help_doctor[] =
	"holon doctor [--json]\n"
	"\n"
	"Prints a line each about what this host offers to Holon: KVM (a 64-bit guest is run to see), the processor,\n"
	"TUN, io_uring, memory, huge pages, cgroups, user namespaces, seccomp, Landlock. Each is good, poor (something\n"
	"is slower or weaker for it) or none, with the next step. Then the engines, and which one --engine auto takes.\n"
	"With --json for other programs. Takes up to 2 s, where a guest hangs in KVM.\n"
	"\n"
	"Exit status: 0 an engine works here, 64 usage, 74 none does.\n";

static const char help_version[] = "holon version [--json]\n"
				   "\n"
				   "Prints the program's version and its engines, best first; with --json for other programs.\n";

static const char help_help[] = "holon help [VERB]\n"
				"\n"
				"Lists the verbs, or what one of them takes.\n";

static int usage(const char *thing, const char *reason)
{
	host_log(HOST_LOG_ERROR, "%s: %s; `holon help` lists the verbs", thing, reason);
	return EXIT_USAGE;
}

static int version(int count, char **arguments)
{
	bool json = count == 1 && !strcmp(arguments[0], "--json");
	unsigned i;

	if (count > 1 || (count == 1 && !json))
		return usage(arguments[count - 1], "version takes --json or nothing");
	printf(json ? "{\"name\": \"holon\", \"version\": \"%s\", \"engines\": [" : "holon %s, engines: ", HOLON_VERSION);
	for (i = 0; engines[i]; i++)
		printf(json ? "%s\"%s\"" : "%s%s", i ? ", " : "", engines[i]->name);
	puts(json ? "]}" : "");
	return exit_with(STATUS_OK, NULL);
}

static int help(int count, char **arguments);

static const struct verb {
	const char *name;
	int (*run)(int count, char **arguments);
	const char *help;
} verbs[] = {
	{"run", run, help_run},    {"list", vms_list, help_list},   {"show", vms_show, help_show},      {"set", vms_set, help_set},
	{"disk", disk, help_disk}, {"doctor", doctor, help_doctor}, {"version", version, help_version}, {"help", help, help_help},
};

static const struct verb *verb_find(const char *name)
{
	unsigned i;

	for (i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (!strcmp(verbs[i].name, name))
			return &verbs[i];
	return NULL;
}

static int help(int count, char **arguments)
{
	const struct verb *verb = count ? verb_find(arguments[0]) : NULL;

	if (count > 1)
		return usage(arguments[1], "help takes one verb");
	if (count && !verb)
		return usage(arguments[0], "no such verb");
	fputs(verb ? verb->help : help_all, stdout);
	return exit_with(STATUS_OK, NULL);
}

static bool asks_for_help(int count, char **words)
{
	return count == 1 && (!strcmp(words[0], "--help") || !strcmp(words[0], "-h"));
}

/*
 * SIGUSR2 has a VM look at its disks (program/run.c), and one that is just being started must not die of it: the signal waits until there are disks. The shared libraries
 * begin before main does, and that takes longest, so this is done before them.
 */
__attribute__((no_sanitize("address", "thread", "undefined"))) static void resize_signal_keep(int count, char **words,
											      char **environment)
{
	(void)environment;
	if (count > 1 && !strcmp(words[1], "run"))
		host_signal_keep(SIGUSR2);
}
__attribute__((section(".preinit_array"), used)) static void (*const first)(int, char **, char **) = resize_signal_keep;

int main(int argc, char **argv)
{
	const struct verb *verb;

	host_stdio_reserve();
	host_log_start();
	signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is then an error as any other */
	if (argc < 2) {
		fputs(help_all, stderr);
		return EXIT_USAGE;
	}
	if (asks_for_help(argc - 1, argv + 1))
		return help(0, NULL);
	if (argc == 2 && !strcmp(argv[1], "--version"))
		return version(0, NULL);
	verb = verb_find(argv[1]);
	if (!verb)
		return usage(argv[1], "no such verb");
	if (asks_for_help(argc - 2, argv + 2))
		return help(1, argv + 1);
	return verb->run(argc - 2, argv + 2);
}
