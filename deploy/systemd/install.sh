#!/bin/sh
# Puts ddrop in place as a service of the system, or takes it away again.
#
#   install.sh [--root DIR] [BINARY]     installs; BINARY is ./ddrop or target/dist/… by default
#   install.sh [--root DIR] --uninstall  removes what was installed; keeps the storage and the settings
#   install.sh [--root DIR] --purge      removes these too
#
# With --root everything goes below DIR and nothing is started: for images, packages and tests.
# Repeating it upgrades the binary and the units and leaves the settings as they are.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root='' deed=install binary='' upgraded=''
while [ $# -gt 0 ]; do
    case $1 in
        --root) root=${2:?--root needs a folder}; shift ;;
        --uninstall) deed=uninstall ;;
        --purge) deed=purge ;;
        -*) sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
        *) binary=$1 ;;
    esac
    shift
done

units='ddrop.service ddrop.socket'
system=$root/etc/systemd/system
user=$root/etc/systemd/user

say() { printf '%s\n' "$*"; }
fail() { printf 'install.sh: %s\n' "$*" >&2; exit 1; }
# On a system that runs; below --root there is nobody to tell.
live() { [ -z "$root" ] && [ -d /run/systemd/system ]; }
systemd_version() { systemctl --version 2>/dev/null | sed -n '1s/^systemd \([0-9]*\).*/\1/p'; }

find_binary() {
    for candidate in "$binary" "$here/../../ddrop" "$here/../../target/dist/ddrop-$(uname -m)-unknown-linux-gnu"; do
        if [ -n "$candidate" ] && [ -x "$candidate" ]; then
            binary=$candidate
            return
        fi
    done
    fail 'say where the binary is (deploy/build.sh makes one)'
}

make_user() {
    if [ -n "$root" ]; then
        mkdir -p "$root/etc"
        grep -qs '^ddrop:' "$root/etc/group" || echo 'ddrop:x:990:' >>"$root/etc/group"
        grep -qs '^ddrop:' "$root/etc/passwd" ||
            echo 'ddrop:x:990:990:ddrop:/var/lib/ddrop:/usr/sbin/nologin' >>"$root/etc/passwd"
    elif ! getent passwd ddrop >/dev/null; then
        useradd --system --user-group --home-dir /var/lib/ddrop --no-create-home --shell /usr/sbin/nologin ddrop
    fi
}

install_all() {
    [ "$(id -u)" = 0 ] || fail 'this has to be done by root'
    find_binary
    "$binary" --version >/dev/null || fail "$binary does not run here"
    make_user
    mkdir -p "$root/usr/local/bin" "$system" "$user" "$root/etc/ddrop/credentials"
    chmod 700 "$root/etc/ddrop/credentials"
    # Beside it and then in its place: a server that runs keeps the old one.
    cp "$binary" "$root/usr/local/bin/.ddrop.new"
    chmod 755 "$root/usr/local/bin/.ddrop.new"
    mv -f "$root/usr/local/bin/.ddrop.new" "$root/usr/local/bin/ddrop"
    for unit in $units; do
        cp "$here/$unit" "$system/$unit"
        chmod 644 "$system/$unit"
    done
    cp "$here/ddrop-renew.service" "$here/ddrop-renew.timer" "$user/"
    chmod 644 "$user"/ddrop-renew.*
    version=$(systemd_version)
    if [ "${version:-0}" -ge 253 ]; then
        mkdir -p "$system/ddrop.service.d"
        cp "$here/notify-reload.conf" "$system/ddrop.service.d/"
        chmod 644 "$system/ddrop.service.d/notify-reload.conf"
    fi
    [ -e "$root/etc/ddrop/ddrop.toml" ] || install -m 644 "$here/ddrop.toml" "$root/etc/ddrop/ddrop.toml"
    if live; then
        systemctl daemon-reload
        # One that ran before runs the old binary.
        if systemctl --quiet is-active ddrop.service; then upgraded=yes; fi
        systemctl enable --now ddrop.socket ddrop.service
        if [ "$upgraded" ]; then systemctl restart ddrop.service; fi
        say 'ddrop runs. The first admin: runuser -u ddrop -- ddrop pki invite NAME --admin -s /var/lib/ddrop'
    else
        say "installed below ${root:-/}; start it with: systemctl enable --now ddrop.socket ddrop.service"
    fi
}

uninstall() {
    [ "$(id -u)" = 0 ] || fail 'this has to be done by root'
    if live; then
        systemctl disable --now ddrop.service ddrop.socket 2>/dev/null || true
    fi
    for unit in $units; do
        rm -f "$system/$unit"
    done
    rm -f "$system/ddrop.service.d/notify-reload.conf" "$user/ddrop-renew.service" "$user/ddrop-renew.timer"
    # Drop-ins of the operator's own stay, and then the folder does.
    rmdir "$system/ddrop.service.d" 2>/dev/null || true
    rm -f "$root/usr/local/bin/ddrop"
    if live; then systemctl daemon-reload; fi
    if [ "$deed" = purge ]; then
        rm -rf "$root/etc/ddrop" "$root/var/lib/ddrop"
        if [ -n "$root" ]; then
            sed -i '/^ddrop:/d' "$root/etc/passwd" "$root/etc/group"
        elif getent passwd ddrop >/dev/null; then
            userdel ddrop
        fi
        say 'removed, with settings, storage and user'
    else
        say "removed; kept: $root/etc/ddrop, $root/var/lib/ddrop and the user ddrop (--purge removes them)"
    fi
}

case $deed in
    install) install_all ;;
    *) uninstall ;;
esac
