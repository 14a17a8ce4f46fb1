"""The command line as a person has it: colours where they are wanted and nowhere else, pictures that fit, a terminal that is whole afterwards."""
import re
import signal

import pytest

from conftest import emails, run_until
from ptylib import Terminal, cells, plain

FRAME = "\x1b[H"


def command(server, *words):
    return (server.program, "-c", server.config, *words)


def last_frame(terminal):
    """The newest whole picture of top, as lines."""
    frames = terminal.text.split(FRAME)
    return plain(frames[-2]).replace("\r", "").split("\n") if len(frames) > 2 else []


@pytest.fixture
def scene(place):
    sink = place.sink()
    server = place.server(sink, profile='rate = "20/s"')
    place.people(server, emails(2000, ["one.test", "two.test"]))
    return server


def test_colours_only_where_they_are_wanted(scene):
    scene.create_campaign(launch=False)
    for words in (("campaign", "list"), ("campaign", "show", "99")):
        with Terminal(*command(scene, *words)) as terminal:
            terminal.end()
            assert "\x1b[" in terminal.text, terminal.text
        for more, env in ((("--no-color",), {}), ((), {"NO_COLOR": "1"}), ((), {"TERM": "dumb"}), ((), {"TERM": ""})):
            with Terminal(*command(scene, *words, *more), env=env) as terminal:
                terminal.end()
                assert terminal.text and "\x1b" not in terminal.text, (more, env, terminal.text)
    piped = scene.cli("campaign", "list", env={"TERM": "xterm"})
    assert "draft" in piped.stdout and "\x1b" not in piped.stdout
    assert scene.cli_json("campaign", "list")


@pytest.mark.sanitize
def test_wide_names_keep_the_columns(place):
    server = place.server(start=False, domain=None)
    names = ["plain", "東京のお客様", "cafe\u0301 cre\u0301me", "Zoë", "👍 yes"]
    for name in names:
        server.cli("list", "create", name, "--description", "|")
    lines = server.cli("list", env={"LC_ALL": "C"}).stdout.splitlines()
    column = {cells(line[:line.index("|")]) for line in lines if "|" in line}
    assert len(column) == 1, lines


def test_top_in_a_window(place, scene):
    campaign = scene.create_campaign(name="東京 " * 20)
    with Terminal(*command(scene, "top"), columns=100, rows=30) as terminal:
        terminal.until("the picture", lambda text: "running" in plain(text) and len(last_frame(terminal)) > 5)
        assert terminal.settings() != terminal.before, "keys are read one by one meanwhile"
        for columns, rows in ((38, 9), (160, 50)):
            terminal.size(columns, rows)
            terminal.forget()
            frame = terminal.until("pictures of the new size", lambda text: text.count(FRAME) > 2 and last_frame(terminal))
            assert len(frame) <= rows + 1 and max(cells(line) for line in frame) <= columns, frame
        scene.kill()
        terminal.until("a word about it", "does not answer now")
        assert "running" in plain(terminal.text), "the last picture stays"
        scene.start()
        terminal.forget()
        terminal.until("the picture again", lambda text: "running" in plain(text.split("does not answer")[-1]) and "q ends it" in plain(text) and "does not answer" not in plain("".join(last_frame(terminal))))
        terminal.type("q")
        assert terminal.end() == 0
        assert terminal.text.rstrip().endswith("\x1b[?25h\x1b[?1049l") and terminal.settings() == terminal.before
    scene.cli("campaign", "cancel", campaign)


@pytest.mark.parametrize("ending", ["ctrl-c", "sigterm", "revoked"])
def test_top_leaves_the_terminal_as_it_was(scene, ending):
    with Terminal(*command(scene, "top"), env={"POSTHASTE_TOKEN": scene.api.token, "POSTHASTE_URL": scene.url}) as terminal:
        terminal.until("the picture", "q ends it")
        if ending == "ctrl-c":
            terminal.type("\x03")
        elif ending == "sigterm":
            terminal.process.send_signal(signal.SIGTERM)
        else:
            scene.cli("token", "revoke", scene.cli_json("token", "list")[-1]["id"])
        assert terminal.end() == (1 if ending == "revoked" else 0)
        assert "\x1b[?1049l" in terminal.text and terminal.settings() == terminal.before
        after = terminal.text.split("\x1b[?1049l")[-1]
        assert ("token" in after) == (ending == "revoked"), after


def test_top_without_a_server(place):
    server = place.server(start=False, domain=None)
    with Terminal(*command(server, "top")) as terminal:
        assert terminal.end() == 1
        assert "posthaste serve" in terminal.text and "\x1b[?1049h" not in terminal.text and terminal.settings() == terminal.before


def test_a_campaign_is_watched_in_a_narrow_window(scene):
    campaign = scene.create_campaign()
    with Terminal(*command(scene, "campaign", "watch", campaign), columns=60) as terminal:
        terminal.until("numbers", lambda text: re.search(r"[1-9]\d* of 2,000", plain(text)))
        scene.stop()
        terminal.until("a word about it", "does not answer; trying again")
        scene.start()
        terminal.forget()
        terminal.until("numbers again", "of 2,000")
        assert all(cells(line) < 60 for line in terminal.text.split("\r")), terminal.text
        terminal.type("\x03")
        assert terminal.end() == -signal.SIGINT and "goes on without being watched" in terminal.text
    run_until(scene, campaign, lambda stats: stats["status"] == "running", "it to go on")
    scene.cli("campaign", "cancel", campaign)


def test_a_mistyped_command_is_told_the_nearest(place):
    server = place.server(start=False, domain=None)
    for words, says in ((("campain", "list"), "campaign"), (("campaign", "lanch"), "campaign launch"), (("import", "--lst", "x", "f.csv"), "--list"), (("stauts",), "status")):
        done = server.cli(*words, check=False)
        assert done.returncode == 2 and "did you mean \"%s\"" % says in done.stderr, done
