/*
 * content_head.h - the header fields that are the same for all recipients; private to campaign/message/.
 */
#ifndef POSTHASTE_CAMPAIGN_MESSAGE_CONTENT_HEAD_H
#define POSTHASTE_CAMPAIGN_MESSAGE_CONTENT_HEAD_H

#include "campaign/message/content.h"

/* Writes content->head of a content that is otherwise complete, and takes from its fields those that are constant.
 * `tag`: the first of the campaign's, or NULL; reply_to->at = 0: none. 0 or -ENOMEM. */
int content_write_head(struct content *content, const struct content_options *options, const char *tag,
                       const struct address *reply_to, struct error *err) ATTR_MUSTCHECK;

#endif
