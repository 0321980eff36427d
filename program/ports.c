/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ports.c - see ports.h.
 */
#include "program/ports.h"

#include "backend/console/port_unix.h"

enum status ports_open(struct chardev **port, const struct vm_config *config, struct reason *why)
{
	enum status status = STATUS_OK;

	for (unsigned i = 0; !status && i < config->ports; i++)
		status = port_unix_open(&port[i], config->port[i].path, why);
	return status;
}

enum status ports_start(struct chardev **port, const struct vm_config *config, struct reason *why)
{
	enum status status = STATUS_OK;

	for (unsigned i = 0; !status && i < config->ports; i++)
		status = port_unix_start(port[i], why);
	return status;
}

void ports_stop(struct chardev **port, const struct vm_config *config)
{
	for (unsigned i = 0; i < config->ports && port[i]; i++)
		port_unix_stop(port[i]);
}

void ports_close(struct chardev **port, const struct vm_config *config)
{
	for (unsigned i = 0; i < config->ports && port[i]; i++)
		port_unix_close(port[i]);
}
