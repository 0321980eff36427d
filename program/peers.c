/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peers.c - connects a VM with the processes that serve devices of it. Called from run.c.
 */
#include "program/peers.h"

#include <stddef.h>

#include "backend/vhost/vhost_user.h"
#include "backend/vhost/virtiofsd.h"

static pid_t processes[VM_SHARES_MAX]; /* virtiofsd's; one VM a process of ours */

static enum status share_connect(struct board_backends *backends, const struct vm_config *config, unsigned i, struct reason *why)
{
	const struct share_config *share = &config->share[i];
	enum status status;
	int socket;

	status = virtiofsd_start(&socket, &processes[i], share->path, share->readonly, why);
	if (status) {
		processes[i] = 0;
		return status;
	}
	return vhost_user_share_connect(&backends->share[i], socket, share->path, share->tag, why);
}

enum status peers_connect(struct board_backends *backends, const struct vm_config *config, struct reason *why)
{
	enum status status = STATUS_OK;
	unsigned i;

	for (i = 0; !status && i < config->disks; i++)
		if (config->disk[i].source == DISK_VHOST_USER)
			status = vhost_user_disk_connect(&backends->disk_peer[i], config->disk[i].path, config->cpus, why);
	for (i = 0; !status && i < config->shares; i++)
		status = share_connect(backends, config, i, why);
	return status;
}

/* The next peer that there is, disks first. */
static struct peer **peer_next(struct board_backends *backends, const struct vm_config *config, unsigned *at)
{
	while (*at < config->disks + config->shares) {
		unsigned i = (*at)++;
		struct peer **peer = i < config->disks ? &backends->disk_peer[i] : &backends->share[i - config->disks];

		if (*peer)
			return peer;
	}
	return NULL;
}

bool peers_any(struct board_backends *backends, const struct vm_config *config)
{
	unsigned at = 0;

	return peer_next(backends, config, &at);
}

enum status peers_start(struct board_backends *backends, const struct vm_config *config, uint8_t *ram, int fd, struct reason *why)
{
	enum status status = STATUS_OK;
	struct peer **peer;
	unsigned at = 0;

	while (!status && (peer = peer_next(backends, config, &at)) != NULL)
		status = vhost_user_start(*peer, ram, fd, config->memory, why);
	return status;
}

void peers_give_up(struct board_backends *backends, const struct vm_config *config)
{
	struct peer **peer;
	unsigned at = 0;

	while ((peer = peer_next(backends, config, &at)) != NULL)
		vhost_user_give_up(*peer);
}

void peers_close(struct board_backends *backends, const struct vm_config *config)
{
	struct peer **peer;
	unsigned at = 0;

	/* In this order: virtiofsd complains on stderr when it is left first. */
	for (unsigned i = 0; i < config->shares; i++)
		if (processes[i])
			virtiofsd_end(processes[i]);
	while ((peer = peer_next(backends, config, &at)) != NULL) {
		(*peer)->close(*peer);
		*peer = NULL;
	}
}
