/*
 * snippet.c - stored partials: checked when they are stored, frozen with the campaigns that show them.
 *
 * A snippet is compiled as if it were a content of its own, with all others beside it: whatever it cannot mean is told
 * to its author with line and column, not to whoever uses it later. That a text with all its partials keeps within the
 * bounds is checked once more when a campaign is created.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"

#include "campaign/mailer.h"
#include "campaign/message/template.h"

#define NAME_MAX_BYTES 64
#define TEXT_MAX_BYTES ((size_t)256 << 10)

struct gather {
    json_t *object;
    bool failed;
};

static int take(void *context, const struct storage_snippet *snippet)
{
    struct gather *gather = context;
    gather->failed |= json_object_set_new(gather->object, snippet->name, json_string(snippet->text)) != 0;
    return gather->failed ? 1 : 0;
}

int snippets_load(struct storage_reader *reader, json_t **out, struct error *err)
{
    struct gather gather = {.object = json_object()};
    if (gather.object == NULL)
        return error_memory(err);
    int rc = storage_snippet_page(reader, "", 0, take, &gather, NULL, err);
    if (rc == 0 && gather.failed)
        rc = error_memory(err);
    if (rc < 0)
        json_decref(gather.object);
    else
        *out = gather.object;
    return rc;
}

static bool name_valid(const char *name)
{
    size_t len = strlen(name);
    return len > 0 && len <= NAME_MAX_BYTES && name[0] != '.' && name[len - 1] != '.' && strstr(name, "..") == NULL &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") == len;
}

static int check_text(struct storage_reader *reader, const char *name, const char *text, struct problem *problem,
                      struct error *err)
{
    json_t *others = NULL;
    int rc = snippets_load(reader, &others, err);
    if (rc < 0)
        return rc;
    struct template *template = NULL;
    struct error why = {""};
    if (json_object_set_new(others, name, json_string(text)) != 0) {
        json_decref(others);
        return error_memory(err);
    }
    const struct template_partials partials = {.texts = others, .strict = true};
    rc = template_compile(text, strlen(text), &partials, &template, &why);
    if (rc == -EINVAL) {
        problem_add(problem, "text", "%s", why.text);
        (void)error_set(err, rc, "%s", why.text);
    } else if (rc < 0) {
        (void)error_memory(err);
    }
    template_free(template);
    json_decref(others);
    return rc;
}

int snippet_set(struct storage *storage, struct storage_reader *reader, const char *name, const char *text,
                bool *created, struct problem *problem, struct error *err)
{
    if (!name_valid(name))
        problem_add(problem, "name", "must be 1 to %d letters, digits, hyphens, underscores and inner dots",
                    NAME_MAX_BYTES);
    if (strlen(text) > TEXT_MAX_BYTES)
        problem_add(problem, "text", "is longer than %zu bytes", TEXT_MAX_BYTES);
    else if (!utf8_valid(text, strlen(text)))
        problem_add(problem, "text", "is not UTF-8");
    if (problem->count > 0)
        return error_set(err, -EINVAL, "%s", problem->fields[0].message);
    int rc = check_text(reader, name, text, problem, err);
    if (rc == 0)
        rc = storage_snippet_set(storage, name, text, clock_wall_ms(), created, err);
    if (rc == -E2BIG) {
        problem_add(problem, "text", "%s", err->text);
        rc = -EINVAL;
    }
    return rc;
}
