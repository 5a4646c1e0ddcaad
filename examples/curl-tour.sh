#!/usr/bin/env bash
# The whole HTTP API by curl and openssl alone: enrolling by hand, uploads of every kind, fetches, links, the authority.
# `ddrop` itself only runs the server.
#
# Run it:  examples/curl-tour.sh      (needs `ddrop`, curl 7.82 or later and openssl on the PATH; keeps nothing)
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
fail() { printf 'curl-tour: %s\n' "$*" >&2; exit 1; }
# The first text value of a key in the JSON on stdin. A program would use a JSON parser; a tour has only sed.
field() { tr -d '\n' | sed -n "s/[^{]*{.*\"$1\": *\"\([^\"]*\)\".*/\1/p"; }
# Asserts that the text on stdin has all of these words in it, and shows it.
expect() {
    local text word
    text=$(cat)
    printf '%s\n' "$text"
    for word in "$@"; do
        [[ ${text,,} == *"${word,,}"* ]] || fail "'$word' is not in the answer"
    done
}

for program in ddrop curl openssl; do
    command -v "$program" >/dev/null || fail "$program is not on the PATH"
done

# What is set outside must not reach into the example.
unset "${!DD_@}"

mkfifo "$work/said"
ddrop serve -h 127.0.0.1 -p 0 -s "$work/storage" 2>"$work/said" &
server_pid=$!
exec 3<"$work/said"
server='' invite=''
while IFS= read -r -t 60 line <&3; do
    case $line in
        *'ddrop cert --configure '*) invite=${line##*--configure } ;;
        *'listening on https://'*) server=${line##*listening on } && break ;;
        *) printf '%s\n' "$line" >>"$work/server.log" ;;
    esac
done
[[ -n $server && -n $invite ]] || fail "the server did not start: $(cat "$work/server.log" 2>/dev/null)"
cat <&3 >>"$work/server.log" &
cd "$work"

step 'enrol by hand: an invite is ddrop://SECRET.ROOT@HOST:PORT, ROOT the SHA-256 of the CA in base64url'
rest=${invite#ddrop://}
secret=${rest%%.*}
rest=${rest#*.}
root=${rest%%@*}
pinned=$(printf '%s=' "$root" | tr '_-' '/+' | base64 -d | od -An -v -tx1 | tr -d ' \n')

step 'the CA comes from anyone (-k), and is believed because its fingerprint is the one in the invite'
curl -sS --fail-with-body -k "$server/pki/ca.crt" -o ca.crt
found=$(openssl x509 -in ca.crt -noout -fingerprint -sha256 | sed 's/.*=//; s/://g' | tr 'A-F' 'a-f')
[[ $found == "$pinned" ]] || fail "this is not the CA of the invite: $found, not $pinned"
echo "sha256 $found"

step 'a key that never leaves, a signing request, and the invite in a header that ps cannot show'
(umask 077 && openssl ecparam -name prime256v1 -genkey -noout -out client.key)
openssl req -new -key client.key -subj '/CN=admin' -out client.csr
printf 'Authorization: Invite %s\n' "$secret" |
    curl -sS --fail-with-body --cacert ca.crt -H @- -H 'Content-Type: application/pkcs10' --data-binary @client.csr \
        -D headers "$server/pki/enroll" -o client.crt
expect 'x-fingerprint-sha256' 'x-certificate-serial' 'x-is-admin: 1' <headers
openssl verify -purpose sslclient -CAfile ca.crt -untrusted client.crt client.crt

api() { curl -sS --fail-with-body --cert client.crt --key client.key --cacert ca.crt "$@"; }
status() { curl -sS -o /dev/null -w '%{http_code}' --cert client.crt --key client.key --cacert ca.crt "$@"; }
is() { [[ $1 == "$2" ]] || fail "answered $1, not $2"; }

step 'who am I, is the server well, what CA is it'
api "$server/" | expect 'ddrop'
api "$server/api/whoami" | expect '"tier":"admin"' 'fingerprint_sha256'
api "$server/health" | expect 'healthy'
api "$server/health/ready" | expect 'ready'
api "$server/pki/status" | expect "$pinned"
api "$server/pki/chain.crt" | expect 'BEGIN CERTIFICATE' >/dev/null

step 'upload: a form, the bytes themselves, curl -T, a stream of unknown length, a pipe'
head -c 200000 /dev/urandom >report.bin
form=$(api -F ttl=2h -F file=@report.bin "$server/api/upload")
expect '"name":"report.bin"' '"size":200000' <<<"$form"
raw=$(api -X POST -T report.bin "$server/api/upload?name=raw.bin&ttl=30m")
expect '"name":"raw.bin"' <<<"$raw"
put=$(api -T report.bin "$server/")
expect "$server/" <<<"$put"
stream=$(gzip -c report.bin | api -T - "$server/report.bin.gz")
expect "$server/" <<<"$stream"
paste=$(echo 'hello, world' | api --data-binary @- "$server/?ttl=10m")
expect "$server/" <<<"$paste"

step 'nobody without a certificate may upload, and the answer says what to do'
curl -sS --cacert ca.crt -T report.bin "$server/" | expect '"status":401' 'unauthenticated' 'ddrop cert --configure'

step 'fetch: whole, head, range, only if changed, resumed'
url=$(field url <<<"$form")
id=$(field id <<<"$form")
curl -sS --fail-with-body --cacert ca.crt "$url" -o whole.bin
cmp report.bin whole.bin
digest=$(openssl dgst -sha256 -binary report.bin | base64)
api -I "$url" | expect 'accept-ranges: bytes' 'content-length: 200000' "repr-digest: sha-256=:$digest:" 'attachment'
[[ $(api -r 0-4 "$paste") == hello ]] || fail 'the range is not the first five bytes'
is "$(status -r 999999- "$url")" 416
etag=$(api -I "$url" | tr -d '\r' | sed -n 's/^[Ee][Tt][Aa][Gg]: //p')
is "$(status -H "If-None-Match: $etag" "$url")" 304
head -c 70000 report.bin >partial.bin
api -C - "$url" -o partial.bin
cmp report.bin partial.bin
api "$stream" | gzip -dc | cmp - report.bin
api "$url/any-name-to-save-it-under.bin" | cmp - report.bin
echo 'all the same bytes'

step 'burn after reading: looking at the header is no reading, and there is only one'
once=$(echo planted-secret | api --data-binary @- "$server/?burn=true")
is "$(status -I "$once")" 200
[[ $(api "$once") == planted-secret ]] || fail 'the only reading read something else'
is "$(status "$once")" 410

step 'a request id goes to the log and comes back'
api -I -H 'X-Request-ID: tour-42' "$server/health" | expect 'x-request-id: tour-42' 'strict-transport-security' 'nosniff'

step 'links: list, search, metadata, change'
api "$server/api/links?limit=2" | expect '"links":' '"stats":' '"next":"'
api "$server/api/links?search=raw" | expect '"raw.bin"'
api "$server/api/links/$id" | expect "\"id\":\"$id\"" '"sha256":"'
api -X PATCH --json '{"name":"renamed.bin","ttl":"1h"}' "$server/api/links/$id" | expect 'renamed.bin'
api "$server/api/stats" | expect '"bytes":' '"capacity":'

step 'expire: at once, twice is no error, 410 afterwards; what never was is 404'
api -X POST "$server/api/links/$id/expire" | expect "$id"
api -X DELETE "$server/api/links/$id" | expect "$id"
is "$(status "$url")" 410
is "$(status "$server/0123456789abcdef")" 404

step 'nobody can take the authority away by making another'
is "$(status -X POST "$server/pki/ca")" 409

step 'the authority: invite, withdraw, issue, list, renew, revoke, the revocation list'
made=$(api --json '{"name":"carol","ttl":"1h"}' "$server/pki/invites")
expect '"invite":"ddrop://' <<<"$made"
api "$server/pki/invites" | expect '"carol"' '"open"'
api -X DELETE "$server/pki/invites/$(field id <<<"$made")" | expect 'withdrawn'
(umask 077 && openssl ecparam -name prime256v1 -genkey -noout -out bob.key)
openssl req -new -key bob.key -subj '/CN=bob' -out bob.csr
wish=$(printf '{"common_name":"bob","csr":"%s"}' "$(sed ':a;N;$!ba;s/\n/\\n/g' bob.csr)")
issued=$(api --json "$wish" "$server/pki/issue")
field certificate <<<"$issued" | sed 's/\\n/\n/g' >bob.crt
bob() { curl -sS --cert bob.crt --key bob.key --cacert ca.crt "$@"; }
bob "$server/api/whoami" | expect '"tier":"trusted"' '"bob"'
mine=$(field url <<<"$raw")
bob -X POST "$server/api/links/${mine##*/}/expire" | expect '"status":403' 'not_owner'
bob "$server/pki/invites" | expect '"status":403' 'not_admin'
api "$server/pki/certs" | expect '"bob"' '"admin"'
api -H 'Content-Type: application/pkcs10' --data-binary @client.csr "$server/pki/renew" -o renewed.crt
curl -sS --fail-with-body --cert renewed.crt --key client.key --cacert ca.crt "$server/api/whoami" | expect '"admin"'
api --json '{"name":"bob","reason":"keyCompromise"}' "$server/pki/revoke" | expect '"revoked"' 'keyCompromise'
bob "$server/api/links" | expect '"status":403' 'certificate_revoked'
api "$server/pki/crl" | openssl crl -inform DER -CAfile <(api "$server/pki/chain.crt") -noout -text |
    expect 'Key Compromise' >/dev/null
api "$server/pki/crl.pem" | expect 'BEGIN X509 CRL' >/dev/null

step 'done'
