#!/usr/bin/env python3
"""link_probe.py serve ADDRESS PORT | measure ADDRESS PORT MEGABYTES: a link's round trip and rate.

serve sends back a byte for each connection's first byte, then takes, or sends, as many bytes as it
is asked for.  measure prints {"rtt_ms": ..., "up_mbit": ..., "down_mbit": ...}: the median of 21
round trips of one byte, and the rates of one TCP stream each way.
"""
import json
import socket
import statistics
import sys
import time


def take(connection, count):
    while count > 0:
        chunk = connection.recv(min(count, 1 << 16))
        if not chunk:
            raise SystemExit("the other end is gone")
        count -= len(chunk)


def serve(listener):
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection:
            while command := connection.recv(1):
                if command == b"e":
                    connection.sendall(b"e")
                    continue
                count = int.from_bytes(connection.recv(8, socket.MSG_WAITALL), "little")
                if command == b"u":
                    take(connection, count)
                    connection.sendall(b"u")
                else:
                    connection.sendall(bytes(count))


def timed(connection, command, count_up, count_down):
    begin = time.monotonic()
    connection.sendall(command + bytes(count_up))
    take(connection, count_down)
    return time.monotonic() - begin


def measure(where, count):
    connection = socket.create_connection(where, timeout=60)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    size = count.to_bytes(8, "little")
    trips = [timed(connection, b"e", 0, 1) for _ in range(21)]
    up = timed(connection, b"u" + size, count, 1)
    down = timed(connection, b"d" + size, 0, count)
    return {"rtt_ms": round(statistics.median(trips) * 1000, 2),
            "up_mbit": round(count * 8e-6 / up, 1), "down_mbit": round(count * 8e-6 / down, 1)}


address = (sys.argv[2], int(sys.argv[3]))
if sys.argv[1] == "serve":
    with socket.create_server(address) as server:
        print("ready", flush=True)
        serve(server)
else:
    print(json.dumps(measure(address, int(float(sys.argv[4]) * 1e6))))
