/*
 * unsubscribe.c - /u/{token}: GET shows a page and changes nothing, because mail scanners and link previews fetch every
 * link; POST acts.
 *
 * The POST is what RFC 8058 section 3.1 has mailbox providers send (body "List-Unsubscribe=One-Click", form or
 * multipart encoded, no cookies, no redirect) and what the page's own button sends. A token that is not ours is 404,
 * whatever is wrong with it.
 */
#include <string.h>

#include "api/routes/routes.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"

static const char PAGE_POLICY[] = "default-src 'none'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

static const char HEAD[] =
    "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
    "<meta name=\"color-scheme\" content=\"light dark\"><meta name=\"robots\" content=\"noindex\">";

static void answer_page(struct response *response, int status, const char *title, const char *rest)
{
    struct buffer page = BUFFER_INIT(8192);
    buffer_printf(&page, "%s<title>%s</title></head><body><h1>%s</h1>%s</body></html>\n", HEAD, title, title, rest);
    response_text(response, status, "text/html; charset=utf-8", buffer_text(&page));
    response->security_policy = PAGE_POLICY;
    buffer_finish(&page);
}

static void answer_unknown(struct request *request, struct response *response)
{
    if (request->wants_html)
        answer_page(
            response, 404, "This link is not valid",
            "<p>It may have been cut off by the mail program. Please use the link in the message once more.</p>");
    else
        response_problem(response, 404, "this is not an unsubscribe link of ours");
}

void unsubscribe_page(struct request *request, struct response *response)
{
    int64_t campaign_id = 0;
    int64_t recipient_id = 0;
    if (unsubscribe_token_parse(request->app->mailer, request->text[0], &campaign_id, &recipient_id) != 0) {
        answer_unknown(request, response);
        return;
    }
    /* A form without an action posts to the page's own address; so the token need not be written into the page. */
    answer_page(response, 200, "Unsubscribe",
                "<p>You will get no more messages of this mailing.</p>"
                "<form method=\"post\"><input type=\"hidden\" name=\"List-Unsubscribe\" value=\"One-Click\">"
                "<button type=\"submit\">Unsubscribe</button></form>");
}

/* The pair in either encoding; which part headers a multipart body has besides does not matter. */
static bool is_one_click(const struct request *request)
{
    const char *body = buffer_text(&request->body);
    if (str_starts_nocase(request->content_type, "multipart/form-data")) {
        const char *name = strcasestr(body, "name=\"List-Unsubscribe\"");
        return name != NULL && strstr(name, "\r\n\r\nOne-Click") != NULL;
    }
    const char *pair = strstr(body, "List-Unsubscribe=One-Click");
    return pair != NULL && (pair == body || pair[-1] == '&');
}

void unsubscribe_act(struct request *request, struct response *response)
{
    int64_t campaign_id = 0;
    int64_t recipient_id = 0;
    struct error err = {""};
    if (unsubscribe_token_parse(request->app->mailer, request->text[0], &campaign_id, &recipient_id) != 0) {
        answer_unknown(request, response);
        return;
    }
    if (!is_one_click(request)) {
        response_problem(response, 400, "the body must be List-Unsubscribe=One-Click (RFC 8058)");
        return;
    }
    if (recipient_id == 0) {
        answer_page(response, 200, "This was a test", "<p>The link is that of a test message: nothing was changed.</p>");
        return;
    }
    int rc = storage_unsubscribe(request->app->storage, campaign_id, recipient_id, clock_wall_ms(), &err);
    if (rc == STORAGE_NOT_FOUND) {
        answer_unknown(request, response);
        return;
    }
    if (rc != 0) {
        response_condition(response, rc, "unsubscription", &err);
        return;
    }
    log_debug("http", "unsubscribed campaign=%lld recipient=%lld", (long long)campaign_id, (long long)recipient_id);
    answer_page(response, 200, "You are unsubscribed", "<p>You will get no more messages of this mailing.</p>");
}
