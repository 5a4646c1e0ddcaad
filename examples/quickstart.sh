#!/usr/bin/env bash
# A whole life in one script: start a server, enrol, upload, fetch, compare, list, expire; then a second client, who
# may fetch by link but not expire what is someone else's.
#
# Run it:  examples/quickstart.sh         (needs `ddrop` on the PATH; keeps nothing)
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
fail() { printf 'quickstart: %s\n' "$*" >&2; exit 1; }

command -v ddrop >/dev/null || fail 'ddrop is not on the PATH; build it with: cargo build --release'

# What is set outside must not reach into the example.
unset "${!DD_@}"
as() { XDG_CONFIG_HOME="$work/$1" ddrop "${@:2}"; }

step 'a server on a free port, with storage, CA and certificate of its own'
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
printf 'listening on %s\n' "$server"

step 'enrol with the invite of the first start: the key is made here and stays here'
as alice cert --configure "$invite"
[[ $(stat -c %a "$work/alice/ddrop/client.key") == 600 ]] || fail 'the key can be read by others'
as alice whoami

step 'upload a file for two hours; the link is on stdout'
head -c 300000 /dev/urandom >"$work/build.tar.gz"
url=$(as alice upload "$work/build.tar.gz" --ttl 2h)
id=${url##*/}
printf '%s\n' "$url"

step 'fetch it again and compare'
as alice fetch "$url" -o "$work/fetched.tar.gz"
cmp "$work/build.tar.gz" "$work/fetched.tar.gz" || fail 'the bytes differ'
echo 'the same bytes'

step 'what there is'
as alice list
[[ $(as alice list --json) == *"$id"* ]] || fail 'the list does not have the link'
as alice stats

step 'a second client, invited by the operator on the storage folder'
as bob cert --configure "$(ddrop pki invite bob -s "$work/storage")"
as bob fetch "$url" -o "$work/for-bob.tar.gz"
cmp "$work/build.tar.gz" "$work/for-bob.tar.gz" || fail 'the bytes differ'
echo 'bob can fetch by link'
code=0
as bob expire "$id" 2>"$work/refusal" || code=$?
cat "$work/refusal"
[[ $code == 4 ]] || fail "bob's expire ended with $code, not with 4"
echo 'bob was refused'

step 'the owner expires it; from then on it is gone for everybody'
as alice expire "$id"
code=0
as alice fetch "$url" -o "$work/late.tar.gz" 2>"$work/refusal" || code=$?
cat "$work/refusal"
[[ $code == 3 && ! -e $work/late.tar.gz ]] || fail "the late fetch ended with $code, not with 3"
echo 'gone'

step 'done'
