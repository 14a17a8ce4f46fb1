/*
 * edit.c - rewrites a draft. Only a draft: what has been launched is what its recipients were promised, and the claims
 * read its lists.
 */
#include <errno.h>
#include <string.h>

#include "storage/writer.h"

#define NAME_MAX_BYTES 1000
#define SPEC_MAX_BYTES ((size_t)16 << 20)

static int put_lists(struct db *db, int64_t campaign_id, const int64_t *ids, int count, bool excluded,
                     struct error *err)
{
    for (int i = 0; i < count; i++) {
        int64_t found;
        int missing = db_get(db, err, &found, "SELECT id FROM list WHERE id = ?", DB_I(ids[i]));
        if (missing > 0)
            (void)error_set(err, -ENOENT, "there is no list %lld", (long long)ids[i]);
        if (missing)
            return missing;
        int failed = db_run(db, err, "INSERT INTO campaign_list VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                            DB_I(campaign_id), DB_I(excluded), DB_I(ids[i]));
        if (failed)
            return failed;
    }
    return 0;
}

static int edit_run(struct storage *storage, void *arg, struct error *err)
{
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
    if (!failed)
        failed = db_run(db, err, "INSERT OR REPLACE INTO campaign_spec VALUES (?, ?)", DB_I(campaign->id),
                        DB_T(campaign->spec));
    if (!failed)
        failed = db_run(db, err, "DELETE FROM campaign_split WHERE campaign_id = ?", DB_I(campaign->id));
    if (!failed)
        failed = split_store(db, campaign->id, campaign, err);
    if (!failed)
        failed = db_run(db, err, "DELETE FROM campaign_segment WHERE campaign_id = ?", DB_I(campaign->id));
    if (!failed && campaign->segment != NULL)
        failed = db_run(db, err, "INSERT INTO campaign_segment VALUES (?, ?)", DB_I(campaign->id),
                        DB_B(campaign->segment, campaign->segment_bytes));
    if (!failed)
        failed = db_run(db, err, "DELETE FROM campaign_list WHERE campaign_id = ?", DB_I(campaign->id));
    if (!failed)
        failed = put_lists(db, campaign->id, campaign->lists, campaign->list_count, false, err);
    return failed ? failed : put_lists(db, campaign->id, campaign->excluded, campaign->excluded_count, true, err);
}

int storage_campaign_edit(struct storage *storage, const struct storage_campaign *campaign, struct error *err)
{
    if (campaign->name == NULL || strnlen(campaign->name, NAME_MAX_BYTES + 1) > NAME_MAX_BYTES)
        return error_set(err, -EINVAL, "a campaign's name has at most %d bytes", NAME_MAX_BYTES);
    if (campaign->spec == NULL || strnlen(campaign->spec, SPEC_MAX_BYTES + 1) > SPEC_MAX_BYTES)
        return error_set(err, -EINVAL, "a campaign has at most %zu bytes", SPEC_MAX_BYTES);
    if (campaign->list_count < 0 || campaign->list_count > CAMPAIGN_LISTS_MAX || campaign->excluded_count < 0 ||
        campaign->excluded_count > CAMPAIGN_LISTS_MAX)
        return error_set(err, -EINVAL, "a campaign has at most %d lists", CAMPAIGN_LISTS_MAX);
    struct storage_campaign copy = *campaign;
    return storage_call(storage, edit_run, &copy, err);
}
