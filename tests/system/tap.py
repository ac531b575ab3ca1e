#!/usr/bin/env python3
"""tap.py FILE LISTEN:TO...: passes connections on from port LISTEN to port TO of 127.0.0.1, and
writes every byte that goes by, either way, into FILE, and what the first one to connect said into
FILE.said.  Prints "ready" when it listens."""
import asyncio
import sys


async def pass_on(reader, writer, *records):
    try:
        while chunk := await reader.read(1 << 16):
            for record in records:
                record.write(chunk)
            writer.write(chunk)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def main():
    record = open(sys.argv[1], "wb", buffering=0)
    said = [open(sys.argv[1] + ".said", "wb", buffering=0)]
    for pair in sys.argv[2:]:
        listen, to = map(int, pair.split(":"))

        async def meet(reader, writer, to=to):
            try:
                there, back = await asyncio.open_connection("127.0.0.1", to)
            except OSError:
                writer.close()
                return
            firsts = [said.pop()] if said else []
            await asyncio.gather(pass_on(reader, back, record, *firsts),
                                 pass_on(there, writer, record))

        await asyncio.start_server(meet, "127.0.0.1", listen)
    print("ready", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
