#!/usr/bin/python3
"""An SMTP server on aiosmtpd: accepts everything and keeps each message as N.json (the envelope) and N.eml (the bytes).

usage: aiosmtpd_peer.py ADDRESS PORT FOLDER CERTIFICATE KEY
"""
import asyncio
import json
import pathlib
import signal
import ssl
import sys

from aiosmtpd.smtp import SMTP


class Keeper:
    def __init__(self, folder):
        self.folder = folder
        self.count = 0

    async def handle_DATA(self, server, session, envelope):
        self.count += 1
        stem = self.folder / str(self.count)
        stem.with_suffix(".eml").write_bytes(envelope.original_content)
        # The json's appearance makes the message count, so it comes last and at once.
        partial = stem.with_suffix(".part")
        partial.write_text(json.dumps({"from": envelope.mail_from, "to": envelope.rcpt_tos, "tls": session.ssl is not None}))
        partial.rename(stem.with_suffix(".json"))
        return "250 2.0.0 kept as %d" % self.count


async def main(address, port, folder, certificate, key):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    keeper = Keeper(pathlib.Path(folder))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(keeper, hostname="aiosmtpd.test", tls_context=context, enable_SMTPUTF8=True, data_size_limit=50 << 20, loop=loop), address, int(port))
    over = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, over.set)
    await over.wait()
    server.close()


asyncio.run(main(*sys.argv[1:]))
