#!/usr/bin/env bash
# From a static binary to a service and a first drop, in a file system of its own and with no network but its own
# loopback: what a newcomer does after deploy/build.sh, with the time it took. As root:
#
#   deploy/newcomer.sh BINARY
#
# There is no systemd here that could start the unit. In its stead, from its own lines: the user, the one folder it may
# write to, a read-only root with nothing in it but what install.sh puts there, no new privileges, no capabilities, the
# limit of open files, the command. Not exercised: the filter of system calls (a test compares the calls), the watchdog,
# PrivateUsers and the socket unit (a test hands the socket over).
set -euo pipefail
binary=$(readlink -f "${1:?which binary?}")
here=$(cd "$(dirname "$0")" && pwd)
work=${2-}
if [[ ! $work ]]; then
    # The mounts go with their namespace; what is left is an empty folder.
    work=$(mktemp -d)
    trap 'rmdir "$work"' EXIT
    unshare --mount --net --pid --fork --kill-child --mount-proc "$0" "$binary" "$work"
    exit
fi

begun=$(date +%s%N)
step() { printf '%5d ms  %s\n' "$((($(date +%s%N) - begun) / 1000000))" "$*"; }
fail() { printf 'newcomer.sh: %s\n' "$*" >&2; exit 1; }
mount -t tmpfs none "$work"
root=$work/root home=$work/home unit=$work/root/etc/systemd/system/ddrop.service
mkdir "$root" "$home"
ip link set lo up

"$here/systemd/install.sh" --root "$root" "$binary" >/dev/null
step 'installed into an empty root'

value() { sed -n "s/^$1=//p" "$unit" | tail -n 1; }
storage=$root/var/lib/$(value StateDirectory)
ids=$(sed -n "s/^$(value User):x:\([0-9]*\):\([0-9]*\):.*/\1:\2/p" "$root/etc/passwd")
install -d -m "$(value StateDirectoryMode)" -o "${ids%:*}" -g "${ids#*:}" "$storage"
# As PrivateDevices does; a static program has its random numbers from there.
mkdir "$root/dev"
for device in null random urandom; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mount --rbind "$root" "$root" && mount --bind "$storage" "$storage" && mount -o remount,ro,bind "$root"
read -ra command <<<"$(value ExecStart)"
variable=$(value Environment)
mkfifo "$work/said"
env -i PATH="$PATH" "${variable/\%S//var/lib}" prlimit --nofile="$(value LimitNOFILE)" setpriv --no-new-privs \
    chroot --userspec="$ids" --groups= "$root" "${command[@]}" 2>"$work/said" &
exec 9<"$work/said"
invite='' said=''
while IFS= read -r line <&9; do
    case $line in
        *'ddrop cert --configure '*) invite=${line##*--configure } ;;
        'listening on '*) break ;;
        *) said+=$line$'\n' ;;
    esac
done
cat <&9 >/dev/null &
[[ $invite ]] || fail "the server did not start: $said"
step 'the server listens'

status=/proc/$(pgrep -xo ddrop)/status
shown() { sed -n "s/^$1:[[:space:]]*//p" "$status"; }
[[ $(shown NoNewPrivs) == 1 && $(shown CapEff) == 0000000000000000 ]] || fail 'it has privileges'
[[ $(shown Uid) == "${ids%:*}"* ]] || fail 'it runs as someone else'
if touch "$root/etc/written" 2>/dev/null; then fail 'its root can be written to'; fi

export XDG_CONFIG_HOME=$home HOME=$home
ddrop() { "$root/usr/local/bin/ddrop" "$@"; }
ddrop cert --configure "$invite" >/dev/null 2>&1
step 'the first admin is enrolled'
printf 'a first drop\n' >"$home/drop.txt"
url=$(ddrop upload "$home/drop.txt" 2>/dev/null)
[[ $(ddrop fetch "$url" -o - 2>/dev/null) == 'a first drop' ]] || fail 'what came back is something else'
step "a first drop, and back: ${url%/*}/…"
ddrop health >/dev/null
step 'done'
