"""An SMTP server for tests/providers/smtp.rs: aiosmtpd on a free port.

Prints `listening <port>`, then one JSON line per accepted message. `refused@...` is answered
with 550, `busy@...` with 451.
"""
import asyncio
import json
import sys

from aiosmtpd.smtp import SMTP


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("refused@"):
            return "550 no such user"
        if address.startswith("busy@"):
            return "451 try again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        message = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "content": envelope.content.decode(),
        }
        print(json.dumps(message), flush=True)
        return "250 OK"


async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(Handler(), hostname="test"), "127.0.0.1", 0)
    print("listening", server.sockets[0].getsockname()[1], flush=True)
    # The test closes our standard input when it ends, however it ends.
    await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(main())
