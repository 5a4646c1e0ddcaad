#!/usr/bin/env bash
# Uploads a file, fetches it again and compares, with nothing but `openssl s_client` and HTTP/1.1 written by hand: what
# TLS with a client certificate comes down to.
#
# Run it:  examples/openssl-client.sh FILE      (after `ddrop cert --configure INVITE`)
# Settings: DD_API_URL (https://localhost:8443), DD_CLIENT_CERT, DD_CLIENT_KEY and DD_CA_CERT (what enrolling wrote).
set -euo pipefail
export LC_ALL=C

fail() { printf 'openssl-client: %s\n' "$*" >&2; exit 1; }

(($# == 1)) || { printf 'usage: %s FILE\n' "$0" >&2; exit 2; }
file=$1
[[ -r $file ]] || fail "cannot read $file"
command -v openssl >/dev/null || fail 'openssl is not on the PATH'

folder=${XDG_CONFIG_HOME:-$HOME/.config}/ddrop
cert=${DD_CLIENT_CERT:-$folder/client.crt}
key=${DD_CLIENT_KEY:-$folder/client.key}
ca=${DD_CA_CERT:-$folder/ca.crt}
server=${DD_API_URL:-https://localhost:8443}
place=${server#https://}
place=${place%%/*}
host=${place%:*}

# The name or address in the server's certificate is checked only if s_client is told which one.
if [[ $host =~ ^[0-9.]+$ || $host == \[* ]]; then
    check=(-verify_ip "${host//[\[\]]/}")
else
    check=(-verify_hostname "$host" -servername "$host")
fi

# A request on stdin, the answer on stdout. The server ends the connection, since every request asks it to.
talk() {
    openssl s_client -quiet -verify_quiet -verify_return_error "${check[@]}" -connect "$place" \
        -cert "$cert" -cert_chain "$cert" -key "$key" -CAfile "$ca" 2>"$work/s_client.log" ||
        fail "no TLS connection to $place: $(tail -n 3 "$work/s_client.log")"
}
status() { head -n 1 "$1" | tr -d '\r'; }
body() { sed '1,/^\r$/d' "$1"; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

{
    printf 'PUT /%s?ttl=10m HTTP/1.1\r\nHost: %s\r\n' "$(basename "$file" | tr -c 'A-Za-z0-9._\n-' _)" "$place"
    printf 'Content-Length: %s\r\nConnection: close\r\n\r\n' "$(wc -c <"$file" | tr -d ' ')"
    cat "$file"
} | talk >"$work/uploaded"
[[ $(status "$work/uploaded") == 'HTTP/1.1 201 '* ]] || fail "the upload was answered: $(cat "$work/uploaded")"
url=$(body "$work/uploaded" | tr -d '\r\n')
printf 'uploaded: %s\n' "$url"

printf 'GET /%s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' "${url##*/}" "$place" | talk >"$work/fetched"
[[ $(status "$work/fetched") == 'HTTP/1.1 200 '* ]] || fail "the fetch was answered: $(status "$work/fetched")"
body "$work/fetched" | cmp - "$file" || fail 'the bytes differ'
echo 'fetched: the same bytes'
