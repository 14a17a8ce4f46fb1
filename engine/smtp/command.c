/*
 * command.c - writes command lines, and checks every argument before the first byte, because an address comes from a
 * list that a stranger made.
 */
#include "engine/smtp/command.h"

#include <errno.h>

#define PATH_MAX_OCTETS 254 /* 256 with the brackets, RFC 5321 4.5.3.1.3 */
#define LOCAL_MAX_OCTETS 64
#define DOMAIN_MAX_OCTETS 255

/* Nothing below SP, no SP, no brackets: an address in normal form needs none of them, a forged one does. */
static bool octets_are_safe(const char *text, size_t len, bool utf8)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c <= 0x20 || c == 0x7f || c == '<' || c == '>' || (c >= 0x80 && !utf8))
            return false;
    }
    return true;
}

int command_check_path(const char *path, bool smtputf8, bool null_allowed)
{
    size_t len = strnlen(path, PATH_MAX_OCTETS + 1);
    if (len == 0)
        return null_allowed ? 0 : -EINVAL;
    if (len > PATH_MAX_OCTETS || !octets_are_safe(path, len, smtputf8))
        return -EINVAL;
    const char *at = memrchr(path, '@', len);
    if (at == NULL || at == path || (size_t)(at - path) > LOCAL_MAX_OCTETS)
        return -EINVAL;
    size_t domain_len = len - (size_t)(at - path) - 1;
    return domain_len >= 1 && domain_len <= DOMAIN_MAX_OCTETS ? 0 : -EINVAL;
}

static int finish(const struct buffer *out)
{
    return out->failed ? -ENOMEM : 0;
}

static int hello(struct buffer *out, const char *verb, const char *name)
{
    size_t len = strnlen(name, DOMAIN_MAX_OCTETS + 1);
    if (len == 0 || len > DOMAIN_MAX_OCTETS || !octets_are_safe(name, len, false))
        return -EINVAL;
    buffer_append_str(out, verb);
    buffer_append(out, name, len);
    buffer_append(out, "\r\n", 2);
    return finish(out);
}

int command_ehlo(struct buffer *out, const char *name)
{
    return hello(out, "EHLO ", name);
}

int command_helo(struct buffer *out, const char *name)
{
    return hello(out, "HELO ", name);
}

static void append_number(struct buffer *out, size_t number)
{
    char digits[24];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    buffer_append(out, digits + at, sizeof digits - at);
}

int command_mail(struct buffer *out, const struct command_mail *mail)
{
    int r = command_check_path(mail->path, mail->smtputf8, true);
    if (r < 0)
        return r;
    buffer_append(out, "MAIL FROM:<", 11);
    buffer_append_str(out, mail->path);
    buffer_append_char(out, '>');
    if (mail->size_offered) {
        buffer_append(out, " SIZE=", 6);
        append_number(out, mail->size_bytes);
    }
    if (mail->body_8bitmime)
        buffer_append_str(out, " BODY=8BITMIME");
    if (mail->smtputf8)
        buffer_append_str(out, " SMTPUTF8");
    buffer_append(out, "\r\n", 2);
    return finish(out);
}

int command_rcpt(struct buffer *out, const char *path, bool smtputf8)
{
    int r = command_check_path(path, smtputf8, false);
    if (r < 0)
        return r;
    buffer_append(out, "RCPT TO:<", 9);
    buffer_append_str(out, path);
    buffer_append(out, ">\r\n", 3);
    return finish(out);
}

int command_bdat_last(struct buffer *out, size_t size_bytes)
{
    buffer_append(out, "BDAT ", 5);
    append_number(out, size_bytes);
    buffer_append(out, " LAST\r\n", 7);
    return finish(out);
}

int command_plain(struct buffer *out, enum command_plain command)
{
    static const char *const lines[] = {
        [COMMAND_DATA] = "DATA\r\n",
        [COMMAND_RSET] = "RSET\r\n",
        [COMMAND_QUIT] = "QUIT\r\n",
        [COMMAND_DOT] = ".\r\n",
    };
    buffer_append_str(out, lines[command]);
    return finish(out);
}
