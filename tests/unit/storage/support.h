/*
 * support.h - what the storage tests share: a database in a directory of its own, lists and campaigns made in one line,
 * claims and outcomes that are waited for. Every helper fails the test when the storage does.
 */
#ifndef POSTHASTE_TESTS_STORAGE_SUPPORT_H
#define POSTHASTE_TESTS_STORAGE_SUPPORT_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "storage/storage.h"

/* Fails with the sentence in `err`. */
#define must(expression)                                                                                               \
    do {                                                                                                               \
        int must_result = (expression);                                                                                \
        if (must_result != 0)                                                                                          \
            fail_msg("%s: %d %s", #expression, must_result, err.text);                                                 \
    } while (0)

struct fixture {
    char dir[64];
    struct storage *storage;
    struct storage_reader *reader;
};

void fixture_open(struct fixture *fixture, bool server); /* in a new directory */
void fixture_close(struct fixture *fixture);             /* closes; the files stay */
void fixture_reopen(struct fixture *fixture, bool server);
void fixture_remove(struct fixture *fixture); /* closes and deletes the directory */
void remove_dir(const char *dir);
void make_dir(char out[64]); /* a new temporary directory */

int64_t make_list(struct fixture *fixture, const char *name);
struct upsert_counts import_one(struct fixture *fixture, int64_t list, const char *email, const char *json);
/* PREFIX<from..to-1>@DOMAIN, attributes {"n":i}. */
struct upsert_counts import_range(struct fixture *fixture, int64_t list, const char *prefix, const char *domain,
                                  int from, int to);
int64_t recipient_id(struct fixture *fixture, const char *email);

int64_t make_campaign(struct fixture *fixture, const int64_t *lists, int list_count, const int64_t *excluded,
                      int excluded_count);
int64_t make_segmented(struct fixture *fixture, const int64_t *lists, int list_count, const int64_t *excluded,
                       int excluded_count, const struct buffer *segment); /* NULL = everybody */
void launch(struct fixture *fixture, int64_t campaign);
void wait_exact(struct fixture *fixture, int64_t campaign); /* until its audience is counted */
struct storage_campaign stats(struct fixture *fixture, int64_t campaign); /* without its texts */
/* audience = sum of the states. */
void assert_adds_up(const struct storage_campaign *campaign);
void assert_states(struct fixture *fixture, int64_t campaign,
                   const char *expected); /* "audience=3 pending=1 ..."; what is not named is 0 */

/* Posts the claim and waits; the caller ends claim->arena. */
void claim_wait(struct storage *storage, struct storage_claim *claim);
int lanes_of(struct fixture *fixture, int64_t campaign, int64_t *lanes, int max);

/* A counter that callbacks raise and a test waits for. */
struct gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int count;
};
void gate_init(struct gate *gate);
void gate_pass(struct gate *gate);
void gate_wait(struct gate *gate, int count);
bool gate_wait_ms(struct gate *gate, int count, int timeout_ms); /* false: not within the time */

/* An outcome record whose `done` frees it and passes context (a struct gate, may be NULL). */
struct storage_outcome *make_outcome(const struct storage_job *job, enum delivery_state state, struct gate *gate);
void post_one(struct fixture *fixture, struct storage_outcome *record);
/* Claims all of the campaign and gives every job `state`, until nothing is left; returns how many. */
int deliver_all(struct fixture *fixture, int64_t campaign, enum delivery_state state);

/* One number out of the database file, past the API. */
/* Every delivery is found through its block, and no block is empty. */
void assert_blocks(const struct fixture *fixture);
int64_t sql_int(const struct fixture *fixture, const char *sql);
void sql_exec(const struct fixture *fixture, const char *sql);

#endif
