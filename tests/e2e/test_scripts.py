"""What people run first: the demo ends well and leaves nothing behind; the bench measures what it says."""
import os
import re
import shutil
import signal
import subprocess

import pytest

from harness import BUILD, ROOT, wait_until

pytestmark = pytest.mark.alone


def run(*words, folder, timeout_s=200):
    environment = {**os.environ, "POSTHASTE_BUILD": str(BUILD), "TMPDIR": str(folder)}
    return subprocess.run([str(ROOT / "scripts" / words[0]), *words[1:]], capture_output=True, text=True, timeout=timeout_s, env=environment)


def processes_of(folder):
    """Command lines that name the folder."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = open("/proc/%s/cmdline" % pid, "rb").read().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in words and int(pid) != os.getpid():
            found.append(words)
    return found


def test_the_demo(tmp_path):
    done = run("demo", folder=tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "Every recipient is accounted for." in done.stdout
    assert "10000 recipients, each in the state that the sink's ledger says" in done.stdout
    assert "/dashboard" in done.stdout
    assert "\033" not in done.stdout, "colours only on a terminal"
    assert not processes_of(tmp_path) and not list(tmp_path.iterdir())


def test_the_demo_keeps_running_when_asked(tmp_path):
    done = run("demo", "--keep", "--dir", str(tmp_path / "kept"), folder=tmp_path)
    pids = [int(pid) for pid in re.search(r"kill (\d+) (\d+)", done.stdout).groups()]
    try:
        assert done.returncode == 0
        assert len(processes_of(tmp_path)) == 2
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not processes_of(tmp_path), 20, "the kept processes to end")
    again = run("demo", "--dir", str(tmp_path / "kept"), folder=tmp_path)
    assert again.returncode == 1 and "exists already" in again.stderr


def test_the_demo_cleans_up_when_it_is_stopped(tmp_path):
    environment = {**os.environ, "POSTHASTE_BUILD": str(BUILD), "TMPDIR": str(tmp_path)}
    with open(tmp_path / "out", "w") as out:
        process = subprocess.Popen([str(ROOT / "scripts" / "demo")], stdout=out, stderr=out, env=environment)
    try:
        wait_until(lambda: "/launch\n" in (tmp_path / "out").read_text(), 120, "the campaign to be launched")
    finally:
        process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143
    wait_until(lambda: not processes_of(tmp_path / "posthaste-demo"), 20, "its processes to end")


@pytest.mark.parametrize("what, keys, recipients", [
    ("throughput", ("throughput_msgs_per_s", "rsa_ratio", "cpu_us_per_msg", "rss_mb"), 2000), ("import", ("import_rows_per_s", "ratio"), 20000)])
def test_the_bench(tmp_path, what, keys, recipients):
    folder = tmp_path / "data"
    done = run("bench", what, "--quick", "--recipients", str(recipients), "--dir", str(folder), folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    result = done.stdout.strip().splitlines()[-1]
    assert result.startswith("RESULT ")
    values = dict(pair.split("=") for pair in result.split()[1:])
    assert set(keys) <= set(values) and all(float(values[key]) > 0 for key in keys), result
    assert not folder.exists() and not processes_of(folder)


def test_the_bench_refuses_what_it_cannot_do(tmp_path):
    (tmp_path / "mine").write_text("keep")
    assert run("bench", "--dir", str(tmp_path), folder=tmp_path).returncode == 1
    assert (tmp_path / "mine").read_text() == "keep"
    assert run("bench", "everything", folder=tmp_path).returncode == 2
    assert run("bench", "--recipients", "0", folder=tmp_path).returncode == 2
    assert run("demo", "--nonsense", folder=tmp_path).returncode == 2
    assert shutil.which("openssl")
