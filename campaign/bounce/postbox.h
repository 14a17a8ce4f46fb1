/*
 * postbox.h - a Maildir for the mails to us that a person has to read: postmaster's; private to campaign/bounce.
 */
#ifndef POSTHASTE_CAMPAIGN_BOUNCE_POSTBOX_H
#define POSTHASTE_CAMPAIGN_BOUNCE_POSTBOX_H

#include "base/error.h"

#define POSTBOX_MAILS_MAX 1000 /* unread ones */

/* Makes DIR with its three folders when missing. */
int postbox_make(const char *dir, struct error *err) ATTR_MUSTCHECK;
/* Puts a mail (LF line ends are made) into new/, durable when it returns: 0; -ENOSPC: full; -errno. */
int postbox_put(const char *dir, const char *head, const void *mail, size_t len, struct error *err) ATTR_MUSTCHECK;

#endif
