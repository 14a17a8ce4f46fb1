/*
 * list_name.h - what a new list may be called. Lists that are there keep their names, and are found by them.
 */
#ifndef POSTHASTE_API_LIST_NAME_H
#define POSTHASTE_API_LIST_NAME_H

#define LIST_NAME_MAX_BYTES 200

/* NULL, or why it may not: goes behind "a list's name". */
const char *list_name_problem(const char *name);

#endif
