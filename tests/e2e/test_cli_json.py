"""--json: every command of the table that prints anything prints JSON with it, and nothing but JSON."""
import json

from conftest import emails, run_to_end

REPORT = "From: a@b.test\nSubject: nothing of ours\n\nHello\n"


def scene(place):
    server = place.server(place.sink())
    place.people(server, emails(3, ["one.test"]))
    files = {"people.csv": "email,name\nann@one.test,Ann\n", "gone.csv": "gone@one.test\n", "footer.html": "<p>Bye</p>", "mail.eml": REPORT}
    for name, text in files.items():
        (place.folder / name).write_text(text)
    run_to_end(server, server.create_campaign(track={"clicks": True}))  # campaign 1
    server.create_campaign(launch=False)  # 2
    server.create_campaign(launch=False)  # 3
    server.create_campaign(launch=False, ab={"share": 50, "variants": [{}, {"subject": "B"}], "winner": "manual"}, lists=["news"])  # 4
    return server


def test_every_command(place):
    server = scene(place)
    folder = place.folder
    # In an order in which each finds what it needs. None: prints nothing, and is no matter for a program.
    words = {
        "help": ["campaign", "create"], "version": [], "config check": [], "config show": [], "completion bash": [], "completion zsh": [],
        "list": [], "list create": ["more"], "list show": ["news"], "list delete": ["more"], "import": ["--list", "news", folder / "people.csv"],
        "recipient show": ["person0@one.test"], "campaign create": ["--name", "x", "--list", "news", "--from", "news@sender.test", "--subject", "s", "--text", folder / "footer.html"],
        "campaign list": [], "campaign show": ["1"], "campaign stats": ["1"], "campaign watch": ["1"], "campaign preview": ["1"], "campaign links": ["1"],
        "campaign winner": ["4", "1"], "campaign test": ["2", "--to", "me@one.test"], "campaign launch": ["2"], "campaign pause": ["3"], "campaign resume": ["3"], "campaign cancel": ["3"],
        "snippet set": ["footer", folder / "footer.html"], "snippet list": [], "snippet show": ["footer"], "snippet delete": ["footer"],
        "domain add": ["other.test"], "domain list": [], "domain show": ["sender.test"], "domain check": ["sender.test"], "domain rotate": ["sender.test"],
        "link-key list": [], "link-key rotate": [], "link-key retire": ["0", "--force"],
        "suppress add": ["bad@one.test"], "suppress list": [], "suppress import": [folder / "gone.csv"], "suppress export": [folder / "out.csv"], "suppress remove": ["bad@one.test"],
        "bounce ingest": [folder / "mail.eml"], "bounce classify": ["550 5.1.1 no such user"], "token create": ["--name", "x"], "token list": [], "token revoke": ["1"],
        "webhook add": ["https://hooks.example.com/x"], "webhook list": [], "webhook show": ["1"], "webhook disable": ["1"], "webhook enable": ["1"], "webhook rotate": ["1"],
        "webhook replay": ["1", "1h"], "webhook remove": ["1"], "status": [], "top": [], "site show": [], "site explain": ["one.test"],
        "site suspend": ["one.test"], "site suspensions": [], "site resume": ["one.test"], "source show": [], "db check": ["--quick"], "db backup": [folder / "copy.db"],
        "db vacuum": [], "serve": None, "completion words": None,
    }
    refuses = {"campaign pause", "campaign resume", "domain check", "campaign winner", "domain rotate", "db vacuum"}  # may end with 1, and then say why
    table = {row["command"] for row in server.cli_json("help")["commands"]}
    assert set(words) == table, "a command without a call here, or a call without a command: %r" % (set(words) ^ table)
    for command, rest in words.items():
        if rest is None:
            continue
        if command == "db vacuum":
            server.stop()
        done = server.cli(*command.split(), *rest, "--json", check=False)
        assert done.returncode == 0 or (command in refuses and done.returncode == 1 and (done.stderr or done.stdout)), (command, done)
        if done.stdout or done.returncode == 0:
            assert [json.loads(line) for line in done.stdout.splitlines()] if command == "campaign watch" else json.loads(done.stdout) is not None, (command, done)
        assert "\x1b" not in done.stdout + done.stderr
    assert (folder / "out.csv").read_text().count("\n") >= 2
