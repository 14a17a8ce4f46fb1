"""`scripts/bench peers`: the same 10 KB messages through Postfix with the OpenDKIM milter, both from the distribution, and through posthaste, into the
same kind of sink on the same cores, one after the other.

Postfix is an instance of its own in the bench's folder, with its limits opened so that nothing of its configuration holds it up; OpenDKIM is unpacked
there and not installed. smtp-source hands the messages in; the time runs from its first connection to the sink's last message.
"""
import os
import pwd
import shutil
import socket
import subprocess
import time

from harness import wait_until

MARK = 15
MAIN = """compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = postfix.test
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
alias_maps =
alias_database =
smtpd_client_connection_count_limit = 0
smtpd_peername_lookup = no
smtpd_milters = inet:127.0.0.1:{milter}
milter_default_action = tempfail
default_transport = smtp:[127.0.0.1]:{sink}
smtp_tls_security_level = none
default_process_limit = 100
smtp_destination_concurrency_limit = 50
smtp_initial_destination_concurrency = 20
default_destination_recipient_limit = 1
smtp_connection_cache_on_demand = yes
smtp_connection_cache_destinations = static:all
in_flow_delay = 0
"""
MASTER = """127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
tlsmgr unix - - n 1000? 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def unpack_opendkim(folder):
    """The package and what it needs, unpacked; nothing is installed."""
    (folder / "debs" / "partial").mkdir(parents=True)
    fetch = ["apt-get", "-q", "-y", "-o", "Debug::NoLocking=1", "-o", "Dir::Cache::archives=%s" % (folder / "debs"), "--no-install-recommends",
             "--reinstall", "--download-only", "install", "opendkim"]
    if subprocess.run(fetch, capture_output=True, timeout=300).returncode != 0:
        subprocess.run(["apt-get", "-q", "update"], capture_output=True, timeout=300)
        subprocess.run(fetch, check=True, capture_output=True, timeout=300)
    for package in (folder / "debs").glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, folder / "tree"], check=True, timeout=60)
    return folder / "tree" / "usr" / "sbin" / "opendkim"


def start_opendkim(folder):
    program = unpack_opendkim(folder)
    subprocess.run(["opendkim-genkey", "-b", "2048", "-d", "sender.test", "-s", "bench", "-D", folder], check=True, capture_output=True, timeout=60)
    port = free_port()
    config = folder / "opendkim.conf"
    config.write_text("Socket inet:%d@127.0.0.1\nDomain sender.test\nSelector bench\nKeyFile %s\nMode s\nCanonicalization relaxed/relaxed\n"
                      "RequireSafeKeys no\nSyslog no\nInternalHosts 127.0.0.0/8\nPidFile %s\n" % (port, folder / "bench.private", folder / "pid"))
    library = next((folder / "tree" / "usr" / "lib").glob("*-linux-gnu"))
    process = subprocess.Popen([program, "-f", "-x", config], env={**os.environ, "LD_LIBRARY_PATH": str(library)}, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    wait_until(lambda: listens(port), 20, "opendkim to listen")
    return process, port


def start_postfix(folder, sink_port, milter_port):
    etc, port, owner = folder / "etc", free_port(), pwd.getpwnam("postfix")
    for name in ("etc", "queue", "queue/pid", "data"):
        (folder / name).mkdir()
    os.chown(folder / "data", owner.pw_uid, owner.pw_gid)
    (etc / "main.cf").write_text(MAIN.format(folder=folder, milter=milter_port, sink=sink_port))
    (etc / "master.cf").write_text(MASTER.format(port=port))
    done = subprocess.run(["/usr/sbin/postfix", "-c", etc, "check"], capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        raise RuntimeError("postfix check: %s%s" % (done.stdout, done.stderr))
    process = subprocess.Popen(["/usr/lib/postfix/sbin/master", "-c", etc, "-s"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: listens(port), 20, "postfix to listen")
    return process, port


def postfix_rate(bench, folder, count):
    folder.chmod(0o755)
    sink = bench.SmtpSink(folder)
    running = []
    try:
        opendkim, milter = start_opendkim(folder)
        running.append(opendkim)
        postfix, port = start_postfix(folder, sink.port, milter)
        running.append(postfix)
        begin = time.monotonic()
        subprocess.run([shutil.which("smtp-source", path="/usr/sbin:" + os.environ["PATH"]), "-s", "20", "-l", str(bench.MESSAGE_BYTES), "-m",
                        str(count), "-N", "-f", "news@sender.test", "-t", "person@example.test", "127.0.0.1:%d" % port], check=True,
                       timeout=600, capture_output=True)
        wait_until(lambda: sink.messages() >= count, 600, "Postfix to have sent all (the sink has %d)" % sink.messages(), 0.05)
        elapsed = time.monotonic() - begin
        if bench.cpu_s(opendkim.pid) < 0.0003 * count:
            raise RuntimeError("OpenDKIM has not worked enough to have signed everything")
        return count / elapsed
    finally:
        for process in reversed(running):
            process.terminate()
            process.wait(20)
        sink.stop()


def bench_peers(bench, options, folder):
    count, ours_count = (600, 10_000) if options.quick else (3000, options.recipients or 50_000)
    if os.getuid() != 0:
        raise RuntimeError("Postfix starts as root")
    bench.say("peers: 10 KB messages, RSA-2048, durable queue or database on disk, receiver smtp-sink on the same cores")
    (folder / "postfix").mkdir()
    postfix = postfix_rate(bench, folder / "postfix", count)
    bench.say("  Postfix with the OpenDKIM milter: %.0f messages/s (%d messages, 20 sessions of smtp-source)" % (postfix, count))
    people = folder / "people.csv"
    bench.write_people(people, ours_count, bench.DOMAINS)
    sink = bench.SmtpSink(folder)
    server = bench.Posthaste(folder / "server", bench.CONFIG % sink.port)
    try:
        server.cli("import", "--list", "bench", people, timeout_s=600)
        server.cli("domain", "add", "sender.test")
        server.start()
        server.login()
        elapsed, _, _ = bench.run_campaign(server, sink, ours_count)
        server.stop()
    finally:
        if server.process is not None:
            server.kill()
        sink.stop()
    ours = ours_count / elapsed
    bench.say("RESULT peers_postfix_opendkim=%.0f ours=%.0f ratio=%.1f" % (postfix, ours, ours / postfix))
    return ours / postfix >= MARK
