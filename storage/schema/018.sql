-- To whom a message went that retention has removed (`id`, `created`: as in `message`): its tokens unsubscribe and report for as long as links are kept.
CREATE TABLE message_gone (
    id INTEGER PRIMARY KEY,
    recipient_id INTEGER NOT NULL,
    created INTEGER NOT NULL
) STRICT;
