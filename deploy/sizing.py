#!/usr/bin/env python3
"""Measures what a server of this machine needs: memory of its own at rest, per open connection and per running upload, and
room on the disk per link beside its bytes.

    deploy/sizing.py BINARY [COUNT]

Each figure is the growth for COUNT of a kind (200), divided. The server is its own, on a loopback address, and ends with
this program.
"""
import os
import pathlib
import re
import resource
import socket
import ssl
import subprocess
import sys
import tempfile
import time

TOKEN = "a-token-for-measuring"
MOST = "100000"
# Seconds the uploads may take to get there.
PATIENCE = 300


def memory(pid):
    """Resident, and of no file: what is mapped of the program itself the kernel can have back, and others may share."""
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Anonymous:\s+(\d+) kB$", text, re.M)[1])


def connected(port, context):
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname="localhost")


def asked(stream, head, body=b""):
    stream.sendall(f"{head} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n".encode() + body)


def answered(stream):
    got = b""
    while b"\r\n\r\n" not in got:
        piece = stream.recv(4096)
        if not piece:
            sys.exit(f"the server hung up: {got!r}")
        got += piece
    return int(got.split()[1])


def on_disk(folder):
    return sum(f.stat().st_blocks * 512 for f in pathlib.Path(folder).rglob("*") if f.is_file())


def measure(child, storage, count):
    port = next(int(m[1]) for m in (re.search(r"listening on https://\S+:(\d+)", line) for line in child.stderr) if m)
    context = ssl.create_default_context(cafile=os.path.join(storage, "pki", "root.crt"))
    # What the first ones cost is no one's in particular.
    for _ in range(20):
        with connected(port, context) as stream:
            asked(stream, "GET /api/stats", b"\r\n")
            answered(stream)
    rest = memory(child.pid)
    print(f"at rest                  {rest / 1024:7.1f} MiB")
    streams = []
    for _ in range(count):
        stream = connected(port, context)
        asked(stream, "GET /api/stats", b"\r\n")
        assert answered(stream) == 200
        streams.append(stream)
    idle = memory(child.pid)
    print(f"per open connection      {(idle - rest) / count:7.1f} KiB")
    for stream in streams:
        # All but the last byte: each is under way.
        asked(stream, "POST /api/upload?name=x", b"Content-Length: 1000000\r\n\r\n" + bytes(999_999))
    written = 0
    begun = time.monotonic()
    while written < count:
        if time.monotonic() - begun > PATIENCE:
            sys.exit(f"{written} of {count} uploads came on the disk in {PATIENCE} s")
        time.sleep(0.05)
        files = pathlib.Path(storage, "files").rglob("*")
        written = sum(f.is_file() and f.stat().st_size > 700_000 for f in files)
    busy = memory(child.pid)
    print(f"per running upload       {(busy - idle) / count:7.1f} KiB more")
    for stream in streams:
        stream.sendall(b"\0")
        assert answered(stream) == 201
    print(f"per link, beside 1 MB    {on_disk(storage) / count / 1024 - 1_000_000 / 1024:7.1f} KiB of disk")


def main():
    binary, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 200
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with tempfile.TemporaryDirectory() as folder:
        storage = os.path.join(folder, "storage")
        settings = ["--max-connections-per-address", MOST, "--max-connections", MOST, "--rate-limit", "0"]
        # Each upload waits for all others.
        settings += ["--stall-timeout-seconds", str(2 * PATIENCE)]
        command = [binary, "serve", "-h", "127.0.0.1", "-p", "0", "-s", storage, "--max-storage-mb", "100000", *settings]
        variables = {"DD_API_TOKEN": TOKEN, "DD_LOG": "warn", "PATH": os.environ["PATH"]}
        child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=variables)
        try:
            measure(child, storage, count)
        finally:
            child.kill()
            child.wait()


if __name__ == "__main__":
    main()
