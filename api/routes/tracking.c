/*
 * tracking.c - /c/{token}: a tracked link, /o/{token}: the open pixel; and a campaign's links with their counts.
 *
 * Mail scanners, link previews and privacy proxies fetch what nobody looks at; what a request shows of that is decided
 * here (HEAD, prefetch headers, a few programs' names), what its time shows in the database. Every token that is not
 * ours is 404. Where a link leads is never taken from the request.
 */
#include <string.h>

#include "api/routes/routes.h"

/* The smallest GIF there is: one transparent point. */
static const unsigned char PIXEL[] = {'G', 'I', 'F',  '8',  '9',  'a',  1,    0, 1, 0, 0x80, 0,    0, 0,
                                      0,   0,   0xff, 0xff, 0xff, 0x21, 0xf9, 4, 1, 0, 0,    0,    0, 0x2c,
                                      0,   0,   0,    0,    1,    0,    1,    0, 0, 2, 1,    0x44, 0, 0x3b};

/* Names of programs that fetch links for others. Google's image proxy is not one: it fetches when the mail is opened.
 */
static bool is_machine(const struct request *request)
{
    static const char *const words[] = {"bot",        "crawl",    "spider",    "scanner",    "preview", "barracuda",
                                        "proofpoint", "mimecast", "safelinks", "urldefense", "curl/",   "wget/"};
    if (request->method == METHOD_HEAD || request->prefetch)
        return true;
    /* Apple's privacy proxy loads every image of every mail, and calls itself by this alone. */
    if (strcmp(request->user_agent, "Mozilla/5.0") == 0)
        return true;
    for (size_t i = 0; i < countof(words); i++)
        if (strcasestr(request->user_agent, words[i]) != NULL)
            return true;
    return false;
}

static void answer_unknown(struct response *response)
{
    response_problem(response, 404, "this is not a link of ours");
}

void tracking_follow(struct request *request, struct response *response)
{
    struct buffer location = BUFFER_INIT((size_t)256 << 10);
    struct error err = {""};
    int rc =
        tracking_click(request->app->mailer, request->reader, request->text[0], is_machine(request), &location, &err);
    if (rc == 0) {
        response_empty(response, 302);
        response_location(response, &location);
    } else if (rc == STORAGE_NOT_FOUND) {
        answer_unknown(response);
    } else {
        response_condition(response, rc, "link", &err);
    }
    buffer_finish(&location);
}

void tracking_pixel(struct request *request, struct response *response)
{
    if (tracking_open(request->app->mailer, request->text[0], is_machine(request)) != 0)
        answer_unknown(response);
    else
        response_fixed(response, "image/gif", PIXEL, sizeof(PIXEL));
}

static int take_link(void *context, const struct storage_link *link)
{
    return page_take_id(context, view_link(link), link->number) ? 0 : 1;
}

static int exists(void *context, const struct storage_campaign *campaign)
{
    (void)context;
    (void)campaign;
    return 0;
}

void campaigns_links(struct request *request, struct response *response)
{
    struct problem problem = {.count = 0};
    struct error err = {""};
    struct page page;
    int64_t after, total = 0;
    int limit;
    if (!page_read(request, &limit, &after, &problem)) {
        response_invalid(response, &problem);
        return;
    }
    int rc = storage_campaign_get(request->reader, request->id[0], exists, NULL, &err);
    if (rc != 0) {
        response_condition(response, rc, "campaign", &err);
        return;
    }
    if (!page_init(&page, limit)) {
        response_json(response, 200, NULL);
        return;
    }
    rc = storage_link_page(request->reader, request->id[0], (int)MIN_OF(after, INT32_MAX), limit + 1, take_link, &page,
                           &total, &err);
    if (rc < 0) {
        page_drop(&page);
        response_condition(response, rc, "links", &err);
        return;
    }
    response_json(response, 200, page_json(&page, total));
}
