/*
 * audit.h - who changed what and when: one JSON object a line in DIR/audit.jsonl, appended by the server and by
 * commands that work on the database.
 *
 *   {"time":"2026-11-23T19:30:00.000Z","who":{"token":3,"name":"ci"},"address":"192.0.2.7",
 *    "action":"POST /v1/campaigns","status":201,"made":"/v1/campaigns/7"}
 *   {"time":"…","who":{"cli":"root"},"action":"token create","arguments":["--name","ci"],"status":0}
 *
 * `who` of the local token is {"local":true}. Only what was carried out is noted. No content, no secret. A file that
 * has grown over AUDIT_FILE_MAX_BYTES becomes audit.jsonl.1, the older ones move on up to AUDIT_FILES_KEPT.
 */
#ifndef POSTHASTE_API_AUDIT_H
#define POSTHASTE_API_AUDIT_H

#include <jansson.h>

#include "base/error.h"

#define AUDIT_FILE_MAX_BYTES ((int64_t)16 << 20)
#define AUDIT_FILES_KEPT 8

/* Appends the entry with its time in front; takes over the reference (NULL = no memory). Any thread, any process. */
int audit_write(const char *data_dir, json_t *entry, struct error *err) ATTR_MUSTCHECK;

#endif
