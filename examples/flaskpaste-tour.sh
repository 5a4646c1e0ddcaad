#!/usr/bin/env bash
# FlaskPaste's documented calls, one by one, by curl against `https://host/paste`: what a client of FlaskPaste sends here.
# `ddrop` itself only runs the server.
#
# Run it:  examples/flaskpaste-tour.sh      (needs `ddrop`, curl, openssl and python3 on the PATH; keeps nothing)
set -euo pipefail

work=$(mktemp -d)
server_pid=
cleanup() {
    if [[ -n $server_pid ]]; then
        kill "$server_pid" 2>/dev/null || true
        wait "$server_pid" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

step() { printf '\n== %s\n' "$*"; }
fail() { printf 'flaskpaste-tour: %s\n' "$*" >&2; exit 1; }
is() { [[ $1 == "$2" ]] || fail "answered $1, not $2"; }
# A value of the JSON on stdin.
field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
# Asserts that the text on stdin has all of these words in it, and shows it.
expect() {
    local text word
    text=$(cat)
    printf '%s\n' "$text"
    for word in "$@"; do
        [[ ${text,,} == *"${word,,}"* ]] || fail "'$word' is not in the answer"
    done
}
# The decimal N with which SHA-256(nonce ":" N) begins with so many zero bits.
solve() {
    python3 - "$1" "$2" <<'END'
import hashlib, itertools, sys

nonce, bits = sys.argv[1], int(sys.argv[2])
for n in itertools.count():
    if int.from_bytes(hashlib.sha256(f"{nonce}:{n}".encode()).digest(), "big") >> (256 - bits) == 0:
        print(n)
        break
END
}

for program in ddrop curl openssl python3; do
    command -v "$program" >/dev/null || fail "$program is not on the PATH"
done

# What is set outside must not reach into the example.
unset "${!DD_@}"

mkfifo "$work/said"
ddrop serve -h 127.0.0.1 -p 0 -s "$work/storage" --open-registration --register-pow-difficulty 10 \
    --allow-anon --pow-difficulty 10 2>"$work/said" &
server_pid=$!
exec 3<"$work/said"
server=''
while IFS= read -r -t 10 line <&3; do
    case $line in
        *'listening on https://'*) server=${line##*listening on } && break ;;
        *) printf '%s\n' "$line" >>"$work/server.log" ;;
    esac
done
[[ -n $server ]] || fail "the server did not start: $(cat "$work/server.log" 2>/dev/null)"
cat <&3 >>"$work/server.log" &
cd "$work"
paste=$server/paste

# A client on this machine may take the CA from the storage; others compare its fingerprint.
ddrop pki ca -s storage >ca.crt
anyone() { curl -sS --cacert ca.crt "$@"; }
status() { "$@" -o /dev/null -w '%{http_code}'; }

step 'the API tells what it is, and how it is'
anyone "$paste/" | expect '"name"' '"version"' '"endpoints"' '"usage"'
anyone "$paste/health" | expect '"status":"healthy"' '"database":"ok"'
anyone "$server/pki/status" | expect '"enabled":true'

step 'register: a proof of work, a signing request, a certificate; the first one is the admin'
challenge=$(anyone "$server/register/challenge")
expect '"enabled":true' '"nonce"' '"token"' <<<"$challenge"
solution=$(solve "$(field nonce <<<"$challenge")" "$(field difficulty <<<"$challenge")")
(umask 077 && openssl ecparam -name prime256v1 -genkey -noout -out alice.key)
openssl req -new -key alice.key -subj '/CN=alice' -out alice.csr
anyone --fail-with-body -H "X-PoW-Token: $(field token <<<"$challenge")" -H "X-PoW-Solution: $solution" \
    -H 'Content-Type: application/x-pem-file' --data-binary @alice.csr -D headers "$server/csr" -o alice.crt
expect 'x-fingerprint-sha1' 'x-certificate-serial' 'x-is-admin: 1' <headers
is "$(status anyone -H "X-PoW-Token: $(field token <<<"$challenge")" -H "X-PoW-Solution: $solution" \
    -H 'Content-Type: application/x-pem-file' --data-binary @alice.csr "$server/csr")" 400
alice() { curl -sS --cacert ca.crt --cert alice.crt --key alice.key "$@"; }

step 'create: the content as it is, from a pipe'
made=$(echo 'hello, world' | alice --fail-with-body --data-binary @- -H 'Content-Type: text/plain' "$paste/")
expect '"id"' '"url":"/paste/' '"raw":"/paste/' '"mime_type":"text/plain' '"created_at":1' '"owner"' <<<"$made"
id=$(field id <<<"$made")
[[ $(anyone "$paste/$id/raw") == 'hello, world' ]] || fail 'the content is another'

step 'create: as JSON'
json=$(alice --fail-with-body --json '{"content": "from JSON"}' "$paste/")
[[ $(anyone "$paste/$(field id <<<"$json")/raw") == 'from JSON' ]] || fail 'the content is another'

step 'create: what is no content is refused'
is "$(status alice --data-binary '' "$paste/")" 400
is "$(status alice --json '{"text": "x"}' "$paste/")" 400

step 'create: bytes, with the headers fpaste sends'
head -c 5000 /dev/urandom >data.bin
named=$(alice --fail-with-body -A 'fpaste/1.6' -H 'Content-Type: application/octet-stream' -H 'X-Display-Name: data.bin' \
    -H 'X-Expiry: 600' --data-binary @data.bin "$paste/")
expect '"display_name":"data.bin"' '"size":5000' '"expires_at":1' <<<"$named"
anyone "$paste/$(field id <<<"$named")/raw" | cmp - data.bin
is "$(status alice -H 'X-Expiry: soon' --data-binary x "$paste/")" 400

step 'metadata: without the content, as often as one likes'
anyone "$paste/$id" | expect "\"id\":\"$id\"" '"mime_type"' '"size":13'
is "$(status anyone -I "$paste/$id")" 200
anyone -I "$paste/$id/raw" | expect 'content-type: text/plain' 'content-disposition: inline' 'nosniff' 'sandbox'

step 'burn after reading: metadata is no reading, and there is one'
burn=$(echo planted-secret | alice --fail-with-body -H 'X-Burn-After-Read: true' --data-binary @- "$paste/")
expect '"burn_after_read":true' <<<"$burn"
once=$(field id <<<"$burn")
anyone "$paste/$once" | expect '"burn_after_read":true'
[[ $(anyone "$paste/$once/raw") == planted-secret ]] || fail 'the only reading read something else'
is "$(status anyone "$paste/$once/raw")" 410

step 'nobody in particular works for a paste'
is "$(status anyone --data-binary 'for nothing' "$paste/")" 400
challenge=$(anyone "$server/api/challenge")
solution=$(solve "$(field nonce <<<"$challenge")" "$(field difficulty <<<"$challenge")")
worked=(-H "X-PoW-Token: $(field token <<<"$challenge")" -H "X-PoW-Solution: $solution")
anyone --fail-with-body "${worked[@]}" --data-binary 'for work' "$paste/" | expect '"id"'
is "$(status anyone "${worked[@]}" --data-binary 'a second time' "$paste/")" 400

step 'delete: nobody may not, the owner may'
is "$(status anyone -X DELETE "$paste/$id")" 401
alice --fail-with-body -X DELETE "$paste/$id" | expect '"message"'
is "$(status anyone "$paste/$id")" 410
is "$(status anyone "$paste/nosuchpaste1")" 404
anyone "$paste/nosuchpaste1" | expect '"error"'

step 'the authority: status, CA, own certificates'
anyone "$server/pki/ca.crt" | expect 'BEGIN CERTIFICATE'
alice "$server/pki/certs" | expect '"alice"' '"fingerprint_sha1"'

step 'done'
