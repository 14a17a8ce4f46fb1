/*
 * signing.c - finds the keys: from the From address to its domain, from the database to the files in data_dir.
 */
#include "campaign/signing.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "base/str.h"

#include "campaign/sending_domain.h"

static int load_signing(void *context, const struct storage_dkim_key *key)
{
    struct signing *signing = context;
    if (key->state != DKIM_KEY_USED || signing->count == CONTENT_SIGNERS_MAX)
        return 0;
    size_t n = signing->count++;
    signing->selectors[n] = str_dup(key->selector);
    signing->records[n] = str_dup(key->record);
    if (signing->selectors[n] == NULL || signing->records[n] == NULL)
        signing->result = error_memory(signing->err);
    else
        signing->result = sending_domain_load_key(signing->data_dir, key->key_file, &signing->keys[n], signing->err);
    return signing->result;
}

void signing_finish(struct signing *signing)
{
    for (size_t i = 0; i < signing->count; i++) {
        dkim_key_unref(signing->keys[i]);
        free(signing->selectors[i]);
        free(signing->records[i]);
    }
}

int signing_find(struct mailer *mailer, struct storage_reader *reader, const json_t *spec, struct signing *signing,
                 struct problem *problem, struct error *err)
{
    const char *from = json_string_value(json_object_get(json_object_get(spec, "from"), "email"));
    struct address address;
    *signing = (struct signing){.data_dir = mailer->config->data_dir, .err = err};
    if (from == NULL || address_parse(from, strlen(from), &address, err) != 0) {
        if (problem != NULL)
            problem_add(problem, "from.email", "is not an address");
        return error_set(err, -EINVAL, "from.email is not an address");
    }
    const char *domain = address_domain(&address);
    int result = storage_dkim_keys_list(reader, domain, load_signing, signing, err);
    if (result < 0)
        return result;
    if (signing->count == 0)
        signing->result = error_set(err, -EINVAL, "there is no DKIM key for %s; make one with: posthaste domain add %s",
                                    domain, domain);
    if (signing->result < 0 && signing->result != -ENOMEM) {
        if (problem != NULL)
            problem_add(problem, "from.email", "%s", err->text);
        return -EINVAL;
    }
    return signing->result;
}
