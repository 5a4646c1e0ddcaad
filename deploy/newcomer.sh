#!/usr/bin/env bash
# From `git clone` to a hardened service that runs, and a first drop: what a newcomer does on a Debian of their own, with
# the time it took. As root, with debootstrap:
#
#   deploy/newcomer.sh [--quick]     clones this repository, builds, installs; --quick: does not optimise
#   deploy/newcomer.sh BINARY        begins with a binary that was built before
#
# The Debian is fresh and holds what is named below and nothing else; it is kept in target/newcomer for the next time. It
# lives in memory and has processes, mounts, names and a network of its own (its loopback), and systemd is its first
# process: the units run as they do on a machine, with everything they forbid. From this machine it has Rust, which a
# newcomer has from rustup, and the crates, which cargo would download; both to be read only.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
repository=$(dirname "$here")
packages=systemd,dbus,libpam-systemd,git,gcc,libc6-dev,python3,iproute2
fail() { printf 'newcomer.sh: %s\n' "$*" >&2; exit 1; }
begun=${BEGUN-$(date +%s%N)}
step() { printf '%7d ms  %s\n' "$((($(date +%s%N) - begun) / 1000000))" "$*"; }

# The file system of a Debian, made once.
make_debian() { # archive
    [[ -e $1 ]] && return
    command -v debootstrap >/dev/null || fail 'it needs a Debian: apt-get install debootstrap'
    mkdir -p "$(dirname "$1")"
    local folder
    folder=$(mktemp -d)
    # In memory: thousands of files, each of which would be synced.
    # shellcheck disable=SC2016
    unshare --mount bash -euc '
        mount -t tmpfs -o size=3g none "$1"
        debootstrap --variant=minbase --include="$2" bookworm "$1/debian" >"$1/said" || { tail "$1/said" >&2; exit 1; }
        rm -rf "$1"/debian/var/cache/apt/archives/*.deb "$1"/debian/var/lib/apt/lists/*
        tar -C "$1/debian" -cf - . >"$3.part"' debootstrap "$folder" "$packages" "$1"
    mv "$1.part" "$1"
    rmdir "$folder"
}

# What becomes the first process: it puts the file system together and then is systemd.
if [[ ${1-} == --boot ]]; then
    root=$2/debian
    mount --make-rprivate /
    mount -t tmpfs -o size=6g none "$2"
    mkdir "$root"
    tar -C "$root" -xf "$3"
    printf '127.0.0.1 localhost\n' >"$root/etc/hosts"
    rm -f "$root/etc/resolv.conf"
    mkdir -p "$root/opt/rust" "$root/opt/crates" "$root/opt/upstream" "$root/sys/fs/cgroup"
    mount --bind "$(rustc --print sysroot)" "$root/opt/rust"
    mount --bind "${CARGO_HOME:-$HOME/.cargo}/registry" "$root/opt/crates"
    for folder in rust crates; do mount -o remount,bind,ro "$root/opt/$folder"; done
    git clone --quiet --bare "$4" "$root/opt/upstream/ddrop.git"
    if [[ ${5-} ]]; then install -m 755 "$5" "$root/opt/ddrop"; fi
    mount --rbind "$root" "$root"
    cd "$root"
    mount -t proc proc proc
    mount --bind proc/sys proc/sys
    mount -o remount,bind,ro proc/sys
    mount -t sysfs -o ro sysfs sys
    mount -t tmpfs -o mode=755 none sys/fs/cgroup
    mkdir sys/fs/cgroup/systemd
    mount -t cgroup -o none,name=systemd none sys/fs/cgroup/systemd
    mount -t tmpfs -o mode=755 none run
    mount -t tmpfs none tmp
    mount -t tmpfs -o mode=755 none dev
    for device in null zero full random urandom tty; do
        touch "dev/$device"
        mount --bind "/dev/$device" "dev/$device"
    done
    mkdir dev/pts dev/shm
    mount -t devpts -o newinstance,ptmxmode=0666 none dev/pts
    ln -s pts/ptmx dev/ptmx
    ip link set lo up
    mkdir .old
    pivot_root . .old
    umount -l /.old
    rmdir /.old
    # It could not harm this machine if it wanted to: no modules, no clock, no devices, no reboot.
    exec env -i container=newcomer PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        setpriv --bounding-set -sys_module,-sys_time,-sys_boot,-sys_rawio,-mknod \
        /lib/systemd/systemd --log-target=journal --show-status=no --unit=multi-user.target
fi

[[ $(id -u) == 0 ]] || fail 'this has to be done by root'
binary='' quick=''
case ${1-} in
    --quick) quick=--quick ;;
    -*) sed -n '2,11s/^# \?//p' "$0" >&2; exit 2 ;;
    ?*) binary=$(readlink -f "$1") ;;
esac
# With other packages it is another one.
archive=$repository/target/newcomer/debian-$(cksum <<<"$packages" | cut -d' ' -f1).tar
make_debian "$archive"
# What cargo would download, if it is not here yet.
(cd "$repository" && cargo fetch --quiet --locked)
step 'there is a Debian, with Rust and a C compiler'
began=$(date +%s%N)

# A control group of its own for what systemd makes.
work=$(mktemp -d)
groups=$work/groups group=$work/groups/newcomer-$$
starter=''
mkdir "$groups" "$work/memory"
clean() {
    # With the one that started it the first process ends, and with that all others.
    if [[ $starter ]]; then { kill -KILL "$starter"; wait "$starter"; } 2>/dev/null || true; fi
    until [[ ! $(find "$group" -name cgroup.procs -exec cat {} +) ]]; do sleep 0.1; done
    find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
    umount "$groups"
    rmdir "$groups" "$work/memory" "$work"
}
mount -t cgroup -o none,name=systemd none "$groups" || fail 'systemd needs control groups, which cannot be mounted here'
trap clean EXIT
mkdir "$group"
# shellcheck disable=SC2016
bash -c 'echo $$ >"$1/cgroup.procs"; shift; exec "$@"' bash "$group" unshare --mount --net --pid --uts --ipc --cgroup \
    --fork --kill-child "$0" --boot "$work/memory" "$archive" "$repository" ${binary:+"$binary"} &
starter=$!
until first=$(pgrep -P "$starter") && [[ $(readlink "/proc/$first/exe") == */systemd ]]; do
    kill -0 "$starter" 2>/dev/null || fail 'it does not start'
    sleep 0.1
done

# On the new machine: as root, as the newcomer.
inside() {
    nsenter --target "$first" --mount --net --pid --uts --ipc --cgroup --root --wd \
        env -i HOME=/root PATH=/opt/rust/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
}
newcomer() {
    inside runuser -u newcomer -- env --chdir=/home/newcomer HOME=/home/newcomer \
        CARGO_NET_OFFLINE=true CARGO_TERM_COLOR=never "$@"
}
journal() { inside journalctl --no-pager --unit ddrop.service --unit ddrop.socket >&2; }
shown() { inside sed -n "s/^$1:[[:space:]]*//p" "/proc/$2/status"; }
# All that could be left, but for what systemd remembers and the copies that useradd makes of what it changes.
files() {
    inside find /etc /usr/local /var/lib /home ! -path '/home/newcomer*' ! -path '/var/lib/systemd/*' \
        ! -path '/etc/*-' -printf '%p %m %U %s\n' | sort
}

until [[ $(inside systemctl is-system-running 2>/dev/null) =~ running|degraded ]]; do
    kill -0 "$first" || fail 'systemd has ended'
    sleep 0.1
done
[[ $(inside systemctl is-system-running) == running ]] || fail "$(inside systemctl --failed --no-legend)"
inside useradd --create-home newcomer
step 'systemd runs there as the first process'

if [[ $binary ]]; then
    inside mkdir -p /home/newcomer/ddrop
    inside cp -R /opt/ddrop /home/newcomer/ddrop/ddrop
    # The rest of a release is what the repository has.
    inside git -c safe.directory='*' --git-dir /opt/upstream/ddrop.git archive --output /tmp/deploy.tar HEAD deploy
    inside tar -C /home/newcomer/ddrop -xf /tmp/deploy.tar
    built=/home/newcomer/ddrop/ddrop
else
    # As they come; cargo unpacks them.
    inside mkdir -p /home/newcomer/.cargo/registry
    inside cp -R /opt/crates/cache /opt/crates/index /home/newcomer/.cargo/registry
    inside chown -R newcomer: /opt/upstream /home/newcomer/.cargo
    newcomer git clone --quiet /opt/upstream/ddrop.git /home/newcomer/ddrop
    step 'git clone'
    said=$(newcomer /home/newcomer/ddrop/deploy/build.sh $quick 2>&1) || fail "it does not build: $(tail <<<"$said")"
    built=${said##*$'\n'}
    step "deploy/build.sh $quick"
fi

before=$(files)
said=$(inside /home/newcomer/ddrop/deploy/systemd/install.sh "$built" 2>&1) || { journal; fail "install.sh: $said"; }
[[ $(inside systemctl is-active ddrop.service ddrop.socket) == $'active\nactive' ]] ||
    { journal; fail 'it does not run'; }
step 'deploy/systemd/install.sh: the service runs'

served=$(inside systemctl show --property MainPID --value ddrop.service)
[[ $(shown NoNewPrivs "$served") == 1 && $(shown Seccomp "$served") == 2 ]] || fail 'nothing is forbidden to it'
[[ $(shown CapEff "$served") == 0000000000000000 && $(shown CapBnd "$served") == 0000000000000000 ]] || fail 'it has privileges'
[[ $(shown Uid "$served") == "$(inside id -u ddrop)"$'\t'* ]] || fail 'it runs as someone else'
# shellcheck disable=SC2016
inside awk '$5 == "/" { last = $6 } END { exit last !~ /^ro/ }' "/proc/$served/mountinfo" || fail 'it can write anywhere'
inside systemd-analyze security --no-pager --threshold=20 ddrop.service >/dev/null || fail 'it is exposed'
step 'it has no privileges, and a read-only view of the system'

invite=$(inside runuser -u ddrop -- ddrop pki invite newcomer --admin -s /var/lib/ddrop 2>/dev/null)
newcomer ddrop cert --configure "$invite" >/dev/null 2>&1
newcomer ddrop whoami --json | grep -q '"role": "admin"' || fail 'the newcomer is no admin'
step 'the first admin is enrolled'

newcomer sh -c 'head -c 5000000 /dev/urandom >drop.bin'
url=$(newcomer ddrop upload drop.bin 2>/dev/null)
newcomer ddrop fetch "$url" -o back.bin 2>/dev/null
newcomer cmp drop.bin back.bin || fail 'what came back is something else'
step "a first drop, and back: ${url%/*}/…"

# As a user of a server without a screen does: their own systemd runs whether or not they are logged in.
inside loginctl enable-linger newcomer || fail 'the newcomer gets no systemd of their own'
user=$(inside id -u newcomer)
own() { newcomer env XDG_RUNTIME_DIR="/run/user/$user" systemctl --user "$@"; }
newcomer mkdir -p .config/systemd/user
for unit in service timer; do
    newcomer cp "ddrop/deploy/systemd/ddrop-renew.$unit" .config/systemd/user/
done
for _ in {1..600}; do
    [[ $(own is-system-running 2>/dev/null) != running ]] || break
    sleep 0.1
done
own enable --quiet --now ddrop-renew.timer || fail 'the timer that renews does not start'
[[ $(own show --property NextElapseUSecRealtime --value ddrop-renew.timer) ]] || fail 'it is not known when it is due'
own start ddrop-renew.service || fail "what it starts fails: $(inside journalctl --no-pager --lines=20)"
step "the newcomer's own systemd looks after the certificate"

# Others go on while the service is replaced: again and again one file there and back, until it is said to be enough.
# shellcheck disable=SC2016
busy='while [ ! -e /tmp/enough ]; do
    url=$(ddrop upload drop.bin 2>/tmp/why) && ddrop fetch "$url" -o - 2>/tmp/why | cmp - drop.bin &&
        ddrop expire "${url##*/}" >/dev/null 2>&1 || { cp /tmp/why /tmp/lost; exit 1; }
    echo >>/tmp/rounds
done'
inside touch /tmp/rounds
inside chown newcomer: /tmp/rounds
busy_ones=()
for _ in 1 2 3; do
    newcomer sh -c "$busy" &
    busy_ones+=("$!")
done
rounds() { inside sed -n '$=' /tmp/rounds; }
last=$served
for replaced in {1..10}; do
    was=$(rounds)
    inside systemctl restart ddrop.service || { journal; fail "it does not start again after $replaced restarts"; }
    served=$(inside systemctl show --property MainPID --value ddrop.service)
    [[ $served != "$last" && $served != 0 ]] || fail 'it was not replaced'
    last=$served
    until [[ $(rounds) != "$was" ]]; do
        if inside test -e /tmp/lost; then break; fi
        sleep 0.05
    done
done
inside touch /tmp/enough
wait "${busy_ones[@]}" || true
if inside test -e /tmp/lost; then fail "lost while it was replaced: $(inside cat /tmp/lost)"; fi
step "replaced ten times under load: $(rounds) files there and back, none lost"

inside loginctl disable-linger newcomer
inside /home/newcomer/ddrop/deploy/systemd/install.sh --purge >/dev/null 2>&1 || fail 'it cannot be taken away'
[[ $(files) == "$before" ]] || fail "something is left: $(diff <(printf '%s\n' "$before") <(files))"
step 'install.sh --purge: nothing is left'
printf '%7d ms  in all, without making the Debian\n' "$((($(date +%s%N) - began) / 1000000))"
