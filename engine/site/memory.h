/*
 * memory.h - what was learnt about servers and is worth more than one connection's life: by a name (a site's key, or an
 * address), facts that hold until a time.
 *
 * Bounded: beyond MEMORY_ENTRIES_MAX names the one that was noted the longest ago is forgotten. Losing a fact only
 * costs learning it again, so nothing here reports a failure. One thread. What holds for longer than minutes is kept
 * over a restart, in DIR/site-memory.N (memory_file.c).
 */
#ifndef POSTHASTE_ENGINE_SITE_MEMORY_H
#define POSTHASTE_ENGINE_SITE_MEMORY_H

#include "base/hashmap.h"
#include "base/list.h"

#define MEMORY_ENTRIES_MAX 20000
#define MEMORY_DAY_MS ((int64_t)24 * 60 * 60 * 1000)

enum memory_fact {
    MEMORY_SLOW,        /* answers badly to pipelining: one message at a time */
    MEMORY_NO_CHUNKING, /* offers CHUNKING, but does not know BDAT */
    MEMORY_NO_TLS,      /* offers STARTTLS, but no handshake with it succeeds */
    MEMORY_DOWN,        /* cannot be connected to */
    MEMORY_UNPROVED,    /* "HOST ADDRESS": its TLS does not prove what an MTA-STS policy wants proved */
    MEMORY_FACTS
};

struct memory {
    struct hashmap map;
    struct list order; /* noted the longest ago first */
    size_t count;
    bool changed; /* since the last memory_save() */
};

void memory_init(struct memory *memory);
void memory_finish(struct memory *memory);
void memory_note(struct memory *memory, const char *name, enum memory_fact fact, int64_t until_ms);
void memory_forget(struct memory *memory, const char *name, enum memory_fact fact);
bool memory_knows(const struct memory *memory, const char *name, enum memory_fact fact, int64_t now_ms);
/* It held until its time came, which was less than `ago_ms` ago. */
bool memory_knew(const struct memory *memory, const char *name, enum memory_fact fact, int64_t now_ms, int64_t ago_ms);

bool memory_is_lasting(enum memory_fact fact); /* worth keeping over a restart */
/* Adds what the files of all loops in `dir` tell; a file that is missing or damaged tells less. */
void memory_load(struct memory *memory, const char *dir, int64_t now_ms, int64_t wall_ms);
/* Writes the file of loop `index`, if anything has changed. */
void memory_save(struct memory *memory, const char *dir, unsigned index, int64_t now_ms, int64_t wall_ms);
/* For it: an entry of memory->order. */
const char *memory_name(const struct list *node);
int64_t memory_until_ms(const struct list *node, enum memory_fact fact);

#endif
