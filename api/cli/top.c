/*
 * top.c - `posthaste top`: the picture of `status` with the destinations, drawn anew each second on the terminal's
 * other screen, so that what was there before is there again afterwards.
 *
 * The picture is made in memory, cut to the terminal as it is now, and written in one piece: nothing flickers, and
 * nothing is wrapped in a narrow window. A server that goes away while one looks on (it is restarted) leaves the last
 * picture with a word about it. However it ends, the terminal is as it was: q, Ctrl-C and SIGTERM end the loop and no
 * more.
 */
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "api/cli/client.h"
#include "api/cli/status.h"
#include "base/str.h"

#define STEP_MS 1000
#define CAMPAIGNS_SHOWN 6
#define SITES_MAX 1000

static volatile sig_atomic_t ended;

static void on_signal(int number)
{
    if (number != SIGWINCH)
        ended = 1;
}

/* The terminal while the picture is on it. */
struct screen {
    bool changed; /* `before` is what its input has to become again */
    struct termios before;
};

static void screen_enter(struct screen *screen)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH};
    const struct sigaction action = {.sa_handler = on_signal}; /* without SA_RESTART: a new size is seen at once */
    for (size_t i = 0; i < countof(numbers); i++)
        (void)sigaction(numbers[i], &action, NULL);
    screen->changed = tcgetattr(STDIN_FILENO, &screen->before) == 0;
    if (screen->changed) {
        struct termios raw = screen->before;
        raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
        raw.c_cc[VSUSP] = _POSIX_VDISABLE; /* nobody would restore it for the shell */
        screen->changed = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
    }
    fputs("\033[?1049h\033[?25l", stdout);
}

static void screen_leave(struct screen *screen)
{
    fputs("\033[?25h\033[?1049l", stdout);
    fflush(stdout);
    if (screen->changed)
        (void)tcsetattr(STDIN_FILENO, TCSADRAIN, &screen->before);
}

/* Waits for the next step, a key or a signal. */
static void screen_wait(void)
{
    char keys[64];
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    if (poll(&input, 1, STEP_MS) != 1)
        return;
    ssize_t n = (input.revents & POLLIN) != 0 ? read(STDIN_FILENO, keys, sizeof(keys)) : 0;
    if (n <= 0 || memchr(keys, 'q', (size_t)n) != NULL || memchr(keys, 'Q', (size_t)n) != NULL)
        ended = 1; /* the terminal is gone, or the person wants to */
}

/* The picture, cut to the terminal, over what is there. `note` stands in the last line. */
static void show(const char *picture, const char *note)
{
    int columns = 80, rows = 24, row = 1;
    (void)terminal_size(STDOUT_FILENO, &columns, &rows);
    fputs("\033[H", stdout);
    for (const char *at = picture; *at != '\0' && row < rows; row++) {
        size_t len = strcspn(at, "\n");
        char *line = str_dup_len(at, len);
        if (line != NULL)
            printf("%.*s%s\033[K\n", (int)text_fitting(line, (size_t)columns), line, tone_end(stdout));
        free(line);
        at += len + (at[len] == '\n' ? 1 : 0);
    }
    printf("\033[J\033[%d;1H%s%.*s%s\033[K", rows, tone_begin(stdout, TONE_QUIET),
           (int)text_fitting(note, (size_t)columns), note, tone_end(stdout));
    fflush(stdout);
}

/* Asks the server and makes the picture, to be freed. */
static int make_picture(struct client *client, size_t sites_shown, int width, char **out)
{
    char path[64];
    size_t bytes;
    json_t *stats = NULL, *sites = NULL;
    (void)snprintf(path, sizeof(path), "/v1/stats/sites?limit=%zu", sites_shown);
    int rc = client_get(client, "/v1/stats", &stats);
    if (rc == CLI_DONE)
        rc = client_get(client, path, &sites);
    FILE *file = rc == CLI_DONE ? open_memstream(out, &bytes) : NULL;
    if (rc == CLI_DONE && file == NULL)
        rc = out_fail("out of memory");
    if (file != NULL) {
        status_print_summary(file, stats, client_url(client));
        fputc('\n', file);
        status_print_campaigns(file, stats, CAMPAIGNS_SHOWN, width);
        fputc('\n', file);
        status_print_sites(file, json_object_get(sites, "data"), sites_shown, width);
        if (fclose(file) != 0)
            rc = out_fail("out of memory");
    }
    json_decref(stats);
    json_decref(sites);
    return rc;
}

static size_t sites_wanted(const struct cli *cli)
{
    uint64_t lines;
    int columns, rows = 40;
    (void)terminal_size(STDOUT_FILENO, &columns, &rows);
    if (cli_value(cli, "lines") != NULL && str_parse_u64(cli_value(cli, "lines"), SITES_MAX, &lines) == 0)
        return (size_t)lines;
    return (size_t)MIN_OF(MAX_OF(rows, 2), SITES_MAX);
}

static int watch(struct cli *cli, struct client *client)
{
    char *picture = NULL;
    struct screen screen;
    int rc = make_picture(client, sites_wanted(cli), 0, &picture);
    if (rc != CLI_DONE)
        return rc;
    client_hush(client, true);
    screen_enter(&screen);
    show(picture, "q ends it");
    for (screen_wait(); ended == 0; screen_wait()) {
        char *next = NULL;
        rc = make_picture(client, sites_wanted(cli), 0, &next);
        if (rc == CLI_DONE) {
            free(picture);
            picture = next;
        } else if (!client_unreachable(client) && ended == 0) {
            free(next);
            break; /* it is there and does not want to: its token was revoked */
        }
        show(picture,
             rc == CLI_DONE ? "q ends it" : "the server does not answer now; this is its last word. q ends it");
    }
    screen_leave(&screen);
    free(picture);
    return ended != 0 ? CLI_DONE : out_fail("%s", client_problem(client));
}

static int print_once(struct cli *cli, struct client *client)
{
    char *picture = NULL;
    int columns = 0, rows;
    (void)terminal_size(STDOUT_FILENO, &columns, &rows);
    int rc = make_picture(client, sites_wanted(cli), columns, &picture);
    if (rc == CLI_DONE)
        fputs(picture, stdout);
    free(picture);
    return rc;
}

int cli_top(struct cli *cli)
{
    const char *text = cli_value(cli, "lines");
    uint64_t lines;
    if (text != NULL && (str_parse_u64(text, SITES_MAX, &lines) != 0 || lines == 0)) {
        (void)out_fail("--lines must be a number from 1 to %d", SITES_MAX);
        return CLI_USAGE;
    }
    struct client *client = client_open(cli);
    if (client == NULL)
        return CLI_FAILED;
    int rc;
    if (cli->json) {
        json_t *sites = NULL;
        rc = client_get(client, "/v1/stats/sites?limit=1000", &sites);
        rc = rc == CLI_DONE ? out_json(sites) : rc;
    } else if (cli_flag(cli, "once") || isatty(STDOUT_FILENO) != 1) {
        rc = print_once(cli, client);
    } else {
        rc = watch(cli, client);
    }
    client_close(client);
    return rc;
}
