/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config_disk.h - the disks among the words of `holon run`.
 */
#ifndef HOLON_CONTROL_CONFIG_DISK_H
#define HOLON_CONTROL_CONFIG_DISK_H

#include <holon/config.h>
#include <holon/status.h>

/* `PATH[,PROPERTY]...`, the value of --disk. */
enum status config_disk_parse(struct vm_config *config, const char *value, struct reason *why) must_check;
/* `PATH`, the value of --cdrom: all of it, commas too. */
enum status config_cdrom_parse(struct vm_config *config, const char *value, struct reason *why) must_check;
/* `DIR:TAG[,readonly]`, the value of --share. */
enum status config_share_parse(struct vm_config *config, const char *value, struct reason *why) must_check;
/* Shares too. */
void config_disks_free(struct vm_config *config);

#endif
