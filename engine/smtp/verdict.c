/*
 * verdict.c - reply codes to verdicts, by table and a few exceptions.
 */
#include "engine/smtp/verdict.h"

static const struct {
    const char *name;
    enum outcome_stage stage;
} steps[STEP_COUNT] = {
    [STEP_GREETING] = {"greeting", STAGE_GREETING},
    [STEP_EHLO] = {"EHLO", STAGE_EHLO},
    [STEP_HELO] = {"HELO", STAGE_EHLO},
    [STEP_STARTTLS] = {"STARTTLS", STAGE_TLS},
    [STEP_AUTH] = {"AUTH", STAGE_AUTH},
    [STEP_RSET] = {"RSET", STAGE_MAIL},
    [STEP_MAIL] = {"MAIL", STAGE_MAIL},
    [STEP_RCPT] = {"RCPT", STAGE_RCPT},
    [STEP_DATA] = {"DATA", STAGE_DATA},
    [STEP_BDAT] = {"BDAT", STAGE_CONTENT},
    [STEP_CONTENT] = {"end of content", STAGE_CONTENT},
    [STEP_QUIT] = {"QUIT", STAGE_NONE},
};

enum outcome_stage verdict_stage(enum smtp_step step)
{
    return steps[step].stage;
}

const char *verdict_step_name(enum smtp_step step)
{
    return steps[step].name;
}

static enum verdict verdict_positive(enum smtp_step step, uint16_t code)
{
    if (step == STEP_GREETING)
        return code == 220 ? VERDICT_OK : VERDICT_SENSELESS;
    if (step == STEP_QUIT)
        return VERDICT_OK;
    if (step == STEP_STARTTLS)
        return code == 220 ? VERDICT_OK : VERDICT_SENSELESS;
    if (step == STEP_AUTH)
        return code == 235 ? VERDICT_OK : VERDICT_SENSELESS;
    /* 220 and 221 belong to the ends of a connection, 2xx never to DATA. */
    return step == STEP_DATA || code == 220 || code == 221 ? VERDICT_SENSELESS : VERDICT_OK;
}

enum verdict verdict_of(enum smtp_step step, uint16_t code)
{
    if (code == 421)
        return VERDICT_CLOSING;
    bool unknown = code == 500 || code == 502 || code == 504;
    switch (code / 100) {
    case 2:
        return verdict_positive(step, code);
    case 3:
        if (step == STEP_AUTH && code == 334)
            return VERDICT_MORE;
        return step == STEP_DATA && code == 354 ? VERDICT_OK : VERDICT_SENSELESS;
    case 4:
        return VERDICT_TEMPORARY;
    case 5:
        if (unknown && (step == STEP_EHLO || step == STEP_BDAT))
            return VERDICT_UNKNOWN;
        if (code == 503 && step >= STEP_RSET && step != STEP_QUIT)
            return VERDICT_SENSELESS;
        return VERDICT_PERMANENT;
    default:
        return VERDICT_SENSELESS;
    }
}
