/*
 * claims.c - who next: the next members of a lane, or the deferred rows that are due.
 *
 * A claim is a range behind which the cursor has moved; its members get their delivery rows when they have outcomes.
 * Those that may not be mailed get theirs here, `suppressed`, so that nobody in the range is without an account. One
 * claim looks at a bounded number of members: a lane full of people who left is passed in steps, and only its true end
 * is `lane_done`.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "base/str.h"
#include "storage/audience.h"
#include "storage/claims.h"
#include "storage/suppress.h"

#define CLAIM_MAX 1000
#define SCAN_MAX 5000                 /* members looked at by one claim */
#define SEGMENT_SCAN_MAX 1500         /* the same, where each has to be fetched for it */
#define CLAIM_BYTES ((size_t)8 << 20) /* a claim ends early when its jobs fill this */
#define CLAIM_ARENA_BYTES ((size_t)16 << 20)
#define ATTRIBUTES_MAX_BYTES 65536
#define CLAIM_ID_BYTES 10 /* of one packed id, at the most */

void claim_init(struct storage_claim *claim)
{
    claim->status = 0;
    claim->jobs = NULL;
    claim->job_count = 0;
    claim->lane_done = claim->picked = false;
    claim->next_due_ms = 0;
    claim->arena = ARENA_INIT(CLAIM_ARENA_BYTES);
}

void claim_clear(struct storage_claim *claim, int status)
{
    arena_finish(&claim->arena);
    claim_init(claim);
    claim->status = status;
}

/* What one claim did, on its way into the counters. */
struct tally {
    int64_t suppressed, failed;
};

/* A delivery that ends before it began. */
static int end_untried(struct storage *storage, const struct storage_claim *claim, int64_t recipient_id,
                       enum delivery_state state, const char *why, struct tally *tally, struct error *err)
{
    struct db *db = &storage->db;
    int failed =
        db_run(db, err,
               "INSERT INTO delivery (campaign_id, recipient_id, state, uncertain, attempts, next_attempt, updated,"
               " code, stage, tls, duration, enhanced, reply, mx_host, source)"
               " VALUES (?, ?, ?, 0, 0, 0, ?, 0, NULL, 0, 0, '', ?, '', '') ON CONFLICT DO NOTHING",
               DB_I(claim->campaign_id), DB_I(recipient_id), DB_I(state), DB_I(claim->now_ms), DB_T(why));
    if (failed || db_changes(db) == 0)
        return failed;
    failed = delivery_blocks_note(&storage->blocks, db, claim->campaign_id, db_last_id(db), err);
    if (failed)
        return failed;
    tally->suppressed += state == DELIVERY_SUPPRESSED;
    tally->failed += state == DELIVERY_FAILED;
    return event_write_plain(storage, state == DELIVERY_SUPPRESSED ? EVENT_DROPPED : EVENT_FAILED, claim->campaign_id,
                             recipient_id, claim->now_ms, why, err);
}

/* The database is a file that others can write: what does not look like an address or an object is not handed on. */
static bool plausible(const char *email, const char *attributes)
{
    size_t len = strnlen(email, ADDRESS_MAX_BYTES + 1);
    if (len > ADDRESS_MAX_BYTES || attributes[0] != '{' ||
        strnlen(attributes, ATTRIBUTES_MAX_BYTES + 1) > ATTRIBUTES_MAX_BYTES)
        return false;
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)email[i] <= ' ' || email[i] == 0x7f)
            return false;
    }
    const char *at = strrchr(email, '@');
    return at != NULL && at != email && at[1] != '\0';
}

static int add_job(struct storage_claim *claim, int64_t recipient_id, const char *email, const char *attributes,
                   struct error *err)
{
    struct storage_job *job = &claim->jobs[claim->job_count];
    *job = (struct storage_job){0};
    job->campaign_id = claim->campaign_id;
    job->recipient_id = recipient_id;
    job->email = arena_dup(&claim->arena, email);
    job->attributes = arena_dup(&claim->arena, attributes);
    if (job->email == NULL || job->attributes == NULL)
        return error_memory(err);
    job->domain = strrchr(job->email, '@') + 1;
    claim->job_count++;
    return 0;
}

/* `row`: a person. 1 = suppressed, and the reason; 0, negative. */
static int find_suppression(struct storage *storage, const struct suppress_kinds *kinds,
                            const struct storage_claim *claim, sqlite3_stmt *row, char reason[65], struct error *err)
{
    if (sqlite3_column_type(row, PERSON_SUPPRESSED) == SQLITE_NULL)
        return suppress_find_rare(storage, kinds, claim->campaign_id, db_text(row, PERSON_EMAIL), claim->now_ms, reason,
                                  err);
    (void)str_copy(reason, 65, db_text(row, PERSON_SUPPRESSED));
    return 1;
}

/* The last job is a message's: what it says and until when it may be sent. */
static void job_of_message(struct storage_claim *claim, sqlite3_stmt *row, int column)
{
    struct storage_job *job = &claim->jobs[claim->job_count - 1];
    job->content_id = db_int(row, column);
    job->expires_ms = db_int(row, column + 1);
}

static int add_member(struct storage *storage, const struct suppress_kinds *all_kinds, struct storage_claim *claim,
                      const struct audience_member *member, struct tally *tally, struct error *err)
{
    sqlite3_stmt *row = member->person;
    if (sqlite3_column_type(row, PERSON_EMAIL) == SQLITE_NULL)
        return end_untried(storage, claim, member->recipient_id, DELIVERY_FAILED,
                           "the recipient is gone from the database", tally, err);
    struct suppress_kinds kinds = *all_kinds;
    bool message = storage_is_message(member->recipient_id);
    kinds.spare_unsubscribed = message && db_int(row, PERSON_TRANSACTIONAL) != 0;
    char reason[65];
    int suppressed = find_suppression(storage, &kinds, claim, row, reason, err);
    if (suppressed < 0)
        return suppressed;
    if (suppressed > 0) {
        char why[160];
        (void)snprintf(why, sizeof(why), "suppressed: %.64s", reason);
        return end_untried(storage, claim, member->recipient_id, DELIVERY_SUPPRESSED, why, tally, err);
    }
    const char *email = db_text(row, PERSON_EMAIL), *attributes = db_text(row, PERSON_ATTRIBUTES);
    if (!plausible(email, attributes))
        return end_untried(storage, claim, member->recipient_id, DELIVERY_FAILED,
                           "the stored address or attributes are damaged", tally, err);
    int failed = add_job(claim, member->recipient_id, email, attributes, err);
    if (!failed && message)
        job_of_message(claim, row, PERSON_CONTENT_ID);
    return failed;
}

/* Fills the jobs from the lane; *cursor moves to the last member looked at. */
static int scan_lane(struct storage *storage, struct storage_claim *claim, int64_t epoch, int64_t *cursor,
                     struct tally *tally, struct error *err)
{
    struct audience audience;
    struct suppress_kinds kinds;
    int failed = suppress_kinds(&storage->db, &kinds, err);
    if (!failed)
        failed = audience_open(&audience, &storage->db,
                               &(struct audience_span){.campaign_id = claim->campaign_id,
                                                       .epoch = epoch,
                                                       .lane = claim->lane,
                                                       .after = *cursor,
                                                       .depth = AUDIENCE_PEOPLE,
                                                       .now_ms = claim->now_ms},
                               err);
    if (failed)
        return failed;
    int more = 1, scan_max = audience.segment != NULL ? SEGMENT_SCAN_MAX : SCAN_MAX;
    claim->picked = audience.segment != NULL || audience.split_share > 0;
    for (int scanned = 0;
         more > 0 && scanned < scan_max && claim->job_count < claim->max && claim->arena.used_bytes < CLAIM_BYTES;
         scanned++) {
        struct audience_member member;
        more = audience_next(&audience, &member, err);
        if (more <= 0)
            break;
        *cursor = member.recipient_id;
        if (member.verdict == AUDIENCE_MAIL)
            failed = add_member(storage, &kinds, claim, &member, tally, err);
        else if (member.verdict == AUDIENCE_LEFT)
            failed = end_untried(storage, claim, member.recipient_id, DELIVERY_SUPPRESSED,
                                 "not a member of the list any more", tally, err);
        if (failed)
            more = failed;
    }
    int ended = more < 0 ? more : audience_ended(&audience, err);
    claim->lane_done = ended > 0;
    audience_close(&audience);
    return MIN_OF(ended, 0);
}

/* The ids as the differences to the one before, seven bits a byte, low ones first. */
static size_t pack_members(const struct storage_claim *claim, uint8_t out[CLAIM_MAX * CLAIM_ID_BYTES])
{
    size_t len = 0;
    int64_t before = claim->jobs[0].recipient_id;
    for (int i = 1; i < claim->job_count; i++) {
        uint64_t step = (uint64_t)(claim->jobs[i].recipient_id - before);
        before = claim->jobs[i].recipient_id;
        for (; step > 0x7f; step >>= 7)
            out[len++] = (uint8_t)(step | 0x80);
        out[len++] = (uint8_t)step;
    }
    return len;
}

static int insert_claim(struct db *db, const struct storage_claim *claim, const struct open_claim *open,
                        struct error *err)
{
    uint8_t members[CLAIM_MAX * CLAIM_ID_BYTES];
    struct db_value packed = claim->picked ? DB_B(members, pack_members(claim, members)) : DB_T(NULL);
    return db_run(db, err, "INSERT INTO claim VALUES (?, ?, ?, ?, ?, ?)", DB_I(open->id), DB_I(open->campaign_id),
                  DB_I(claim->lane), DB_I(open->lo), DB_I(open->hi), packed);
}

/* The range becomes durable together with the cursor; from here until its outcomes its members are in flight. */
static int record_range(struct storage *storage, struct storage_claim *claim, struct error *err)
{
    int64_t highest;
    int failed = db_get(&storage->db, err, &highest, "SELECT max(id) FROM claim");
    if (failed < 0)
        return failed;
    struct open_claim *open = calloc(1, sizeof(*open));
    if (open == NULL)
        return error_memory(err);
    list_init(&open->node);
    open->id = MAX_OF(storage->next_claim_id, highest + 1);
    open->campaign_id = claim->campaign_id;
    open->lo = claim->jobs[0].recipient_id;
    open->hi = claim->jobs[claim->job_count - 1].recipient_id;
    open->remaining = claim->job_count;
    if (ledger_claim_add(&storage->ledger, open) != 0) {
        free(open);
        return error_memory(err);
    }
    storage->next_claim_id = open->id + 1;
    failed = insert_claim(&storage->db, claim, open, err);
    for (int i = 0; i < claim->job_count; i++)
        claim->jobs[i].claim_id = open->id;
    return failed;
}

static int claim_lane(struct storage *storage, struct storage_claim *claim, int64_t epoch, struct error *err)
{
    struct db *db = &storage->db;
    sqlite3_stmt *row = db_query(db, err, "SELECT cursor, done FROM campaign_lane WHERE campaign_id = ? AND lane = ?",
                                 DB_I(claim->campaign_id), DB_I(claim->lane));
    int more = row == NULL ? -EIO : db_step(db, row, err);
    if (more < 0)
        return more;
    int64_t cursor = more ? db_int(row, 0) : 0;
    bool done = more == 0 || db_int(row, 1) != 0;
    db_end(row);
    if (done) {
        claim->lane_done = true;
        return 0;
    }
    struct tally tally = {0};
    int failed = scan_lane(storage, claim, epoch, &cursor, &tally, err);
    if (!failed && claim->job_count > 0)
        failed = record_range(storage, claim, err);
    if (!failed)
        failed = db_run(db, err, /* a stream's lane has no end */
                        "UPDATE campaign_lane SET cursor = ?3, done = ?4 AND NOT EXISTS (SELECT 1 FROM message_stream"
                        " WHERE campaign_id = ?1) WHERE campaign_id = ?1 AND lane = ?2",
                        DB_I(claim->campaign_id), DB_I(claim->lane), DB_I(cursor), DB_I(claim->lane_done));
    if (!failed && (claim->job_count > 0 || tally.suppressed > 0 || tally.failed > 0))
        failed = db_run(db, err,
                        "UPDATE campaign SET sending = sending + ?2, suppressed = suppressed + ?3,"
                        " failed = failed + ?4 WHERE id = ?1",
                        DB_I(claim->campaign_id), DB_I(claim->job_count), DB_I(tally.suppressed), DB_I(tally.failed));
    return failed;
}

/* The reply that the row holds stays: it is why there was a retry. */
static int claim_due_row(struct storage *storage, const struct suppress_kinds *all_kinds, struct storage_claim *claim,
                         sqlite3_stmt *row, struct tally *tally, struct error *err)
{
    struct db *db = &storage->db;
    struct suppress_kinds kinds = *all_kinds;
    char reason[65];
    kinds.spare_unsubscribed = storage_is_message(db_int(row, 1)) && db_int(row, 7) != 0;
    int suppressed = suppress_find(storage, &kinds, claim->campaign_id, db_text(row, 4), claim->now_ms, reason, err);
    if (suppressed < 0)
        return suppressed;
    bool member = db_int(row, 6) != 0;
    enum delivery_state state = suppressed > 0 || !member                     ? DELIVERY_SUPPRESSED
                                : plausible(db_text(row, 4), db_text(row, 5)) ? DELIVERY_SENDING
                                                                              : DELIVERY_FAILED;
    int64_t id = db_int(row, 0);
    if (state != DELIVERY_SENDING) {
        tally->suppressed += state == DELIVERY_SUPPRESSED;
        tally->failed += state == DELIVERY_FAILED;
        int failed = db_run(db, err, "UPDATE delivery SET state = ?2, next_attempt = 0, updated = ?3 WHERE id = ?1",
                            DB_I(id), DB_I(state), DB_I(claim->now_ms));
        return failed
                   ? failed
                   : event_write_plain(storage, state == DELIVERY_SUPPRESSED ? EVENT_DROPPED : EVENT_FAILED,
                                       claim->campaign_id, db_int(row, 1), claim->now_ms,
                                       suppressed > 0                 ? "suppressed while it waited for another attempt"
                                       : state == DELIVERY_SUPPRESSED ? "not a member of the list any more"
                                                                      : "the stored address or attributes are damaged",
                                       err);
    }
    int failed = add_job(claim, db_int(row, 1), db_text(row, 4), db_text(row, 5), err);
    if (failed)
        return failed;
    struct storage_job *job = &claim->jobs[claim->job_count - 1];
    job->attempts = (int)MIN_OF(db_count(row, 2), INT32_MAX);
    job->uncertain = db_int(row, 3) != 0;
    if (storage_is_message(job->recipient_id))
        job_of_message(claim, row, 8);
    return db_run(db, err, "UPDATE delivery SET state = ?2, next_attempt = 0 WHERE id = ?1", DB_I(id), DB_I(state));
}

/* The ids first, then the rows one by one: the rows are changed while the index that finds them would be walked. */
static int due_ids(struct db *db, const struct storage_claim *claim, int64_t *ids, int *count, struct error *err)
{
    sqlite3_stmt *rows = db_query(db, err,
                                  "SELECT id FROM delivery WHERE campaign_id = ? AND state = 3 AND next_attempt <= ?"
                                  " ORDER BY next_attempt LIMIT ?",
                                  DB_I(claim->campaign_id), DB_I(claim->now_ms), DB_I(claim->max));
    if (rows == NULL)
        return -EIO;
    int more;
    while ((more = db_step(db, rows, err)) > 0)
        ids[(*count)++] = db_int(rows, 0);
    return more;
}

/* No row: the delivery is a campaign's. */
static sqlite3_stmt *query_message_retry(struct db *db, int64_t id, struct error *err)
{
    return db_query(db, err,
                    "SELECT d.id, d.recipient_id, d.attempts, d.uncertain, "
                    "r.email, " MESSAGE_ATTRIBUTES ", 1, m.transactional, m.content_id, m.expires"
                    " FROM delivery d JOIN message m ON m.id = d.recipient_id JOIN recipient r ON r.id = m.recipient_id"
                    " WHERE d.id = ?",
                    DB_I(id));
}

static int claim_one_retry(struct storage *storage, const struct suppress_kinds *kinds, struct storage_claim *claim,
                           int64_t id, struct tally *tally, struct error *err)
{
    struct db *db = &storage->db;
    sqlite3_stmt *row = query_message_retry(db, id, err);
    int more = row == NULL ? -EIO : db_step(db, row, err);
    if (more < 0)
        return more;
    if (more > 0) {
        int failed = claim_due_row(storage, kinds, claim, row, tally, err);
        db_end(row);
        return failed;
    }
    row = db_query(db, err,
                   "SELECT d.id, d.recipient_id, d.attempts, d.uncertain, r.email, r.attributes,"
                   " EXISTS (SELECT 1 FROM campaign_list l JOIN member m ON m.list_id = l.list_id AND m.lane = r.lane"
                   " AND m.recipient_id = r.id WHERE l.campaign_id = d.campaign_id AND l.excluded = 0 AND m.status = 0)"
                   " FROM delivery d LEFT JOIN recipient r ON r.id = d.recipient_id WHERE d.id = ?",
                   DB_I(id));
    more = row == NULL ? -EIO : db_step(db, row, err);
    if (more <= 0)
        return more;
    int failed = claim_due_row(storage, kinds, claim, row, tally, err);
    db_end(row);
    return failed;
}

static int claim_retries(struct storage *storage, struct storage_claim *claim, struct error *err)
{
    struct db *db = &storage->db;
    int64_t ids[CLAIM_MAX];
    int count = 0, taken = 0;
    struct suppress_kinds kinds;
    int failed = suppress_kinds(db, &kinds, err);
    if (!failed)
        failed = due_ids(db, claim, ids, &count, err);
    struct tally tally = {0};
    for (; !failed && taken < count && claim->arena.used_bytes < CLAIM_BYTES; taken++)
        failed = claim_one_retry(storage, &kinds, claim, ids[taken], &tally, err);
    if (!failed && taken > 0)
        failed = db_run(db, err,
                        "UPDATE campaign SET deferred = deferred - ?2, sending = sending + ?3,"
                        " suppressed = suppressed + ?4, failed = failed + ?5 WHERE id = ?1",
                        DB_I(claim->campaign_id), DB_I(taken), DB_I(claim->job_count), DB_I(tally.suppressed),
                        DB_I(tally.failed));
    if (failed)
        return failed;
    failed = db_get(db, err, &claim->next_due_ms,
                    "SELECT next_attempt FROM delivery WHERE campaign_id = ? AND state = 3"
                    " ORDER BY next_attempt LIMIT 1",
                    DB_I(claim->campaign_id));
    if (failed < 0)
        return failed;
    claim->lane_done = failed != 0 || claim->next_due_ms > claim->now_ms;
    return 0;
}

int claim_make(struct storage *storage, struct storage_claim *claim, struct error *err)
{
    if (claim->max < 1 || claim->max > CLAIM_MAX)
        return error_set(err, -EINVAL, "a claim of %d rows", claim->max);
    sqlite3_stmt *row =
        db_query(&storage->db, err, "SELECT status, epoch FROM campaign WHERE id = ?", DB_I(claim->campaign_id));
    int more = row == NULL ? -EIO : db_step(&storage->db, row, err);
    if (more < 0)
        return more;
    bool running = more > 0 && db_int(row, 0) == CAMPAIGN_RUNNING;
    int64_t epoch = more > 0 ? db_int(row, 1) : 0;
    db_end(row);
    if (!running)
        return STORAGE_WRONG_STATE;
    claim->jobs = arena_alloc(&claim->arena, (size_t)claim->max * sizeof(*claim->jobs));
    if (claim->jobs == NULL)
        return error_memory(err);
    return claim->lane == STORAGE_LANE_RETRIES ? claim_retries(storage, claim, err)
                                               : claim_lane(storage, claim, epoch, err);
}
