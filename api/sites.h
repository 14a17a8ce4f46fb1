/*
 * sites.h - the busiest sites of the engine. There may be hundreds of thousands; nobody looks at more than a page.
 */
#ifndef POSTHASTE_API_SITES_H
#define POSTHASTE_API_SITES_H

#include <jansson.h>

#include "engine/engine.h"

#define SITES_MAX 1000

/*
 * Up to `limit` (1..SITES_MAX) sites as view_site(), busiest first (most waiting and in flight, then most delivered),
 * and the totals. `only` (may be NULL) asks for one site by name. 0, or what engine_sites() gave; *out is an array, to
 * be released by the caller.
 */
int sites_busiest(struct engine *engine, const char *only, int limit, json_t **out, struct engine_totals *totals,
                  struct error *err) ATTR_MUSTCHECK;

/*
 * The site of this name, or that serves the recipient domain of this name, as view_site() with "explanation", an array
 * of sentences. Of several (a domain's old and new site) the busiest. 0: *out is the caller's, or NULL: there is none.
 * Else what engine_explain() gave.
 */
int site_explained(struct engine *engine, const char *name, json_t **out, struct error *err) ATTR_MUSTCHECK;

/* The totals alone. */
int sites_totals(struct engine *engine, struct engine_totals *totals) ATTR_MUSTCHECK;

#endif
