"""What schemathesis cannot know from the description: bodies that are DER or PEM, made beforehand by the test."""

import os
from pathlib import Path

import schemathesis
from hypothesis import strategies as st

MADE = Path(os.environ["DDROP_TEST_MADE"])
REQUESTS = [path.read_text() for path in sorted(MADE.glob("*.csr"))]
ASKED = [path.read_bytes() for path in sorted(MADE.glob("*.ocsp"))]
assert REQUESTS and ASKED, f"nothing is in {MADE}"


def base64_of(pem):
    return "".join(line for line in pem.splitlines(keepends=True) if "-----" not in line)


pem = st.sampled_from([request.encode() for request in REQUESTS])
schemathesis.openapi.media_type("application/x-pem-file", pem)
schemathesis.openapi.media_type("application/pkcs10", st.sampled_from([base64_of(r).encode() for r in REQUESTS]))
# A paste of nothing is refused, which a description of bytes has no word for.
schemathesis.openapi.media_type("application/octet-stream", st.binary(min_size=1, max_size=200))
# Whatever is no OCSP request is answered in OCSP's own way, so any bytes will do as well.
schemathesis.openapi.media_type("application/ocsp-request", st.sampled_from(ASKED) | st.binary(max_size=200))
schemathesis.openapi.format("pem-signing-request", st.sampled_from(REQUESTS))
schemathesis.openapi.format(
    "server-name",
    st.from_regex(r"[a-z]{2,20}(\.[a-z]{2,10}){1,3}", fullmatch=True)
    | st.builds("10.{}.0.0/16".format, st.integers(min_value=0, max_value=255)),
)
schemathesis.openapi.format(
    "server-url",
    st.builds(
        "{}://{}{}".format,
        st.sampled_from(["https", "http"]),
        st.from_regex(r"[a-z]{1,20}(\.[a-z]{2,10}){0,3}", fullmatch=True),
        st.sampled_from(["", "/", ":8443", ":1/below"]),
    ),
)


schemathesis.openapi.format(
    "web-address",
    st.builds("{}://{}.example/{}".format, st.sampled_from(["https", "http"]), st.from_regex(r"[a-z]{1,20}", fullmatch=True), st.from_regex(r"[a-z0-9/?=]{0,30}", fullmatch=True)),
)


@schemathesis.hook
def filter_case(context, case):
    # A header nobody knows is to be left alone (RFC 9110 section 5.1), and no schema says so.
    headers = case.headers or {}
    # That a paste burns, and so cannot be changed, is known of the paste alone.
    burns = case.method == "POST" and str(headers.get("X-Burn-After-Read")).lower() in ("true", "1", "yes")
    return not burns and "x-schemathesis-unknown-property" not in headers
