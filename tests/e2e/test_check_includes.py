"""scripts/check-includes: good trees pass, and each kind of bad include is found at its line."""
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TABLE = """# rooms
<!-- may-include -->
| room | holds | may include | must never know |
| --- | --- | --- | --- |
| `base/` | small things | libc, libconfuse | everything above |
| `dkim/` | keys | base, OpenSSL | sockets |
| `storage/` | SQL | base, SQLite | HTTP |
| `campaign/` | campaigns | base, dkim, storage.h, libcurl (MTA-STS) | HTTP |
| `api/` | HTTP | all public headers, libmicrohttpd | SQL |
<!-- /may-include -->
"""
GOOD = {
    "base/buffer.h": "#include <stddef.h>\n",
    "base/buffer.c": '#include "base/buffer.h"\n#include "base/config_private.h"\n#include <confuse.h>\n#include <sys/stat.h>\n',
    "base/config_private.h": "",
    "dkim/dkim.h": '#include "dkim/key.h"\n#include "base/buffer.h"\n',
    "dkim/key.h": "#include <openssl/evp.h>\n",
    "dkim/canon.h": "",
    "storage/storage.h": '#include "storage/claims.h"\n',
    "storage/claims.h": "",
    "storage/writer.c": '#include <sqlite3.h>\n#include "storage/claims.h"\n',
    "campaign/campaign.h": "",
    "campaign/a/feeder.c": '#include "storage/storage.h"\n#include "dkim/key.h"\n#include <curl/curl.h>\n',
    "api/main.c": '#include "campaign/campaign.h"\n#include "base/buffer.h"\n#include <microhttpd.h>\n',
    "tests/unit/any.c": "#include <uv.h>\n",
}


def run(tree):
    result = subprocess.run([str(ROOT / "scripts/check-includes"), "--root", str(tree)], capture_output=True, text=True, timeout=60)
    return result.returncode, result.stdout, result.stderr


@pytest.fixture
def tree(tmp_path):
    for name, text in {**GOOD, "docs/architecture.md": TABLE}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_this_project_keeps_its_own_table():
    status, out, err = run(ROOT)
    assert (status, err) == (0, ""), out


def test_good_tree(tree):
    status, out, _ = run(tree)
    assert status == 0, out
    assert out == "check-includes: 12 files, 0 bad includes\n"


@pytest.mark.parametrize("path, text, message", [
    ("base/x.c", "\n#include <uv.h>\n", "base/x.c:2: base/ may not include libuv (<uv.h>)"),
    ("base/x.c", '#include "dkim/dkim.h"\n', 'base/x.c:1: base/ may not include "dkim/dkim.h"'),
    ("dkim/x.h", "#include <sqlite3.h>\n", "dkim/x.h:1: dkim/ may not include SQLite (<sqlite3.h>)"),
    ("dkim/x.c", '#include "base/config_private.h"\n', 'dkim/x.c:1: "base/config_private.h" is private to base/'),
    ("campaign/x.c", '/* a\n */\n#include "storage/claims.h"\n', 'campaign/x.c:3: campaign/ may not include "storage/claims.h"'),
    ("campaign/x.c", '#include "dkim/canon.h"\n', 'campaign/x.c:1: campaign/ may not include "dkim/canon.h"'),
    ("campaign/a/x.c", "#include <microhttpd.h>\n", "campaign/a/x.c:1: campaign/ may not include libmicrohttpd"),
    ("api/x.c", "  #  include <sqlite3.h>\n", "api/x.c:1: api/ may not include SQLite"),
    ("api/x.c", '#include "storage/claims.h"\n', 'api/x.c:1: api/ may not include "storage/claims.h"'),
    ("api/x.c", '#include "server.h"\n', 'api/x.c:1: "server.h" has to be named from the root'),
    ("api/x.c", '#include "api/../storage/claims.h"\n', 'api/x.c:1: "api/../storage/claims.h" has to be named from the root'),
    ("api/x.c", "#include <magic.h>\n", "api/x.c:1: <magic.h> is of no known library"),
    ("api/x.c", "#include HEADER\n", "api/x.c:1: an include that cannot be read: HEADER"),
    ("cellar/x.c", "\n", "cellar/x.c:1: stands in no room of the table"),
])
def test_bad_include_is_found(tree, path, text, message):
    (tree / path).parent.mkdir(exist_ok=True)
    (tree / path).write_text(text)
    status, out, _ = run(tree)
    assert status == 1
    assert out.splitlines()[0].startswith(message)
    assert out.splitlines()[-1].endswith(" 1 bad includes")


def test_includes_in_comments_and_strings_do_not_count(tree):
    (tree / "base/x.c").write_text('/*\n#include <uv.h>\n*/\n// #include <uv.h>\nchar *s = "/*"; char q = \'"\';\n#include <stdio.h> /* why */\n')
    assert run(tree)[0] == 0
    (tree / "base/x.c").write_text('char *s = "/*";\n#include <uv.h>\nchar *t = "*/";\n')
    assert run(tree)[1].startswith("base/x.c:2: ")


@pytest.mark.parametrize("table, message", [
    ("no table\n", "has no lines <!-- may-include -->"),
    ("<!-- may-include -->\n<!-- /may-include -->\n", "the table has no rooms"),
    (TABLE.replace("OpenSSL", "OpenTLS"), 'room dkim/: the word "OpenTLS" is neither'),
])
def test_table_that_cannot_be_read(tree, table, message):
    (tree / "docs/architecture.md").write_text(table)
    status, _, err = run(tree)
    assert status == 2
    assert message in err
