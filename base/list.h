/*
 * list.h - intrusive doubly linked list, header-only.
 *
 * The head is a node itself; an unlinked node points at itself. Membership costs no allocation, so it cannot fail.
 */
#ifndef POSTHASTE_BASE_LIST_H
#define POSTHASTE_BASE_LIST_H

#include <stdbool.h>

#include "base/attr.h"

struct list {
    struct list *prev, *next;
};

#define LIST_INIT(head) ((struct list){&(head), &(head)})
#define list_entry(node, type, member) container_of(node, type, member)
#define list_for_each(pos, head) for (struct list *pos = (head)->next; pos != (head); pos = pos->next)
#define list_for_each_safe(pos, head)                                                                                  \
    for (struct list *pos = (head)->next, *pos##_next = pos->next; pos != (head);                                      \
         pos = pos##_next, pos##_next = pos->next)

static inline void list_init(struct list *head)
{
    head->prev = head->next = head;
}
static inline bool list_empty(const struct list *head)
{
    return head->next == head;
}
static inline void list_append(struct list *head, struct list *node)
{
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}
static inline void list_prepend(struct list *head, struct list *node)
{
    list_append(head->next, node);
}
/* Unlinks and re-initialises; harmless on an unlinked, initialised node. */
static inline void list_remove(struct list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    node->prev = node->next = node;
}
/* First node unlinked, or NULL. */
static inline struct list *list_take_first(struct list *head)
{
    if (list_empty(head))
        return NULL;
    struct list *node = head->next;
    list_remove(node);
    return node;
}
/* Moves all nodes of `from` to the end of `to`; `from` is empty after it. */
static inline void list_splice(struct list *to, struct list *from)
{
    if (list_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init(from);
}

#endif
