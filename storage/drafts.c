/*
 * drafts.c - makes and rewrites a campaign before its launch. Only before: what has been launched is what its
 * recipients were promised, and the claims read its lists.
 */
#include <errno.h>
#include <string.h>

#include "storage/writer.h"

#define NAME_MAX_BYTES 1000
#define SPEC_MAX_BYTES ((size_t)16 << 20)

static int check(const struct storage_campaign *campaign, struct error *err)
{
    if (campaign->name == NULL || strnlen(campaign->name, NAME_MAX_BYTES + 1) > NAME_MAX_BYTES)
        return error_set(err, -EINVAL, "a campaign's name has at most %d bytes", NAME_MAX_BYTES);
    if (campaign->spec == NULL || strnlen(campaign->spec, SPEC_MAX_BYTES + 1) > SPEC_MAX_BYTES)
        return error_set(err, -EINVAL, "a campaign has at most %zu bytes", SPEC_MAX_BYTES);
    if (campaign->list_count < 0 || campaign->list_count > CAMPAIGN_LISTS_MAX || campaign->excluded_count < 0 ||
        campaign->excluded_count > CAMPAIGN_LISTS_MAX)
        return error_set(err, -EINVAL, "a campaign has at most %d lists", CAMPAIGN_LISTS_MAX);
    return 0;
}

static int put_lists(struct db *db, int64_t id, const int64_t *lists, int count, bool excluded, struct error *err)
{
    for (int i = 0; i < count; i++) {
        int64_t found;
        int missing = db_get(db, err, &found, "SELECT id FROM list WHERE id = ?", DB_I(lists[i]));
        if (missing > 0)
            (void)error_set(err, -ENOENT, "there is no list %lld", (long long)lists[i]);
        if (missing)
            return missing;
        int failed = db_run(db, err, "INSERT INTO campaign_list VALUES (?, ?, ?) ON CONFLICT DO NOTHING", DB_I(id),
                            DB_I(excluded), DB_I(lists[i]));
        if (failed)
            return failed;
    }
    return 0;
}

/* All that stands beside the campaign's row; there is none of it yet. */
static int put_parts(struct db *db, int64_t id, const struct storage_campaign *campaign, struct error *err)
{
    int failed = db_run(db, err, "INSERT INTO campaign_spec VALUES (?, ?)", DB_I(id), DB_T(campaign->spec));
    if (!failed && campaign->split_variants != 0)
        failed = db_run(db, err, "INSERT INTO campaign_split (campaign_id, share, variants) VALUES (?, ?, ?)", DB_I(id),
                        DB_I(campaign->split_share), DB_I(campaign->split_variants));
    if (!failed && campaign->segment != NULL)
        failed = db_run(db, err, "INSERT INTO campaign_segment VALUES (?, ?)", DB_I(id),
                        DB_B(campaign->segment, campaign->segment_bytes));
    if (!failed)
        failed = put_lists(db, id, campaign->lists, campaign->list_count, false, err);
    return failed ? failed : put_lists(db, id, campaign->excluded, campaign->excluded_count, true, err);
}

struct create {
    const struct storage_campaign *campaign;
    int64_t now_ms, *id;
};

static int create_run(struct storage *storage, void *arg, struct error *err)
{
    const struct create *create = arg;
    const struct storage_campaign *campaign = create->campaign;
    struct db *db = &storage->db;
    int failed = db_run(db, err,
                        "INSERT INTO campaign (name, status, created, scheduled, expires_after)"
                        " VALUES (?, ?, ?, ?, ?)",
                        DB_T(campaign->name), DB_I(CAMPAIGN_DRAFT), DB_I(create->now_ms), DB_I(campaign->scheduled_ms),
                        DB_I(campaign->expires_after_ms));
    if (failed)
        return failed;
    int64_t id = db_last_id(db);
    failed = put_parts(db, id, campaign, err);
    *create->id = failed ? 0 : id;
    return failed;
}

int storage_campaign_create(struct storage *storage, const struct storage_campaign *campaign, int64_t now_ms,
                            int64_t *id, struct error *err)
{
    *id = 0;
    int wrong = check(campaign, err);
    struct create create = {.campaign = campaign, .now_ms = now_ms, .id = id};
    return wrong ? wrong : storage_call(storage, create_run, &create, err);
}

static int edit_run(struct storage *storage, void *arg, struct error *err)
{
    static const char *const parts[] = {
        "DELETE FROM campaign_spec WHERE campaign_id = ?", "DELETE FROM campaign_split WHERE campaign_id = ?",
        "DELETE FROM campaign_segment WHERE campaign_id = ?", "DELETE FROM campaign_list WHERE campaign_id = ?"};
    const struct storage_campaign *campaign = arg;
    struct db *db = &storage->db;
    int64_t status;
    int failed = db_get(db, err, &status, "SELECT status FROM campaign WHERE id = ?", DB_I(campaign->id));
    if (failed)
        return failed;
    if (status != CAMPAIGN_DRAFT)
        return STORAGE_WRONG_STATE;
    failed = db_run(db, err, "UPDATE campaign SET name = ?2, scheduled = ?3, expires_after = ?4 WHERE id = ?1",
                    DB_I(campaign->id), DB_T(campaign->name), DB_I(campaign->scheduled_ms),
                    DB_I(campaign->expires_after_ms));
    for (size_t i = 0; !failed && i < countof(parts); i++)
        failed = db_run(db, err, parts[i], DB_I(campaign->id));
    return failed ? failed : put_parts(db, campaign->id, campaign, err);
}

int storage_campaign_edit(struct storage *storage, const struct storage_campaign *campaign, struct error *err)
{
    int wrong = check(campaign, err);
    struct storage_campaign copy = *campaign;
    return wrong ? wrong : storage_call(storage, edit_run, &copy, err);
}
