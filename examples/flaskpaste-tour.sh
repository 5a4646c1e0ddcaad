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
# Asserts that a lifetime on stdin, from `created_at` to `expires_at`, is so many days.
lives() {
    python3 -c 'import json, sys; it = json.load(sys.stdin); print((it["expires_at"] - it["created_at"]) / 86400)' |
        expect "$1.0"
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
    --allow-anon --allow-untrusted --pow-difficulty 10 --min-size 2 --max-anon 5000 --max-auth 20000 2>"$work/said" &
server_pid=$!
exec 3<"$work/said"
server=''
while IFS= read -r -t 60 line <&3; do
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

# A challenge that is solved, as two headers in `worked`.
work() {
    local challenge solution
    challenge=$(anyone --fail-with-body "$1")
    solution=$(solve "$(field nonce <<<"$challenge")" "$(field difficulty <<<"$challenge")")
    worked=(-H "X-PoW-Token: $(field token <<<"$challenge")" -H "X-PoW-Solution: $solution")
}

step 'GET /: what it is; GET /health: how it is'
anyone "$paste/" | expect '"name"' '"version"' '"endpoints"' '"usage"' '"note"'
anyone "$paste/health" | expect '{"status":"healthy","database":"ok"}'
anyone "$server/pki/status" | expect '"enabled":true'

step 'GET /client: the program, which is the one that answers'
anyone --fail-with-body -D headers "$paste/client" -o copy
expect 'x-client-target: ' "x-client-sha256: $(sha256sum copy | cut -d ' ' -f 1)" <headers
chmod +x copy
[[ $(./copy --version) == "$(ddrop --version)" ]] || fail 'the program is another'

step 'POST /csr: a proof of work, a signing request, a certificate; the first one is the admin'
anyone "$server/register/challenge" | expect '"enabled":true' '"nonce"' '"token"'
work "$server/register/challenge"
(umask 077 && openssl ecparam -name prime256v1 -genkey -noout -out alice.key)
openssl req -new -key alice.key -subj '/CN=alice' -out alice.csr
pem=(-H 'Content-Type: application/x-pem-file' --data-binary @alice.csr)
anyone --fail-with-body "${worked[@]}" "${pem[@]}" -D headers "$server/csr" -o alice.crt
expect 'x-fingerprint-sha1' 'x-certificate-serial' 'x-is-admin: 1' <headers
is "$(status anyone "${worked[@]}" "${pem[@]}" "$server/csr")" 400
alice() { curl -sS --cacert ca.crt --cert alice.crt --key alice.key "$@"; }

# Somebody with a certificate that nobody vouches for.
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj '/CN=stranger' \
    -addext basicConstraints=critical,CA:FALSE -keyout stranger.key -out stranger.crt 2>/dev/null
stranger() { curl -sS --cacert ca.crt --cert stranger.crt --key stranger.key "$@"; }

step 'POST /: the content as it is, from a pipe'
made=$(echo 'hello, world' | alice --fail-with-body --data-binary @- -H 'Content-Type: text/plain' "$paste/")
expect '"id"' '"url":"/paste/' '"raw":"/paste/' '"mime_type":"text/plain' '"size":13' '"sha256"' '"created_at":1' \
    '"owner"' <<<"$made"
id=$(field id <<<"$made")
[[ $(anyone "$paste/$id/raw") == 'hello, world' ]] || fail 'the content is another'

step 'POST /: as JSON'
json=$(alice --fail-with-body --json '{"content": "from JSON"}' "$paste/")
[[ $(anyone "$paste/$(field id <<<"$json")/raw") == 'from JSON' ]] || fail 'the content is another'

step 'POST /: what is nothing, no content, too small or too large is refused'
is "$(status alice --data-binary '' "$paste/")" 400
is "$(status alice --json '{"text": "x"}' "$paste/")" 400
alice --data-binary 'x' "$paste/" | expect '"error":"Paste too small"' '"status":400'
head -c 20001 /dev/urandom >large.bin
is "$(status alice --data-binary @large.bin "$paste/")" 413
head -c 5001 large.bin >anonymous.bin
work "$paste/challenge"
is "$(status anyone "${worked[@]}" --data-binary @anonymous.bin "$paste/")" 413

step 'POST / with X-Display-Name and X-Expiry, as fpaste sends them'
head -c 5000 /dev/urandom >data.bin
named=$(alice --fail-with-body -A 'fpaste/1.6' -H 'Content-Type: application/octet-stream' -H 'X-Display-Name: data.bin' \
    -H 'X-Expiry: 600' --data-binary @data.bin "$paste/")
expect '"display_name":"data.bin"' '"size":5000' '"expires_at":1' <<<"$named"
anyone "$paste/$(field id <<<"$named")/raw" | cmp - data.bin
is "$(status alice -H 'X-Expiry: soon' --data-binary 'for how long?' "$paste/")" 400
echo 'for long' | alice -H 'X-Expiry: 999999999' --data-binary @- "$paste/" | expect '"expiry_clamped":true'
work "$paste/challenge"
is "$(status anyone "${worked[@]}" -H 'X-Display-Name: mine' --data-binary 'named by nobody' "$paste/")" 401

step 'GET, HEAD /ID: metadata without the content, as often as one likes'
anyone "$paste/$id" | expect "\"id\":\"$id\"" '"mime_type"' '"size":13'
anyone -I "$paste/$id" | expect '200' 'content-type: application/json'
is "$(status anyone "$paste/nosuchpaste1")" 404
anyone "$paste/nosuchpaste1" | expect '"error"'

step 'GET, HEAD /ID/raw: the content, inline, in a sandbox'
anyone -I "$paste/$id/raw" | expect '200' 'content-length: 13' 'content-type: text/plain' 'content-disposition: inline' \
    'nosniff' 'sandbox'
anyone -r 0-4 "$paste/$id/raw" | expect 'hello'

step 'GET /challenge: who is nobody in particular works for a paste, once for each'
is "$(status anyone --data-binary 'for nothing' "$paste/")" 400
anyone --data-binary 'for nothing' "$paste/" | expect 'Proof-of-work required'
anyone "$paste/challenge" | expect '"enabled":true' '"nonce"' '"difficulty":10' '"base_difficulty":10' '"elevated":false' \
    '"expires":1' '"token"'
work "$paste/challenge"
nobodys=$(anyone --fail-with-body "${worked[@]}" --data-binary 'for work' "$paste/")
expect '"id"' <<<"$nobodys"
anyone "${worked[@]}" --data-binary 'a second time' "$paste/" | expect 'Proof-of-work failed'
alice "$paste/challenge" | expect '"enabled":false' '"difficulty":0'

step 'a paste nobody reads lives for a day, a week or thirty days, by who made it'
work "$paste/challenge"
strangers=$(stranger --fail-with-body "${worked[@]}" --data-binary 'of a stranger' "$paste/")
lives 1 <<<"$nobodys"
lives 7 <<<"$strangers"
lives 30 <<<"$made"

step 'PUT /ID: other content, for its owner'
is "$(status anyone -X PUT --data-binary 'of nobody' "$paste/$id")" 401
is "$(status stranger -X PUT --data-binary 'of a stranger' "$paste/$id")" 403
alice --fail-with-body -X PUT -H 'Content-Type: text/markdown' -H 'X-Display-Name: notes.md' --data-binary '# changed' \
    "$paste/$id" | expect "\"id\":\"$id\"" '"mime_type":"text/markdown"' '"size":9' '"display_name":"notes.md"'
[[ $(anyone "$paste/$id/raw") == '# changed' ]] || fail 'the content is the old one'
alice --fail-with-body -X PUT -H 'X-Remove-Display-Name: true' "$paste/$id" >bare
if grep -q display_name bare; then fail 'the name is still there'; fi

step 'X-Paste-Password: the content for those who know it'
locked=$(echo planted-for-few | alice --fail-with-body -H 'X-Paste-Password: planted-password' --data-binary @- "$paste/")
expect '"password_protected":true' <<<"$locked"
secret=$paste/$(field id <<<"$locked")
is "$(status anyone "$secret")" 200
is "$(status anyone "$secret/raw")" 401
is "$(status anyone -H 'X-Paste-Password: planted-wrong-password' "$secret/raw")" 403
anyone --fail-with-body -H 'X-Paste-Password: planted-password' "$secret/raw" | expect planted-for-few
alice --fail-with-body -X PUT -H 'X-Remove-Password: true' "$secret" >open
is "$(status anyone "$secret/raw")" 200

step 'X-Burn-After-Read: metadata is no reading, HEAD of the content is one, and there is one'
burn=$(echo planted-secret | alice --fail-with-body -H 'X-Burn-After-Read: true' --data-binary @- "$paste/")
once=$paste/$(field id <<<"$burn")
anyone "$once" | expect '"burn_after_read":true'
is "$(status alice -X PUT --data-binary 'in between' "$once")" 400
[[ $(anyone "$once/raw") == planted-secret ]] || fail 'the only reading read something else'
is "$(status anyone "$once/raw")" 410
burn=$(echo planted-for-nobody | alice --fail-with-body -H 'X-Burn-After-Read: true' --data-binary @- "$paste/")
is "$(status anyone -I "$paste/$(field id <<<"$burn")/raw")" 200
is "$(status anyone "$paste/$(field id <<<"$burn")/raw")" 410

step 'GET /pastes: own ones, an admin all of them, narrowed down'
is "$(status anyone "$paste/pastes")" 401
stranger "$paste/pastes" | expect "\"id\":\"$(field id <<<"$strangers")\"" '"count":1' '"total":1' '"limit":50' '"offset":0'
alice "$paste/pastes?limit=1&offset=1" | expect '"count":1' '"limit":1' '"offset":1'
alice "$paste/pastes?type=text/markdown" | expect "\"id\":\"$id\"" '"total":1'
alice "$paste/pastes?search=DATA" | expect '"display_name":"data.bin"' '"total":1' '"created_at":"2'
alice "$paste/pastes?before=2000-01-01T00:00:00Z" | expect '"total":0'
alice "$paste/pastes?type=text&after=1000000000" | expect "\"id\":\"$id\""

step 'POST /s: a short URL, as text and as JSON'
short=$(alice --fail-with-body --data-binary 'https://example.org/a/long/way?to=go' "$paste/s")
expect '"id"' '"url":"/paste/s/' '"target_url":"https://example.org/a/long/way?to=go"' '"created_at":1' '"owner"' <<<"$short"
code=$(field id <<<"$short")
alice --fail-with-body --json '{"url": "https://b\u00fccher.example/"}' "$paste/s" | expect 'https://xn--bcher-kva.example/'
for bad in 'ftp://example.org/' 'https://' "$server/" 'javascript:alert(1)'; do
    is "$(status alice --data-binary "$bad" "$paste/s")" 400
done
is "$(status anyone --data-binary 'https://example.org/' "$paste/s")" 400

step 'GET, HEAD /s/ID: there; GET /s/ID/info: where that is'
anyone -I "$paste/s/$code" | expect '302' 'location: https://example.org/a/long/way?to=go' 'cache-control: no-store'
is "$(anyone -o /dev/null -w '%{http_code} %{redirect_url}' "$paste/s/$code")" '302 https://example.org/a/long/way?to=go'
anyone "$paste/s/$code/info" | expect "\"id\":\"$code\"" '"target_url":"https://example.org/a/long/way?to=go"'

step 'GET /s: own ones; DELETE /s/ID'
alice "$paste/s?limit=1&offset=1" | expect "\"id\":\"$code\"" '"count":1' '"total":2' '"limit":1' '"offset":1'
stranger "$paste/s" | expect '"total":0'
is "$(status anyone -X DELETE "$paste/s/$code")" 401
is "$(status stranger -X DELETE "$paste/s/$code")" 403
alice --fail-with-body -X DELETE "$paste/s/$code" | expect '"message"'
is "$(status anyone "$paste/s/$code")" 410

step 'DELETE /ID: nobody may not, its owner may, and an admin'
is "$(status anyone -X DELETE "$paste/$id")" 401
is "$(status stranger -X DELETE "$paste/$id")" 403
alice --fail-with-body -X DELETE "$paste/$id" | expect '"message"'
is "$(status anyone "$paste/$id")" 410
alice --fail-with-body -X DELETE "$paste/$(field id <<<"$strangers")" | expect '"message"'
is "$(status alice -X DELETE "$paste/nosuchpaste1")" 404

step 'the authority: status, CA, own certificates'
anyone "$server/pki/ca.crt" | expect 'BEGIN CERTIFICATE'
alice "$server/pki/certs" | expect '"alice"' '"fingerprint_sha1"'

step 'done'
