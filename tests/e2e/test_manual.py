"""The manual pages against the tables that the program itself goes by: every command, option and key with its default, and nothing else."""
import json
import re
import subprocess

import pytest

from harness import PROGRAM, ROOT

COMMANDS_PAGE, CONFIG_PAGE = ROOT / "docs" / "posthaste.1", ROOT / "docs" / "posthaste.conf.5"
# One of each section that has a title, with what it requires.
ONE_OF_EACH = """route "a.example" { host = "h.example" }
source "ip1" { address = "192.0.2.1" }
pool "default" { sources = { "ip1" } }
warmup "ip1" { start = "200/d" }
domain "d.example" { }
sending_domain "s.example" { }
profiles = "none"
"""
# Depends on the machine, is required, or is said in words.
NO_DEFAULT = {"hostname", "loops", "compose_threads", "keep_deliveries", "route.host", "source.address", "source.weight", "pool.sources", "warmup.start", "public_url"}


def program(*words, folder=None):
    done = subprocess.run([PROGRAM, *words], capture_output=True, text=True, timeout=60, cwd=folder)
    assert done.returncode == 0, done
    return done.stdout


@pytest.mark.parametrize("page", [COMMANDS_PAGE, CONFIG_PAGE], ids=lambda page: page.name)
def test_the_pages_are_well_formed(page):
    found = subprocess.run(["mandoc", "-Tlint", "-Wwarning", page], capture_output=True, text=True, timeout=60)
    assert not found.stdout + found.stderr


def sections(text, macro):
    """What stands below each heading: {heading: lines}."""
    parts = re.split(r"^\.%s (.*)\n" % macro, text, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


def flags(text):
    return re.findall(r"^\.It (?:Fl \S , )?Fl Fl (\S+)", text, re.M)


def test_every_command_and_option_and_nothing_else(tmp_path):
    table = json.loads(program("help", "--json", folder=tmp_path))
    assert COMMANDS_PAGE.read_text() == program("help", "--mdoc", folder=tmp_path), "make it anew: posthaste help --mdoc >docs/posthaste.1"
    page = sections(sections(COMMANDS_PAGE.read_text(), "Sh")["COMMANDS"], "Ss")
    commands = {("posthaste %s %s" % (row["command"], row["arguments"])).strip(): row for row in table["commands"]}
    assert list(page) == list(commands)
    common = [option["name"] for option in table["options"]]
    assert flags(sections(COMMANDS_PAGE.read_text(), "Sh")["DESCRIPTION"]) == common
    overview = program("help", folder=tmp_path)
    for heading, row in commands.items():
        options = [option["name"] for option in row["options"]]
        assert flags(page[heading]) == options, heading
        text = program("help", *row["command"].split(), folder=tmp_path)
        assert re.findall(r"^ {2}(?:-\S, |    )--(\S+)", text, re.M) == options + common, text
        assert row["summary"] in text and row["summary"] in overview


def config_table():
    """{section: [key]} out of the table that the reader of the configuration goes by; "" is the top."""
    text = (ROOT / "base" / "config_keys.c").read_text()
    keys = {name: re.findall(r"^ {4}\{\"(\w+)\",", body, re.M) for name, body in re.findall(r"^static const struct config_key (\w+)\[\] = \{\n(.*?)^\};", text, re.M | re.S)}
    table = {(name or "").strip('"').replace("NULL", ""): keys[variable] for name, variable in re.findall(r"^ {4}\{(NULL|\"\w+\"), (\w+_keys), countof", text, re.M)}
    assert len(table) > 10 and all(table.values())
    return table


def config_page():
    """{section: {key: text of its entry}} out of the manual page."""
    text = CONFIG_PAGE.read_text()
    settings, below = re.search(r"^\.Sh SETTINGS\n(.*?)^(\.Ss .*?)^\.Sh", text, re.M | re.S).groups()
    found = {"": {}}
    for head, entry in re.findall(r"^\.It Cm (.*)\n((?:(?!\.It|\.El).*\n)*)", settings, re.M):
        group = re.fullmatch(r"(\w+) \{ (.*) \}", head)
        if group:
            found[group[1]] = {key: entry for key in group[2].split()}
        else:
            found[""].update({key: entry for key in re.findall(r"\w+", head)})
    for heading, body in sections(below, "Ss").items():
        intro, _, entries = body.partition(".Bl ")
        found[heading.split()[0]] = {key: intro for line in re.findall(r"^\.Cm (.*)", intro, re.M) for key in re.findall(r"\w+", line)}
        for head, entry in re.findall(r"^\.It Cm (.*)\n((?:(?!\.It|\.El).*\n)*)", entries, re.M):
            found[heading.split()[0]].update({key: entry for key in re.findall(r"\w+", head.replace("Cm ", ""))})
    return found


def config_defaults(folder):
    """{section: {key: default}} as `config show` prints them."""
    (folder / "posthaste.conf").write_text(ONE_OF_EACH)
    found, section = {"": {}}, ""
    for line in program("config", "show", folder=folder).splitlines():
        if head := re.match(r"(\w+)(?: \".*\")? \{", line):
            section = head[1]
            found[section] = {}
        elif line == "}":
            section = ""
        elif entry := re.match(r" *(\w+) = \"?([^\"{]+)\"?$", line):
            found[section][entry[1]] = entry[2]
    return found


def test_every_key_with_its_default_and_nothing_else(tmp_path):
    table, page = config_table(), config_page()
    assert {name: sorted(keys) for name, keys in page.items()} == {name: sorted(keys) for name, keys in table.items()}
    for section, defaults in config_defaults(tmp_path).items():
        for key, default in defaults.items():
            if default in ("", "unlimited", "false") or {key, "%s.%s" % (section, key)} & NO_DEFAULT:
                continue
            default = re.sub(r"\.?0+%$", "%", default)
            same = {"1min": "60s", "0ms": "0"}.get(default, default)
            assert re.search(r"(?<![\w.])(%s|%s)(?![\w])" % (re.escape(default), same), page[section][key]), "%s { %s }: the page does not say %s" % (section, key, default)


def test_the_keys_that_a_reload_leaves_alone():
    text = (ROOT / "base" / "config_keys.c").read_text()
    fixed = {}
    for section, variable in re.findall(r"^ {4}\{(NULL|\"\w+\"), (\w+_keys), countof", text, re.M):
        body = re.search(r"config_key %s\[\] = \{\n(.*?)^\};" % variable, text, re.M | re.S)[1]
        keys = [row[1] for row in re.finditer(r"\{\"(\w+)\",[^{}]*\}", body) if ".fixed = true" in row[0]]
        if keys:
            fixed["at the top" if section == "NULL" else section.strip('"')] = sorted(keys)
    page = re.search(r"^\.Sh RELOADING\n(.*?)^\.Sh", CONFIG_PAGE.read_text(), re.M | re.S)[1]
    assert {head: sorted(re.findall(r"\w+", keys)) for head, keys in re.findall(r"^\.It (.*)\n\.Cm (.*)\n", page, re.M)} == fixed
