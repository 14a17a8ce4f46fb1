/*
 * link_key.c - when a key that makes tokens may be retired: its links, pages and return paths must work for as long as
 * somebody may follow them.
 */
#include "campaign/mailer.h"

#include "base/clock.h"

int64_t links_keep_ms(const struct config *config)
{
    return config->keep_links_ms == 0 ? INT64_MAX : MAX_OF(config->keep_links_ms, config->keep_deliveries_ms);
}

int link_key_retire(struct storage *storage, const struct config *config, int64_t id, bool force, struct error *err)
{
    return storage_link_key_retire(storage, id, force ? -1 : links_keep_ms(config), clock_wall_ms(), err);
}

int mailer_refresh_keys(struct mailer *mailer, struct storage_reader *reader, struct error *err)
{
    return token_ring_refresh(mailer->ring, reader, err);
}
