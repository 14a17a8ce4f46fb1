/*
 * sending_domain.h - the DKIM key of a sending domain; private to the room (sending_domain_add() stands in campaign.h).
 */
#ifndef POSTHASTE_CAMPAIGN_SENDING_DOMAIN_H
#define POSTHASTE_CAMPAIGN_SENDING_DOMAIN_H

#include "base/error.h"
#include "dkim/dkim.h"

/* `key_file` as stored, relative to data_dir. 0 or negative with a sentence that names the file. */
int sending_domain_load_key(const char *data_dir, const char *key_file, struct dkim_key **out, struct error *err) ATTR_MUSTCHECK;

/* 1 when the TXT value that DNS has is that of our key (same p=, in any spelling of the rest), 0 when not. */
int sending_domain_same_key(const char *published, const char *record);

#endif
