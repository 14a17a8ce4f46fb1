/*
 * reload.c - one configuration in place of another.
 *
 * First everything that can be wrong is found out: the file, then what it names (addresses, passwords, rules files,
 * certificates), by those who use it. Only then does anything change, and from there on nothing can fail. Keys that
 * take effect at a start only keep their value and are named; the files of certificates are read anew under their
 * former names. Who reads the configuration holds the snapshot that he began with (base/config_live.h), so the order in
 * which the parts take it over does not matter.
 */
#include "api/cli/reload.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/str.h"

int reload_complete(struct config *config, const char *url, struct error *err)
{
    size_t len = strlen(config->public_url);
    if (config->listen_port != 0 || len < 2 || strcmp(config->public_url + len - 2, ":0") != 0)
        return 0;
    char *copy = str_dup(url);
    if (copy == NULL)
        return error_memory(err);
    free(config->public_url);
    config->public_url = copy;
    return 0;
}

/* Sentences, each behind '!' or '.' and in front of a NUL: told once it is certain that they come true. */
static void keep(void *context, bool fixed, const char *sentence)
{
    struct buffer *kept = context;
    buffer_append_char(kept, fixed ? '!' : '.');
    buffer_append(kept, sentence, strlen(sentence) + 1);
}

static void tell(const struct buffer *kept)
{
    for (size_t at = 0; at < kept->len; at += strlen(kept->data + at) + 1) {
        const char *sentence = kept->data + at + 1;
        if (kept->data[at] == '!')
            log_warn("serve", "takes effect at the next start: %s", sentence);
        else
            log_info("serve", "changed: %s", sentence);
    }
}

static int take_over(struct app *app, struct config *next, const char *url, struct buffer *kept, struct error *err)
{
    const struct config *now = config_live_hold(app->live);
    int rc = reload_complete(next, url, err);
    if (rc == 0) {
        rc = config_adopt(now, next, keep, kept);
        rc = rc < 0 || kept->failed ? error_memory(err) : 0;
    }
    if (rc == 0)
        rc = mailer_reload(app->mailer, next, err);
    config_drop(now);
    return rc;
}

void reload(struct app *app, struct http_server *http, const char *url)
{
    struct config *next = NULL;
    struct error err = {""};
    struct buffer kept = BUFFER_INIT((size_t)1 << 20);
    /* The very file that is in force: the search would go on to another one, or to the defaults, when it is missing for
     * a moment. */
    const struct config *now = config_live_hold(app->live);
    int rc = config_load(now->file[0] != '\0' ? now->file : NULL, &next, &err);
    config_drop(now);
    if (rc == 0)
        rc = http_server_check(http, &err);
    if (rc == 0)
        rc = intake_check(app->intake, &err);
    if (rc == 0)
        rc = take_over(app, next, url, &kept, &err);
    if (rc == 0) {
        log_set_level(next->log_level);
        http_server_reload(http, next);
        intake_reload(app->intake);
        tell(&kept);
        log_info("serve", "reloaded config=%s", LOG_QUOTE(next->file[0] != '\0' ? next->file : "built in"));
        config_live_set(app->live, next);
    } else {
        log_error("serve", "the configuration was not reloaded, all is as before: %s",
                  err.text[0] != '\0' ? err.text : strerror(-rc));
        config_free(next);
    }
    buffer_finish(&kept);
}
