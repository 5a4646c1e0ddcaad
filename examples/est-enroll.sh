#!/usr/bin/env bash
# Enrolment over EST (RFC 7030) by curl and openssl alone: the CA, a certificate for an invite, its renewal. What any
# device or program with an EST client does. `ddrop` itself only runs the server and makes the invite.
#
# Run it:  examples/est-enroll.sh      (needs `ddrop`, curl and openssl on the PATH; keeps nothing)
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
fail() { printf 'est-enroll: %s\n' "$*" >&2; exit 1; }

for program in ddrop curl openssl; do
    command -v "$program" >/dev/null || fail "$program is not on the PATH"
done

# What is set outside must not reach into the example.
unset "${!DD_@}"
cd "$work"

step 'a server'
mkfifo said
ddrop serve -h 127.0.0.1 -p 0 -s storage 2>said >/dev/null &
server_pid=$!
exec 3<said
url=
while IFS= read -r -t 60 line <&3; do
    if [[ $line == *'listening on '* ]]; then
        url=${line##*listening on }
        break
    fi
done
[[ -n $url ]] || fail 'the server did not start'
cat <&3 >/dev/null &
est=$url/.well-known/est

step 'the CA, as PKCS#7: fetched without trust, and taken only with the right fingerprint'
curl -sS --insecure "$est/cacerts" | openssl base64 -d | openssl pkcs7 -inform DER -print_certs -out cas.pem
ddrop pki ca -s storage >root.pem
wanted=$(openssl x509 -in root.pem -noout -fingerprint -sha256)
# One file per certificate.
awk '/BEGIN/ { n++ } /BEGIN/, /END/ { print > ("ca" n ".pem") }' cas.pem
anchor=
for file in ca?.pem; do
    if [[ $(openssl x509 -in "$file" -noout -fingerprint -sha256) == "$wanted" ]]; then anchor=$file; fi
done
[[ -n $anchor ]] || fail 'the root is not among the CAs'
echo 'the root is the one that was expected'
trusting() { curl -sS --fail-with-body --cacert "$anchor" "$@"; }

step 'what key would be best'
trusting "$est/csrattrs" | openssl base64 -d | openssl asn1parse -inform DER | sed -n 's/.*OBJECT *:/  /p'

step 'enrol: the secret of an invite is the password of HTTP Basic'
secret=$(ddrop pki invite sensor-7 -s storage --json | sed -n 's/.*"secret": *"\([^"]*\)".*/\1/p')
# The password by a file, since others can see command lines.
printf 'user = "sensor-7:%s"\n' "$secret" >password
# A name in the request would not count: the invite says who it is.
request() {
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1" -subj /CN=whoever -outform DER \
        2>/dev/null | openssl base64
}
request device.key >device.b64
trusting --config password -H 'Content-Type: application/pkcs10' --data-binary @device.b64 "$est/simpleenroll" |
    openssl base64 -d | openssl pkcs7 -inform DER -print_certs -out device.pem
openssl verify -CAfile "$anchor" -untrusted cas.pem -purpose sslclient device.pem
openssl x509 -in device.pem -noout -subject

step 'a second use of the invite is refused'
code=$(curl -sS --cacert "$anchor" --config password --data-binary @device.b64 -o refusal -w '%{http_code}' \
    "$est/simpleenroll")
printf '%s %s\n' "$code" "$(sed -n 's/.*"code":"\([^"]*\)".*/\1/p' refusal)"
[[ $code == 401 ]] || fail "the invite was taken twice: $code"

step 'what the certificate is good for'
echo measured | trusting --cert device.pem --key device.key -T - "$url/reading.txt"

step 'renew, over TLS with the certificate itself; the client stays the same'
request next.key >next.b64
trusting --cert device.pem --key device.key -H 'Content-Type: application/pkcs10' --data-binary @next.b64 \
    "$est/simplereenroll" | openssl base64 -d | openssl pkcs7 -inform DER -print_certs -out next.pem
openssl verify -CAfile "$anchor" -untrusted cas.pem -purpose sslclient next.pem
trusting --cert next.pem --key next.key "$url/api/links" | grep -o '"name":"reading.txt"'

step 'done'
