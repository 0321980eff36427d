/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linux.h - what host/linux offers to hosted folders (backend/, control/, program/) beyond include/holon/host.h.
 */
#ifndef HOLON_HOST_LINUX_H
#define HOLON_HOST_LINUX_H

#include <stdbool.h>
#include <stdint.h>

#include <holon/host.h>
#include <holon/status.h>

/* First thing in main, before any other thread: log level from HOLON_LOG (error, warn, info, debug). */
void host_log_start(void);
/* Before that opens anything: what this process has not got of stdin, stdout and stderr stays unusable, and no disk of a VM takes its number. */
void host_stdio_reserve(void);
/* Blocks the signal, until somebody waits for it. Also before the C library and the sanitizers are up. */
void host_signal_keep(int signal_number);
/* Also before any other thread: these signals are blocked everywhere and taken by the thread that calls host_signal_wait. SIGPIPE is ignored. */
void host_signals_block(void);
/* The next of SIGINT, SIGTERM, SIGHUP, SIGCONT, SIGUSR1, SIGUSR2; 0 when host_time_ns() reached the deadline. */
int host_signal_wait(uint64_t deadline_ns);
/* Has one of those that ask for the end (SIGINT, SIGTERM, SIGHUP) come, which nobody has taken yet? */
bool host_signal_asks(void);

/* One function that a crash (host_bug, SIGSEGV...) calls last, in signal context: puts the terminal back. NULL: none. */
void host_crash_hook_set(void (*hook)(void));
/* For handlers of SIGSEGV and its like that found the fault not to be theirs: hook, then the default action. */
_Noreturn void host_crash(int signal);

/* Guest RAM: zero, committed when touched, not in core dumps. shared: a memfd, for other processes to map; else *fd is -1. */
enum status host_ram_create(uint8_t **ram, int *fd, uint64_t size, bool shared, struct reason *why) must_check;
void host_ram_destroy(uint8_t *ram, int fd, uint64_t size);
/* Bytes of physical memory and swap that this process may hope for (cgroup limits count). */
uint64_t host_memory_total(void);

/* A file as bytes, read-only. STATUS_NOT_FOUND, _INVALID (directory, empty), _PERMISSION, _IO; `what` names its role for `why`. */
enum status host_file_map(const uint8_t **bytes, uint64_t *length, const char *path, const char *what,
			  struct reason *why) must_check;
void host_file_unmap(const uint8_t *bytes, uint64_t length);
/* What host_file_map gave is not needed for now: its pages need not stay in memory. */
void host_file_settled(const uint8_t *bytes, uint64_t length);
/*
 * Locks a whole file for as long as the descriptor is open (OFD lock): shared for readers, alone for a writer (open for writing). STATUS_BUSY: another
 * process or VM holds it.
 */
enum status host_file_lock(int fd, bool alone, const char *path, struct reason *why) must_check;

/* errno's value as a status, for messages and decisions. */
enum status host_status_of_errno(int error);

#endif
