/*
 * check_tool.c - judges composed messages for tests that are written in other languages: GMime parses them, libopendkim
 * verifies every signature.
 *
 *     check_tool SELECTOR=RECORD... <FRAMES
 *
 * A frame is the length in digits, LF, and so many bytes. Each is answered by one line: "ok" with the parts that GMime
 * saw
 * ("ok mixed(alternative(plain,html),pdf)"), or what is wrong. GMime's parser calls back for everything that it finds
 * odd; any such word is a fault here.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <gmime/gmime.h>

#include "dkim/dkim.h"

#define RECORDS_MAX 4
#define MESSAGE_MAX_BYTES (64u << 20)

static char oddity[256];

static void on_odd(gint64 offset, GMimeParserWarning warning, const gchar *item, gpointer context)
{
    (void)context;
    if (oddity[0] == '\0')
        (void)snprintf(oddity, sizeof(oddity), "GMime warns: %d at %lld: %.100s", (int)warning, (long long)offset,
                       item != NULL ? item : "");
}

static void describe(GMimeObject *part, struct buffer *out)
{
    GMimeContentType *type = g_mime_object_get_content_type(part);
    buffer_append_str(out, g_mime_content_type_get_media_subtype(type));
    if (!GMIME_IS_MULTIPART(part))
        return;
    buffer_append_char(out, '(');
    int count = g_mime_multipart_get_count(GMIME_MULTIPART(part));
    for (int i = 0; i < count; i++) {
        if (i > 0)
            buffer_append_char(out, ',');
        describe(g_mime_multipart_get_part(GMIME_MULTIPART(part), i), out);
    }
    buffer_append_char(out, ')');
}

static void parse(const char *bytes, size_t len, GMimeParserOptions *options, struct buffer *answer)
{
    oddity[0] = '\0';
    GMimeStream *stream = g_mime_stream_mem_new_with_buffer(bytes, len);
    GMimeParser *parser = g_mime_parser_new_with_stream(stream);
    GMimeMessage *message = g_mime_parser_construct_message(parser, options);
    if (message == NULL) {
        (void)snprintf(oddity, sizeof(oddity), "GMime sees no message");
    } else {
        InternetAddressList *from = g_mime_message_get_from(message);
        if (g_mime_message_get_subject(message) == NULL || internet_address_list_length(from) != 1 ||
            g_mime_message_get_date(message) == NULL || g_mime_message_get_message_id(message) == NULL)
            (void)snprintf(oddity, sizeof(oddity), "GMime misses a header field");
        describe(g_mime_message_get_mime_part(message), answer);
        g_object_unref(message);
    }
    g_object_unref(parser);
    g_object_unref(stream);
}

static bool read_frame(char **bytes, size_t *len)
{
    unsigned long long announced;
    if (scanf("%llu", &announced) != 1 || getchar() != '\n' || announced > MESSAGE_MAX_BYTES)
        return false;
    *len = (size_t)announced;
    *bytes = malloc(*len + 1);
    if (*bytes == NULL || fread(*bytes, 1, *len, stdin) != *len)
        exit(1);
    (*bytes)[*len] = '\0';
    return true;
}

int main(int argc, char **argv)
{
    struct dkim_published published[RECORDS_MAX];
    size_t count = 0;
    char *bytes;
    size_t len;
    for (int i = 1; i < argc && count < RECORDS_MAX; i++) {
        char *equal = strchr(argv[i], '=');
        if (equal == NULL)
            return 2;
        *equal = '\0';
        published[count++] = (struct dkim_published){.selector = argv[i], .record = equal + 1};
    }
    g_mime_init();
    GMimeParserOptions *options = g_mime_parser_options_new();
    g_mime_parser_options_set_warning_callback(options, on_odd, NULL);
    while (read_frame(&bytes, &len)) {
        struct buffer answer = BUFFER_INIT(0);
        struct error err = {""};
        parse(bytes, len, options, &answer);
        int rc = dkim_check_all(bytes, len, published, count, &err);
        if (oddity[0] != '\0')
            puts(oddity);
        else if (rc != 0)
            printf("libopendkim: %d %s\n", rc, err.text);
        else
            printf("ok %s\n", buffer_text(&answer));
        buffer_finish(&answer);
        free(bytes);
    }
    g_mime_parser_options_free(options);
    g_mime_shutdown();
    return 0;
}
