#!/usr/bin/env python3
"""Uploads a file, fetches it, lists links and expires it, with the standard library of Python 3.11 alone.

Run it:  examples/python_client.py FILE      (after `ddrop cert --configure INVITE`)
Settings: DD_API_URL (https://localhost:8443), DD_CLIENT_CERT, DD_CLIENT_KEY and DD_CA_CERT (what enrolling wrote).
"""

import hashlib
import http.client
import json
import os
import ssl
import sys
import urllib.parse
from pathlib import Path

PIECE = 256 * 1024


class Refused(Exception):
    """The server answered that it will not or cannot."""


class Client:
    """One connection to a ddrop server, as the client a certificate makes us."""

    def __init__(self, server, cert, key, ca):
        # Only the CA we enrolled with may vouch for the server; its name is checked, too.
        context = ssl.create_default_context(cafile=ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(cert, key)
        place = urllib.parse.urlsplit(server)
        self.connection = http.client.HTTPSConnection(
            place.hostname, place.port or 443, context=context, timeout=60
        )

    def ask(self, method, path, body=None, headers=None):
        """Sends a request and gives the answer, of which nothing but the header has been read."""
        self.connection.request(method, path, body=body, headers=headers or {})
        answer = self.connection.getresponse()
        if answer.status >= 400:
            problem = json.loads(answer.read())
            raise Refused(f"{problem['status']} {problem['code']}: {problem['detail']}")
        return answer

    def upload(self, path, ttl):
        """Uploads a file, piece by piece, and gives its link."""
        query = urllib.parse.urlencode({"name": path.name, "ttl": ttl})
        headers = {"Content-Length": str(path.stat().st_size), "Content-Type": "application/octet-stream"}
        with path.open("rb") as file:
            return json.load(self.ask("POST", f"/api/upload?{query}", file, headers))

    def fetch(self, link_id):
        """Reads what a link leads to, piece by piece, and gives its SHA-256 in hex."""
        answer = self.ask("GET", f"/{link_id}")
        digest = hashlib.sha256()
        while piece := answer.read(PIECE):
            digest.update(piece)
        return digest.hexdigest()

    def links(self):
        """Own links, newest first, page by page."""
        after = None
        while True:
            query = urllib.parse.urlencode({"limit": 100, **({"after": after} if after else {})})
            page = json.load(self.ask("GET", f"/api/links?{query}"))
            yield from page["links"]
            after = page["next"]
            if after is None:
                return

    def expire(self, link_id):
        """Ends a link; its bytes are gone when this returns."""
        return json.load(self.ask("POST", f"/api/links/{link_id}/expire"))


def main():
    if len(sys.argv) != 2:
        print(f"usage: {sys.argv[0]} FILE", file=sys.stderr)
        return 2
    base = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "ddrop"
    client = Client(
        os.environ.get("DD_API_URL", "https://localhost:8443"),
        os.environ.get("DD_CLIENT_CERT", base / "client.crt"),
        os.environ.get("DD_CLIENT_KEY", base / "client.key"),
        os.environ.get("DD_CA_CERT", base / "ca.crt"),
    )
    path = Path(sys.argv[1])

    link = client.upload(path, ttl="10m")
    print("uploaded:", link["url"])

    with path.open("rb") as file:
        own = hashlib.file_digest(file, "sha256").hexdigest()
    if not own == client.fetch(link["id"]) == link["sha256"]:
        print("the bytes differ", file=sys.stderr)
        return 6
    print("fetched: the same bytes")

    listed = [one["id"] for one in client.links()]
    print("listed:", len(listed), "of ours" if link["id"] in listed else "and ours is missing")

    client.expire(link["id"])
    try:
        client.fetch(link["id"])
    except Refused as gone:
        print("expired:", gone)
        return 0
    print("the link can be fetched after its end", file=sys.stderr)
    return 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Refused, OSError) as error:
        print(f"python_client: {error}", file=sys.stderr)
        sys.exit(1)
