/*
 * tlsrpt.c - one thread: writes counts down, asks for the records of domains whose day is over, and gives reports to
 * the engine or POSTs them.
 *
 * Everything about a report under way (`struct note`) is this thread's, but for `out` and what became of the
 * places, which loops write under the lock when a mail ends.
 */
#include "campaign/tlsrpt/tlsrpt.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/hashmap.h"
#include "base/log.h"
#include "base/str.h"
#include "campaign/schedule/delivery.h"
#include "campaign/tlsrpt/letter.h"
#include "campaign/tlsrpt/record.h"
#include "campaign/tlsrpt/session_tally.h"

#define DAY_MS INT64_C(86400000)
#define TICK_MS 1000
#define FLUSH_MS INT64_C(5000)
#define ROUND_MS INT64_C(60000)
#define LOOK_UP_MS 10000
#define POST_MS 20000
#define ANSWER_BYTES ((size_t)4096)
#define GZIP_BYTES ((size_t)4 << 20)
#define OUT_MAX 50                /* mails under way */
#define WAIT_MS INT64_C(600000)   /* a mail that has not begun after it comes back */
#define GROUP (UINT64_C(1) << 61) /* beside every campaign's number, and those of tests */
#define MAILBOX "noreply-smtp-tls-reporting"

enum place_state { PLACE_OPEN, PLACE_OUT, PLACE_DONE };

struct note { /* a domain's day that is over */
    struct list node;
    struct tlsrpt *tlsrpt;
    int64_t day, next_ms;
    unsigned tries, out;
    struct tlsrpt_record record;
    enum place_state states[TLSRPT_PLACES_MAX];
    bool asked; /* the record is known */
    size_t name_len;
    char domain[];
};

struct mail {
    struct delivery delivery;
    struct note *note;
    size_t place;
    struct letter *letter;
};

struct tlsrpt {
    struct mailer *mailer;
    struct session_tally *tally;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t thread;
    bool started;
    atomic_bool ending;
    struct list notes;
    struct hashmap by_name; /* "domain\0day" */
    unsigned out;           /* mails with the engine; under the lock */
    struct engine_campaign shape;
    char submitter[DOMAIN_MAX_BYTES + 1], contact[ADDRESS_MAX_BYTES + 64];
    uint64_t lost_told;
};

static int64_t today(void)
{
    return clock_wall_ms() / DAY_MS;
}

void tlsrpt_count(struct tlsrpt *tlsrpt, const struct engine_tls_session *session)
{
    session_tally_add(tlsrpt->tally, today(), session);
}

/* ---- notes ---- */

static size_t note_key(const char *domain, int64_t day, char key[DOMAIN_MAX_BYTES + 32])
{
    return (size_t)snprintf(key, DOMAIN_MAX_BYTES + 32, "%.253s %lld", domain, (long long)day);
}

static void note_free(struct note *note)
{
    char key[DOMAIN_MAX_BYTES + 32];
    (void)hashmap_remove(&note->tlsrpt->by_name, key, note_key(note->domain, note->day, key));
    list_remove(&note->node);
    free(note);
}

/* Spreads what is due over the delay, the same for every try and process. */
static int64_t delay_of(const struct tlsrpt *tlsrpt, const char *domain, int64_t day)
{
    static const uint8_t fixed_key[16] = "tls report delay"; /* spreads load; nothing to keep secret */
    int64_t most_ms = tlsrpt->mailer->config->tls_rpt_delay_ms;
    uint64_t mixed = siphash24(fixed_key, domain, strlen(domain)) ^ (uint64_t)day;
    return most_ms > 0 ? (int64_t)(mixed % (uint64_t)most_ms) : 0;
}

static int take_note(void *context, int64_t day, const char *domain, int64_t rows)
{
    struct tlsrpt *tlsrpt = context;
    char key[DOMAIN_MAX_BYTES + 32];
    size_t key_len = note_key(domain, day, key), len = strlen(domain);
    (void)rows;
    if (day >= today() || len > DOMAIN_MAX_BYTES || hashmap_get(&tlsrpt->by_name, key, key_len) != NULL)
        return 0;
    /* The key is kept behind the name. */
    struct note *note = calloc(1, sizeof *note + len + 1 + key_len + 1);
    if (note == NULL)
        return -ENOMEM;
    memcpy(note->domain, domain, len);
    note->name_len = len;
    memcpy(note->domain + len + 1, key, key_len);
    note->tlsrpt = tlsrpt;
    note->day = day;
    note->next_ms = (day + 1) * DAY_MS + delay_of(tlsrpt, domain, day);
    list_init(&note->node);
    if (hashmap_put(&tlsrpt->by_name, note->domain + len + 1, key_len, note) != 0) {
        free(note);
        return -ENOMEM;
    }
    list_append(&tlsrpt->notes, &note->node);
    return 0;
}

static void forget(struct tlsrpt *tlsrpt, struct note *note, const char *why)
{
    struct error err = {""};
    if (storage_tls_forget(tlsrpt->mailer->storage, note->day, note->domain, &err) != 0) {
        note->next_ms = clock_wall_ms() + ROUND_MS; /* and then reported once more, under the same id */
        return;
    }
    log_debug("tlsrpt", "%s day=%lld ended reason=%s", note->domain, (long long)note->day, LOG_QUOTE(why));
    note_free(note);
}

/* ---- who we are ---- */

struct choice {
    const char *hostname;
    char domain[DOMAIN_MAX_BYTES + 1];
    size_t fits; /* length of the part that is the host's own domain */
};

static int choose(void *context, const struct storage_domain *domain)
{
    struct choice *choice = context;
    size_t len = strlen(domain->name), host_len = strlen(choice->hostname);
    bool inside = host_len >= len && str_eq_nocase(choice->hostname + host_len - len, domain->name) &&
                  (host_len == len || choice->hostname[host_len - len - 1] == '.');
    size_t fits = inside ? len : 0;
    if (choice->domain[0] == '\0' || fits > choice->fits) {
        (void)str_copy(choice->domain, sizeof choice->domain, domain->name);
        choice->fits = fits;
    }
    return 0;
}

/* The sending domain that the host's name is in, or the first. False: there is none, so nothing can be signed. */
static bool find_submitter(struct tlsrpt *tlsrpt, struct storage_reader *reader)
{
    struct choice choice = {.hostname = tlsrpt->mailer->config->hostname};
    struct error err = {""};
    if (storage_domain_list(reader, choose, &choice, &err) != 0 || choice.domain[0] == '\0')
        return false;
    (void)str_copy(tlsrpt->submitter, sizeof tlsrpt->submitter, choice.domain);
    (void)snprintf(tlsrpt->contact, sizeof tlsrpt->contact, MAILBOX "@%s", choice.domain);
    return true;
}

/* ---- mails ---- */

static void ended(struct delivery *delivery, const struct outcome *outcome) /* loop thread */
{
    struct mail *mail = container_of(delivery, struct mail, delivery);
    struct note *note = mail->note;
    struct tlsrpt *tlsrpt = note->tlsrpt;
    bool over = outcome->class_ == OUTCOME_DELIVERED || outcome->class_ == OUTCOME_PERMANENT ||
                outcome->class_ == OUTCOME_UNCERTAIN || outcome->class_ == OUTCOME_COMPOSE;
    log_info("tlsrpt", "report=%s to=%s outcome=%s code=%u reply=%s", note->domain,
             LOG_QUOTE(note->record.places[mail->place].uri), outcome_class_name(outcome->class_), outcome->code,
             LOG_QUOTE(outcome->text));
    (void)pthread_mutex_lock(&tlsrpt->lock);
    note->states[mail->place] = over ? PLACE_DONE : PLACE_OPEN;
    note->out--;
    tlsrpt->out--;
    (void)pthread_mutex_unlock(&tlsrpt->lock);
    letter_unref(mail->letter);
    free(mail);
}

static struct engine_message *give_letter(struct delivery *delivery)
{
    return letter_message(container_of(delivery, struct mail, delivery)->letter);
}

static void send_mail(struct tlsrpt *tlsrpt, struct note *note, size_t place, struct letter *letter)
{
    const char *to = note->record.places[place].uri;
    struct list jobs = LIST_INIT(jobs);
    struct mail *mail = calloc(1, sizeof *mail);
    if (mail == NULL) {
        letter_unref(letter);
        return;
    }
    mail->note = note;
    mail->place = place;
    mail->letter = letter;
    mail->delivery.ended = ended;
    mail->delivery.letter = give_letter;
    struct engine_job *job = &mail->delivery.job;
    list_init(&job->node);
    list_init(&mail->delivery.node);
    job->rcpt_to = to;
    job->domain = strrchr(to, '@') + 1;
    job->group = GROUP;
    job->campaign = &tlsrpt->shape;
    job->any_tls = true;
    for (const char *at = to; *at != '\0'; at++)
        job->smtputf8 |= (unsigned char)*at > 127;
    (void)pthread_mutex_lock(&tlsrpt->lock);
    note->states[place] = PLACE_OUT;
    note->out++;
    tlsrpt->out++;
    (void)pthread_mutex_unlock(&tlsrpt->lock);
    list_append(&jobs, &job->node);
    engine_submit(tlsrpt->mailer->engine, &jobs);
}

/* ---- HTTPS ---- */

/* True: there is nothing more to do. Section 5.4: any 2xx is success. */
static bool post(struct tlsrpt *tlsrpt, const struct note *note, const struct tlsrpt_place *place,
                 const struct buffer *gzip)
{
    const struct config *config = tlsrpt->mailer->config;
    struct resolve_addresses addresses;
    struct fetch_answer answer = {.status = FETCH_CONNECT};
    resolver_wait_addresses(tlsrpt->mailer->resolver, place->host, config->allow_private_mx, LOOK_UP_MS, &addresses);
    (void)str_copy(answer.why, sizeof answer.why, "the host has no address that may be used");
    if (addresses.count > 0) {
        const struct fetch_request request = {.url = place->uri,
                                              .addresses = addresses.text,
                                              .address_count = addresses.count,
                                              .ca_file = config->tls_ca_file,
                                              .max_bytes = ANSWER_BYTES,
                                              .timeout_ms = POST_MS,
                                              .body = gzip->data,
                                              .body_bytes = gzip->len,
                                              .cancelled = &tlsrpt->ending,
                                              .content_type = "application/tlsrpt+gzip"};
        fetch(&request, &answer);
    }
    log_info("tlsrpt", "report=%s to=%s status=%d reason=%s", note->domain, LOG_QUOTE(place->uri), answer.http_status,
             LOG_QUOTE(answer.why));
    bool done = answer.http_status / 100 == 2 || answer.http_status / 100 == 4;
    fetch_answer_finish(&answer);
    resolve_addresses_finish(&addresses);
    return done;
}

/* ---- one report ---- */

static int add_row(void *context, const struct storage_tls_tally *tally)
{
    return tlsrpt_report_add(context, tally);
}

static int compose(struct storage_reader *reader, const struct tlsrpt_head *head, struct buffer *gzip,
                   struct error *err)
{
    struct tlsrpt_report *report = tlsrpt_report_begin(head);
    if (report == NULL)
        return error_memory(err);
    int r = storage_tls_tallies(reader, head->day, head->domain, add_row, report, err);
    int ended_r = tlsrpt_report_end(report, gzip);
    return r != 0 ? r : ended_r;
}

/* False: not known now. */
static bool ask(struct tlsrpt *tlsrpt, struct note *note)
{
    char name[DOMAIN_MAX_BYTES + 16];
    (void)snprintf(name, sizeof name, "_smtp._tls.%.253s", note->domain);
    struct resolve_answer *answer = resolver_wait(tlsrpt->mailer->resolver, name, RESOLVE_TXT, LOOK_UP_MS);
    bool known = answer != NULL && answer->status != RESOLVE_FAILED;
    if (known) {
        tlsrpt_record_read(answer->records, answer->count, &note->record);
        note->asked = true;
    }
    resolve_answer_free(answer);
    return known;
}

static void try_later(struct tlsrpt *tlsrpt, struct note *note)
{
    struct mailer *mailer = tlsrpt->mailer;
    note->tries++;
    (void)pthread_rwlock_rdlock(&mailer->judging);
    struct policy policy = mailer->policy;
    (void)pthread_rwlock_unlock(&mailer->judging);
    note->next_ms = clock_wall_ms() + policy_retry_delay_ms(&policy, (int)MIN_OF(note->tries, 30u), (uint64_t)note->day);
}

/* To every place that has not had it. */
static void send_report(struct tlsrpt *tlsrpt, struct storage_reader *reader, struct note *note)
{
    const struct tlsrpt_head head = {
        .day = note->day, .domain = note->domain, .submitter = tlsrpt->submitter, .contact = tlsrpt->contact};
    struct buffer gzip = BUFFER_INIT(GZIP_BYTES);
    struct error err = {""};
    int r = compose(reader, &head, &gzip, &err);
    for (size_t i = 0; r == 0 && i < note->record.count && !atomic_load(&tlsrpt->ending); i++) {
        const struct tlsrpt_place *place = &note->record.places[i];
        struct letter *letter = NULL;
        if (note->states[i] != PLACE_OPEN)
            continue;
        if (!place->mail) {
            note->states[i] = post(tlsrpt, note, place, &gzip) ? PLACE_DONE : PLACE_OPEN;
            continue;
        }
        r = letter_make(tlsrpt->mailer, reader, &head, place->uri, &gzip, &letter, &err);
        if (r == 0)
            send_mail(tlsrpt, note, i, letter);
    }
    if (r != 0)
        log_warn("tlsrpt", "report=%s not-made reason=%s", note->domain, LOG_QUOTE(err.text));
    buffer_finish(&gzip);
    try_later(tlsrpt, note);
}

static bool is_done(struct tlsrpt *tlsrpt, const struct note *note, bool *out)
{
    bool done = true;
    (void)pthread_mutex_lock(&tlsrpt->lock);
    *out = note->out > 0;
    for (size_t i = 0; i < note->record.count; i++)
        done = done && note->states[i] == PLACE_DONE;
    (void)pthread_mutex_unlock(&tlsrpt->lock);
    return done && !*out;
}

static bool has_room(struct tlsrpt *tlsrpt)
{
    (void)pthread_mutex_lock(&tlsrpt->lock);
    bool room = tlsrpt->out + TLSRPT_PLACES_MAX <= OUT_MAX;
    (void)pthread_mutex_unlock(&tlsrpt->lock);
    return room;
}

static void attend(struct tlsrpt *tlsrpt, struct storage_reader *reader, struct note *note)
{
    bool out = false;
    if (note->asked && is_done(tlsrpt, note, &out)) {
        forget(tlsrpt, note, note->record.count > 0 ? "reported" : "no report is wanted");
        return;
    }
    if (out || clock_wall_ms() < note->next_ms || !has_room(tlsrpt))
        return;
    if (note->day + 1 < today()) {
        forget(tlsrpt, note, "too late");
    } else if (!note->asked && !ask(tlsrpt, note)) {
        try_later(tlsrpt, note);
    } else if (note->record.count > 0) {
        send_report(tlsrpt, reader, note);
    } /* else the next turn forgets it */
}

/* ---- the thread ---- */

static void flush(struct tlsrpt *tlsrpt)
{
    struct error err = {""};
    if (session_tally_flush(tlsrpt->tally, tlsrpt->mailer->storage, &err) != 0)
        log_warn("tlsrpt", "counts-not-saved reason=%s", LOG_QUOTE(err.text));
    uint64_t lost = session_tally_lost(tlsrpt->tally);
    if (lost > tlsrpt->lost_told)
        log_warn("tlsrpt", "sessions-not-counted count=%llu reason=\"too many domains\"",
                 (unsigned long long)(lost - tlsrpt->lost_told));
    tlsrpt->lost_told = lost;
}

/* Days that are over, into notes; of older ones nothing is kept. */
static void look(struct tlsrpt *tlsrpt)
{
    struct storage_reader *reader = NULL;
    struct error err = {""};
    int r = storage_tls_forget(tlsrpt->mailer->storage, today() - 1, NULL, &err);
    if (r == 0)
        r = storage_reader_open(tlsrpt->mailer->storage, &reader, &err);
    if (r == 0)
        r = storage_tls_domains(reader, take_note, tlsrpt, &err);
    if (r != 0)
        log_warn("tlsrpt", "not-looked reason=%s", LOG_QUOTE(err.text));
    storage_reader_close(reader);
    const struct engine_release late = {.group = GROUP, .waiting_ms = WAIT_MS};
    engine_release(tlsrpt->mailer->engine, &late);
}

/* As many as there is time for: receivers and name servers that are slow must not hold up the counts. */
static void serve(struct tlsrpt *tlsrpt)
{
    struct storage_reader *reader = NULL;
    struct error err = {""};
    if (list_empty(&tlsrpt->notes) || storage_reader_open(tlsrpt->mailer->storage, &reader, &err) != 0)
        return;
    if (find_submitter(tlsrpt, reader)) {
        int64_t until_ms = clock_monotonic_ms() + FLUSH_MS;
        for (size_t left = tlsrpt->by_name.count;
             left > 0 && !atomic_load(&tlsrpt->ending) && clock_monotonic_ms() < until_ms; left--) {
            struct note *note = list_entry(tlsrpt->notes.next, struct note, node);
            list_remove(&note->node); /* to the end: the next turn goes on behind it */
            list_append(&tlsrpt->notes, &note->node);
            attend(tlsrpt, reader, note);
        }
    }
    storage_reader_close(reader);
}

/* True: the end has come. */
static bool wait_a_tick(struct tlsrpt *tlsrpt)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += TICK_MS / 1000;
    (void)pthread_mutex_lock(&tlsrpt->lock);
    if (!atomic_load(&tlsrpt->ending))
        (void)pthread_cond_timedwait(&tlsrpt->wake, &tlsrpt->lock, &until);
    (void)pthread_mutex_unlock(&tlsrpt->lock);
    return atomic_load(&tlsrpt->ending);
}

static void *run(void *context)
{
    struct tlsrpt *tlsrpt = context;
    int64_t flush_ms = clock_monotonic_ms() + FLUSH_MS, look_ms = clock_monotonic_ms();
    int64_t day = 0;
    pthread_setname_np(pthread_self(), "tlsrpt");
    do {
        int64_t now_ms = clock_monotonic_ms();
        if (now_ms >= flush_ms) {
            flush(tlsrpt);
            flush_ms = now_ms + FLUSH_MS;
        }
        if (now_ms >= look_ms || day != today()) {
            flush(tlsrpt); /* what was counted before midnight belongs to the day that is over */
            look(tlsrpt);
            look_ms = now_ms + ROUND_MS;
            day = today();
        }
        serve(tlsrpt);
    } while (!wait_a_tick(tlsrpt));
    return NULL;
}

static int know_domain(void *context, int64_t day, const char *domain, int64_t rows)
{
    struct tlsrpt *tlsrpt = context;
    if (day == today())
        session_tally_know(tlsrpt->tally, day, domain, rows);
    return 0;
}

int tlsrpt_create(struct mailer *mailer, struct tlsrpt **out, struct error *err)
{
    pthread_condattr_t monotonic;
    struct storage_reader *reader = NULL;
    struct tlsrpt *tlsrpt = calloc(1, sizeof *tlsrpt);
    *out = NULL;
    if (tlsrpt == NULL)
        return error_memory(err);
    tlsrpt->mailer = mailer;
    tlsrpt->by_name = HASHMAP_INIT;
    list_init(&tlsrpt->notes);
    assure(pthread_mutex_init(&tlsrpt->lock, NULL) == 0 && pthread_condattr_init(&monotonic) == 0);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    assure(pthread_cond_init(&tlsrpt->wake, &monotonic) == 0);
    (void)pthread_condattr_destroy(&monotonic);
    tlsrpt->tally = session_tally_create();
    int r = tlsrpt->tally != NULL ? storage_reader_open(mailer->storage, &reader, err) : error_memory(err);
    if (r == 0)
        r = storage_tls_domains(reader, know_domain, tlsrpt, err);
    storage_reader_close(reader);
    if (r != 0) {
        tlsrpt_free(tlsrpt);
        return r;
    }
    *out = tlsrpt;
    return 0;
}

int tlsrpt_start(struct tlsrpt *tlsrpt, struct error *err)
{
    sigset_t all, before;
    if (tlsrpt == NULL)
        return 0;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int code = pthread_create(&tlsrpt->thread, NULL, run, tlsrpt);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    tlsrpt->started = code == 0;
    return code == 0 ? 0 : error_errno(err, -code, "cannot start a thread");
}

void tlsrpt_halt(struct tlsrpt *tlsrpt)
{
    if (tlsrpt == NULL || !tlsrpt->started)
        return;
    (void)pthread_mutex_lock(&tlsrpt->lock);
    atomic_store(&tlsrpt->ending, true);
    (void)pthread_cond_signal(&tlsrpt->wake);
    (void)pthread_mutex_unlock(&tlsrpt->lock);
    (void)pthread_join(tlsrpt->thread, NULL);
    tlsrpt->started = false;
}

void tlsrpt_free(struct tlsrpt *tlsrpt)
{
    if (tlsrpt == NULL)
        return;
    assure(!tlsrpt->started && tlsrpt->out == 0);
    if (tlsrpt->tally != NULL)
        flush(tlsrpt);
    while (!list_empty(&tlsrpt->notes))
        note_free(list_entry(tlsrpt->notes.next, struct note, node));
    hashmap_finish(&tlsrpt->by_name);
    session_tally_free(tlsrpt->tally);
    (void)pthread_cond_destroy(&tlsrpt->wake);
    (void)pthread_mutex_destroy(&tlsrpt->lock);
    free(tlsrpt);
}
