"""Errors of the configuration name file, line and key, and nothing is started or made with a wrong one."""
import pathlib
import socket
import subprocess

import pytest

from harness import PROGRAM, ROOT

CASES = {
    "unknown key": ('hostname = "a.test"\nhostnam = "b.test"\n', 2, "hostnam"),
    "unknown key in a section": ('profile "default" {\n  conections = 3\n}\n', 2, "conections"),
    "unknown section": ('hostname = "a.test"\nrout "*" { host = "127.0.0.1" }\n', 2, "rout"),
    "text where a number is wanted": ('profile "default" {\n\n connections = "many"\n}\n', 3, "connections"),
    "rate without a unit": ('\nprofile "default" { rate = "fast" }\n', 2, "rate"),
    "port out of range": ('route "*" {\n host = "127.0.0.1"\n port = 70000\n}\n', 3, "port"),
    "listen without a port": ('data_dir = "x"\nlisten = "127.0.0.1"\n', 2, "listen"),
    "unknown tls": ('route "*" { host = "127.0.0.1"\n tls = "sometimes" }\n', 2, "tls"),
    "duration without a unit": ('retry {\n first = "300"\n}\n', 2, "first"),
    "no connections at all": ('profile "default" {\n connections = 0\n}\n', 2, "connections"),
    "pool of a source that is not there": ('source "ip1" { address = "127.0.0.1" }\npool "default" { sources = { "ip2" } }\n', 2, "ip2"),
    "the same title twice": ('domain "a.test" { rate = "1/s" }\ndomain "a.test" { rate = "2/s" }\n', 2, "a.test"),
    "unclosed brace": ('profile "default" {\n connections = 3\n', None, "posthaste.conf"),
    "unclosed text": ('hostname = "a.test\n', None, "posthaste.conf"),
    "wrong on_uncertain": ('on_uncertain = "maybe"\n', 1, "on_uncertain"),
}


def run(folder, *words):
    return subprocess.run([str(PROGRAM), *words], cwd=folder, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("command", [("config", "check"), ("serve",)], ids=["check", "serve"])
def test_an_error_names_file_line_and_key(tmp_path, name, command):
    text, line, key = CASES[name]
    config = tmp_path / "posthaste.conf"
    config.write_text(text)
    done = run(tmp_path, "-c", str(config), *command)
    assert done.returncode == 1, done
    assert str(config) in done.stderr
    assert key in done.stderr
    if line is not None:
        assert "%s:%d:" % (config, line) in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, "one sentence, not a heap"
    assert [path.name for path in tmp_path.iterdir()] == ["posthaste.conf"], "nothing was made"


def test_a_good_one_is_checked_and_shown(tmp_path):
    config = tmp_path / "posthaste.conf"
    config.write_text('hostname = "mta1.test"\nprofile "default" { rate = "5000/d" connections = 3 }\n')
    assert run(tmp_path, "-c", str(config), "config", "check").returncode == 0
    shown = run(tmp_path, "-c", str(config), "config", "show")
    assert shown.returncode == 0
    # What is shown is a configuration that says the same.
    again = tmp_path / "again.conf"
    again.write_text(shown.stdout)
    assert run(tmp_path, "-c", str(again), "config", "show").stdout == shown.stdout
    assert "5000/d" in shown.stdout and "mta1.test" in shown.stdout


def test_the_file_of_the_working_directory_is_found(tmp_path):
    (tmp_path / "posthaste.conf").write_text('hostname = "found.test"\n')
    assert "found.test" in run(tmp_path, "config", "show").stdout


def test_a_given_file_that_is_missing(tmp_path):
    done = run(tmp_path, "-c", str(tmp_path / "none.conf"), "config", "check")
    assert done.returncode == 1
    assert "none.conf" in done.stderr


FILES = {
    "authorities": ('tls_ca_file = "%s"', ["tls_ca_file"]),
    "certificate": ('tls_cert = "%s"\ntls_key = "%s"', ["tls_cert"]),
    "listener's certificate": ('bounces { listen = "127.0.0.1:0"  domain = "b.test"  tls_cert = "%s"  tls_key = "%s" }', []),
    "trust anchor": ('dns { trust_anchor = "%s" }', ["trust_anchor"]),
    "password": ('route "*" { host = "127.0.0.1"  tls = "required"  user = "u"  password_file = "%s" }', ["route"]),
    "event log": ('events { log = "%s" }', ["events", "log"]),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("command", [("config", "check"), ("serve",)], ids=["check", "serve"])
def test_a_file_that_is_named_and_not_there(tmp_path, name, command):
    """A mistyped name must not become mail without TLS, or a server that does not come back after the night's update."""
    text, words = FILES[name]
    missing = str(tmp_path / "none" / "file")
    (tmp_path / "posthaste.conf").write_text('data_dir = "data"\nlisten = "127.0.0.1:0"\n%s\n' % text.replace("%s", missing))
    done = run(tmp_path, *command)
    assert done.returncode == 1, done
    for word in words + [missing]:
        assert word in done.stderr, done.stderr


@pytest.mark.parametrize("name", ["authorities", "certificate", "listener's certificate", "trust anchor"])
@pytest.mark.parametrize("command", [("config", "check"), ("serve",)], ids=["check", "serve"])
def test_a_file_that_is_named_and_something_else(tmp_path, name, command):
    other = tmp_path / "other"
    other.write_text("(hello\n")
    (tmp_path / "posthaste.conf").write_text('data_dir = "data"\nlisten = "127.0.0.1:0"\n%s\n' % FILES[name][0].replace("%s", str(other)))
    done = run(tmp_path, *command)
    assert done.returncode == 1, done
    assert str(other) in done.stderr


@pytest.mark.parametrize("command", [("config", "check"), ("serve",)], ids=["check", "serve"])
def test_an_event_log_that_is_no_file(tmp_path, command):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "socket"))
    for path in ("folder", "socket", "file/", "none/"):
        (tmp_path / "posthaste.conf").write_text('data_dir = "data"\nlisten = "127.0.0.1:0"\nevents { log = "%s" }\n' % path)
        done = run(tmp_path, *command)
        assert done.returncode == 1 and "events: log: cannot open %s" % path in done.stderr, done


def test_every_file_that_is_wrong_is_told(tmp_path):
    (tmp_path / "posthaste.conf").write_text("".join(FILES[name][0].replace("%s", "/none/" + name.replace(" ", "-")) + "\n" for name in ("authorities", "trust anchor", "event log")))
    done = run(tmp_path, "config", "check")
    assert done.returncode == 1 and done.stdout == ""
    for word in ("/none/authorities", "/none/trust-anchor", "/none/event-log"):
        assert word in done.stderr, done.stderr
    (tmp_path / "log").mkdir()
    (tmp_path / "posthaste.conf").write_text('events { log = "log/events" }\n')
    assert run(tmp_path, "config", "check").returncode == 0
    assert not list((tmp_path / "log").iterdir()), "looking makes nothing"
    (tmp_path / "log" / "events").write_text("{}\n")
    assert run(tmp_path, "config", "check").returncode == 0
    assert (tmp_path / "log" / "events").read_text() == "{}\n", "nor changes it"


def test_port_in_use(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "serve.lock").symlink_to("/dev/null")  # nobody can tell from it whether a server runs
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = "127.0.0.1:%d" % taken.getsockname()[1]
        (tmp_path / "posthaste.conf").write_text('data_dir = "data"\nlisten = "%s"\n' % address)
        done = run(tmp_path, "serve")
    assert done.returncode == 1
    assert address in done.stderr and "in use by another program" in done.stderr and "another server" not in done.stderr


def test_data_dir_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("in the way")
    for data_dir in ("file", "file/data", "/proc/posthaste"):
        (tmp_path / "posthaste.conf").write_text('data_dir = "%s"\nlisten = "127.0.0.1:0"\n' % data_dir)
        done = run(tmp_path, "serve")
        assert done.returncode == 1, data_dir
        assert data_dir in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_a_second_server_on_the_same_data(place):
    server = place.server(place.sink())
    done = server.cli("serve", check=False, timeout_s=30)
    assert done.returncode == 1
    assert str(server.data_dir) in done.stderr
    assert server.api.get("/healthz").status == 200


def test_a_database_that_is_none(tmp_path):
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    (data / "posthaste.db").write_bytes(b"this is not a database, and never was one\n" * 100)
    (tmp_path / "posthaste.conf").write_text('data_dir = "data"\nlisten = "127.0.0.1:0"\n')
    for words in (("serve",), ("list",), ("token", "list")):
        done = run(tmp_path, *words)
        assert done.returncode == 1, words
        assert "posthaste.db" in done.stderr and "database" in done.stderr, done.stderr


def test_the_sample_of_the_readme_is_valid(tmp_path):
    """What people copy must work."""
    readme = (pathlib.Path(ROOT) / "README.md").read_text()
    blocks = [block for block in readme.split("```")[1::2] if "data_dir" in block and "profile" in block]
    assert blocks, "the README shows a configuration"
    for block in blocks:
        config = tmp_path / "readme.conf"
        config.write_text(block.lstrip("\n") if block.startswith("\n") else block.partition("\n")[2])
        done = run(tmp_path, "-c", str(config), "config", "check")
        assert done.returncode == 0, done.stderr
