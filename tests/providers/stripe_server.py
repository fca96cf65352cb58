"""A Stripe server for tests/providers/localstripe.rs: localstripe on a free port.

Prints `listening <port>`.
"""

import asyncio
import sys

from aiohttp import web
from localstripe import resources, server

# It would keep what it knows in /tmp, for every one of its processes alike.
type(resources.store).dump_to_disk = lambda self: None


async def main():
    runner = web.AppRunner(server.app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print("listening", runner.addresses[0][1], flush=True)
    # Until whoever started it is gone.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
