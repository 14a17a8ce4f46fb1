"""A token of ours for what is not there any more, and one that another key made."""
import sqlite3

from conftest import add_up, emails, run_to_end
from test_bounce import HARD, complaint, ingest, report, sent, suppressions


def test_unknown_campaigns_and_other_keys(place):
    sink = place.sink(store=True)
    config = "bounces { complaint_dkim = false }\n"
    server, other = place.server(sink, config=config), place.server(sink, config=config)
    people = emails(3, ["one.test"])
    for one in (server, other):
        place.people(one, people)
    campaign = server.create_campaign()
    run_to_end(server, campaign)
    paths = [sent(sink, who)[1] for who in people]
    run_to_end(other, other.create_campaign())  # the same campaign number, the same people, a key of its own: as after a change of keys
    foreign, foreign_path = sent(sink, people[0])
    for mail in (report(people[0], HARD, to=foreign_path), report(people[0], HARD, message_id=foreign["Message-ID"]), complaint(mail_from=foreign_path)):
        summary = ingest(server, mail)
        assert summary["no_token"] == 1 and summary["bounced"] == summary["complained"] == summary["suppressed"] == 0, summary
    server.stop()
    with sqlite3.connect(server.data_dir / "posthaste.db") as database:
        database.execute("DELETE FROM delivery WHERE recipient_id = (SELECT id FROM recipient WHERE email = ?)", (people[1],))  # as retention does
        database.execute("DELETE FROM recipient WHERE email = ?", (people[2],))
    for mail in (report(people[2], HARD, to=paths[2]), complaint(mail_from=paths[2])):
        summary = ingest(server, mail)
        assert summary["unknown"] == 1 and summary["suppressed"] == 0, summary
    summary = ingest(server, report(people[1], HARD, to=paths[1]))  # what is known of the address outlives the delivery
    assert summary["unknown"] == summary["bounced"] == 0 and summary["suppressed"] == 1, summary
    server.start()
    assert set(suppressions(server)) == {people[1]}
    assert ingest(server, report(people[0], HARD, to=paths[0]))["bounced"] == 1
    assert add_up(server.stats(campaign))["bounced"] == 1


def test_a_retired_key_proves_nothing(place):
    sink = place.sink(store=True)
    server = place.server(sink, config="bounces { complaint_dkim = false }\n")
    people = emails(2, ["one.test"])
    place.people(server, people)
    campaign = server.create_campaign()
    run_to_end(server, campaign)
    (message, path), other_path = sent(sink, people[0]), sent(sink, people[1])[1]
    server.cli("link-key", "rotate")
    assert ingest(server, report(people[1], HARD, to=other_path))["bounced"] == 1  # an old key goes on proving
    server.cli("link-key", "retire", 0, "--force")
    for mail in (report(people[0], HARD, to=path), report(people[0], HARD, message_id=message["Message-ID"]), complaint(mail_from=path)):
        summary = ingest(server, mail)
        assert summary["no_token"] == 1 and summary["bounced"] == summary["complained"] == summary["suppressed"] == 0, summary
    assert add_up(server.stats(campaign))["bounced"] == 1
    assert set(suppressions(server)) == {people[1]}
