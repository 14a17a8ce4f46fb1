/*
 * pages.c - what stands behind {{view_url}} (/v/{token}: the message as a page) and {{preferences_url}} (/p/{token}:
 * the recipient's lists).
 *
 * The message is its author's HTML with the recipient's values, so its page may run nothing: a policy and a sandbox see
 * to that. A GET of the preferences changes nothing; the form sends all lists that stay ticked, and those that do not
 * are left. Only lists that the recipient is, or was, on are shown: nobody learns of others.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/routes/routes.h"
#include "base/str.h"

#define LISTS_MAX 200

static const char VIEW_POLICY[] =
    "default-src 'none'; img-src http: https: data:; style-src 'unsafe-inline'; font-src https:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox allow-popups "
    "allow-popups-to-escape-sandbox allow-top-navigation-by-user-activation";
static const char FORM_POLICY[] = "default-src 'none'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

void view_page(struct request *request, struct response *response)
{
    struct buffer html = BUFFER_INIT(0);
    struct error err = {""};
    int rc = campaign_view(request->app->mailer, request->reader, request->text[0], &html, &err);
    if (rc == 0 || rc == CAMPAIGN_VIEW_TEXT) {
        response_text(response, 200, rc == 0 ? "text/html; charset=utf-8" : "text/plain; charset=utf-8",
                      buffer_text(&html));
        response->security_policy = VIEW_POLICY;
    } else if (rc == STORAGE_NOT_FOUND) {
        response_problem(response, 404, "this is not a link of ours");
    } else {
        response_condition(response, rc, "message", &err);
    }
    buffer_finish(&html);
}

struct membership {
    int64_t list_id;
    bool active;
    char name[256];
};
struct memberships {
    struct membership items[LISTS_MAX];
    size_t count;
    char email[512];
};

static int take_membership(void *context, const struct storage_member *member)
{
    struct memberships *all = context;
    if (member->status == MEMBER_REMOVED || all->count == LISTS_MAX)
        return 0;
    struct membership *item = &all->items[all->count++];
    item->list_id = member->list_id;
    item->active = member->status == MEMBER_ACTIVE;
    (void)str_copy(item->name, sizeof(item->name), member->list_name);
    str_make_line(item->name);
    return 0;
}

static int take_email(void *context, const struct storage_recipient *recipient)
{
    struct memberships *all = context;
    (void)str_copy(all->email, sizeof(all->email), recipient->email);
    return 0;
}

/* The lists behind the token; NULL: the response is there. */
static struct memberships *load(struct request *request, struct response *response, int64_t *recipient_id)
{
    int64_t campaign_id;
    struct error err = {""};
    struct memberships *all = NULL;
    int rc = preferences_token_parse(request->app->mailer, request->text[0], &campaign_id, recipient_id);
    if (rc == 0 && (all = calloc(1, sizeof(*all))) == NULL)
        rc = error_memory(&err);
    if (rc == 0 && *recipient_id == 0) {
        (void)str_copy(all->email, sizeof(all->email), "This is the link of a test message: it has no subscriptions.");
        return all;
    }
    if (rc == 0)
        rc = storage_recipient_get(request->reader, *recipient_id, take_email, all, &err);
    if (rc == 0)
        rc = storage_recipient_memberships(request->reader, *recipient_id, take_membership, all, &err);
    if (rc == 0)
        return all;
    free(all);
    if (rc == STORAGE_NOT_FOUND)
        response_problem(response, 404, "this is not a link of ours");
    else
        response_condition(response, rc, "page", &err);
    return NULL;
}

static void append_text(struct buffer *page, const char *text)
{
    for (; *text != '\0'; text++) {
        const char *entity = *text == '&'   ? "&amp;"
                             : *text == '<' ? "&lt;"
                             : *text == '>' ? "&gt;"
                             : *text == '"' ? "&quot;"
                                            : NULL;
        if (entity != NULL)
            buffer_append_str(page, entity);
        else
            buffer_append_char(page, *text);
    }
}

static void answer_page(struct response *response, const struct memberships *all, bool saved)
{
    struct buffer page = BUFFER_INIT((size_t)1 << 20);
    buffer_append_str(&page,
                      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
                      "<meta name=\"color-scheme\" content=\"light dark\"><meta name=\"robots\" content=\"noindex\">"
                      "<title>Your subscriptions</title></head><body><h1>Your subscriptions</h1><p>");
    append_text(&page, all->email);
    buffer_append_str(&page, saved ? "</p><p>Saved.</p>" : "</p>");
    buffer_append_str(&page, "<form method=\"post\">");
    for (size_t i = 0; i < all->count; i++) {
        buffer_printf(&page, "<p><label><input type=\"checkbox\" name=\"list\" value=\"%lld\"%s> ",
                      (long long)all->items[i].list_id, all->items[i].active ? " checked" : "");
        append_text(&page, all->items[i].name);
        buffer_append_str(&page, "</label></p>");
    }
    buffer_append_str(&page, "<input type=\"hidden\" name=\"save\" value=\"1\"><button "
                             "type=\"submit\">Save</button></form></body></html>\n");
    response_text(response, 200, "text/html; charset=utf-8", buffer_text(&page));
    response->security_policy = FORM_POLICY;
    buffer_finish(&page);
}

void preferences_page(struct request *request, struct response *response)
{
    int64_t recipient_id;
    struct memberships *all = load(request, response, &recipient_id);
    if (all != NULL)
        answer_page(response, all, false);
    free(all);
}

/* "list=7" as a whole pair of the body. */
static bool is_ticked(const char *body, int64_t list_id)
{
    char pair[40];
    int len = snprintf(pair, sizeof(pair), "list=%lld", (long long)list_id);
    for (const char *at = body; (at = strstr(at, pair)) != NULL; at += len)
        if ((at == body || at[-1] == '&') && (at[len] == '&' || at[len] == '\0'))
            return true;
    return false;
}

void preferences_act(struct request *request, struct response *response)
{
    int64_t recipient_id;
    struct error err = {""};
    struct memberships *all = load(request, response, &recipient_id);
    const char *body = buffer_text(&request->body);
    if (all == NULL)
        return;
    int rc = strstr(body, "save=1") != NULL ? 0 : 1;
    for (size_t i = 0; i < all->count && rc == 0; i++) {
        bool wanted = is_ticked(body, all->items[i].list_id);
        if (wanted == all->items[i].active)
            continue;
        rc = storage_member_set(request->app->storage, all->items[i].list_id, all->email,
                                wanted ? MEMBER_ACTIVE : MEMBER_UNSUBSCRIBED, &err);
        all->items[i].active = wanted;
    }
    if (rc == 1)
        response_problem(response, 400, "the body must be that of the page's form");
    else if (rc != 0)
        response_condition(response, rc, "subscription", &err);
    else
        answer_page(response, all, true);
    free(all);
}
