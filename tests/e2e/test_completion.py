"""Tab, in a real bash and a real zsh."""
import os
import shutil
import subprocess

import pytest

from ptylib import Terminal, plain


@pytest.fixture
def folder(place):
    server = place.server(start=False, domain=None)
    for name in ("news", "Big list"):
        server.cli("list", "create", name)
    place.folder.joinpath("people one.csv").write_text("email\n")
    os.symlink(server.program, place.folder / "posthaste")
    os.symlink(server.config, place.folder / "posthaste.conf")
    return place.folder


def bash(folder, typed):
    """What bash would put in place of the last word: its own completion machinery, without a terminal."""
    script = """source <(./posthaste completion bash)
    COMP_LINE=$1 COMP_POINT=${#1}; shift; COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); _posthaste 2>/dev/null; printf '%s\\n' "${COMPREPLY[@]}\""""
    words = ["./posthaste", *typed]
    done = subprocess.run(["bash", "--norc", "-c", script, "bash", " ".join(words), *words], capture_output=True, text=True, cwd=folder, timeout=30)
    assert done.returncode == 0 and not done.stderr, done
    return [line for line in done.stdout.splitlines() if line]


@pytest.mark.sanitize
def test_words(folder):
    for typed, holds, lacks in (
            (["cam"], ["campaign"], ["config"]), (["campaign", "la"], ["launch"], ["list"]), (["campaign", "create", "--sch"], ["--schedule-at"], ["--list"]),
            (["-c", "posthaste.conf", "tok"], ["token"], []), (["import", "--list", "ne"], ["news"], ["Big\\ list"]), (["import", "--list", "="], ["news", "Big\\ list"], []),
            (["import", "--list", "=", "Bi"], ["Big\\ list"], ["news"]), (["import", "--list", '"Big l'], ["Big list"], ["news"]), (["import", "Big\\ l"], [], ["Big\\ list"]),
            (["list", "show", "Big\\ "], ["Big\\ list"], ["news"]), (["list", "create", ""], [], ["news"]), (["import", "peo"], ["people one.csv"], ["posthaste"]),
            (["token", "create", "--scope", ""], ["read", "send", "admin"], ["site"]), (["help", "campaign", "pr"], ["preview"], []), (["nonsense", ""], [], ["campaign"]),
            (["import", "--skip", "--"], ["--list", "--json", "--no-color"], ["--skip"]), (["import", "--", "--"], [], ["--list"]), (["campaign", "create", "--list", "news", "--li"], ["--list"], [])):
        found = bash(folder, typed)
        assert not set(holds) - set(found) and not set(lacks) & set(found), (typed, found)


def test_nothing_is_made_or_said(place):
    server = place.server(start=False, domain=None)
    for config, words in (("", ["list", "show", ""]), ("nonsense = {", ["import", "--list", ""])):
        server.write_config(config)
        done = server.cli("completion", "words", "--", *words)
        assert done.returncode == 0 and not done.stdout, done
    assert not server.data_dir.exists()


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_person_presses_tab(folder, shell):
    assert shutil.which(shell), "scripts/setup --test installs it"
    start = {"bash": ["bash", "--norc", "--noprofile", "-i"], "zsh": ["zsh", "-f", "-i"]}[shell]
    ready = {"bash": "", "zsh": "autoload -U compinit; compinit -u -D; "}[shell]
    env = {"PATH": "%s:%s" % (folder, os.environ["PATH"]), "PS1": "", "HISTFILE": "", "HOME": str(folder), "ZDOTDIR": str(folder)}
    with Terminal(*start, cwd=folder, env=env, columns=150) as terminal:
        terminal.type(ready + "source <(posthaste completion %s); echo rea'dy'\n" % shell)
        terminal.until("the script", "ready")
        for keys, says in (("posthaste hel\tcampa\tcrea\t\n", "usage: posthaste campaign create"), ("posthaste list show Bi\t\n", '"Big list"' if False else "Big list"),
                           ("posthaste import --list=ne\tpeo\t --js\t\n", '"recipients_total"' if False else "row")):
            terminal.forget()
            terminal.type(keys)
            terminal.until(says, lambda text: says in plain(text).split("\n", 1)[-1])
        terminal.type("exit\n")
        assert terminal.end() == 0
