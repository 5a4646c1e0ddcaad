#!/usr/bin/env bash
# Builds the static binary that is released: the same bytes wherever and whenever it is built from the same sources by
# the same compilers.
#
#   deploy/build.sh [--target TARGET] [--out FOLDER]           ddrop, its digest and its list of parts (SBOM)
#   deploy/build.sh --check [--target TARGET] [--out FOLDER]   and again as a stranger would, and compares
#
# TARGET: amd64 or arm64, or their triples (arm64 needs gcc-aarch64-linux-gnu and libc6-dev-arm64-cross). With --quick the
# compiler does not optimise: for the tests, in a fraction of the time. Never release that.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
target=$(uname -m)-unknown-linux-gnu
out="" check="" profile=release
while (($#)); do
    case $1 in
        --target) target=$2; shift 2 ;;
        --out) out=$2; shift 2 ;;
        --check) check=yes; shift ;;
        --quick) profile=quick; shift ;;
        *) sed -n '2,10s/^# \?//p' "$0" >&2; exit 2 ;;
    esac
done
case $target in
    amd64) target=x86_64-unknown-linux-gnu ;;
    arm64) target=aarch64-unknown-linux-gnu ;;
esac

fail() { printf 'build.sh: %s\n' "$*" >&2; exit 1; }

# What tells one build from another: the commit and its time. Of an unpacked archive they have to be told.
name_build() {
    if [[ $(git -C "$root" rev-parse --show-toplevel 2>/dev/null) == "$root" ]]; then
        : "${SOURCE_DATE_EPOCH:=$(git -C "$root" log -1 --format=%ct)}"
    fi
    export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH-0}
    # A stranger has no repository to ask.
    if [[ $check && $profile == release && ! ${DDROP_COMMIT-} ]]; then
        DDROP_COMMIT=$(git -C "$root" rev-parse --short=12 HEAD)
        export DDROP_COMMIT
    fi
}

cargo_home() { printf '%s' "${CARGO_HOME:-$HOME/.cargo}"; }

build() { # from, target folder
    local from=$1 into=$2 cargo_home flags
    cargo_home=$(cargo_home)
    # Neither the folders of this machine nor anything that differs from run to run gets into the binary.
    # shellcheck disable=SC2054
    flags=(-Ctarget-feature=+crt-static -Clink-arg=-Wl,--build-id=none
        "--remap-path-prefix=$from=/ddrop" "--remap-path-prefix=$into=/target" "--remap-path-prefix=$cargo_home=/cargo")
    export CFLAGS="-g0 -ffile-prefix-map=$from=/ddrop -ffile-prefix-map=$into=/target -ffile-prefix-map=$cargo_home=/cargo"
    local IFS=$'\x1f'
    export CARGO_ENCODED_RUSTFLAGS="${flags[*]}"
    export CARGO_PROFILE_RELEASE_STRIP=symbols CARGO_PROFILE_QUICK_STRIP=symbols CARGO_INCREMENTAL=0
    if [[ $target == aarch64-* && $(uname -m) != aarch64 ]]; then
        command -v aarch64-linux-gnu-gcc >/dev/null ||
            fail 'no cross compiler: apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross'
        export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc
        export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
    fi
    [[ -d $(rustc --print target-libdir --target "$target") ]] ||
        fail "no standard library for $target: rustup target add $target"
    (cd "$from" && cargo build --profile "$profile" --locked --bin ddrop --target "$target" --target-dir "$into") >&2
}

# As a stranger builds it: at another place, later, as another user with another home, in another language, where it is
# tomorrow already for most of the day, with other habits.
as_a_stranger() { # folder, command…
    local folder=$1
    shift
    mkdir -p "$folder/cargo"
    cp -R "$(cargo_home)/registry" "$folder/cargo/registry"
    local differs=(HOME="$folder" CARGO_HOME="$folder/cargo" RUSTUP_HOME="${RUSTUP_HOME:-$HOME/.rustup}" USER=stranger
        LOGNAME=stranger LC_ALL=POSIX LANG=POSIX TZ=Pacific/Kiritimati CARGO_BUILD_JOBS=3
        CARGO_NET_OFFLINE=true)
    # shellcheck disable=SC2016
    unshare --user --map-user=4321 --map-group=4321 -- env "${differs[@]}" \
        bash -c 'umask 077; [[ $(id -u) == 4321 ]] && exec "$@"' stranger "$@"
}

name_build
# What was built quickly never lies where what is released does.
[[ $out || $profile == release ]] || out=$root/target/$profile
out=${out:-$root/target/dist}
build "$root" "$root/target/static"
mkdir -p "$out"
install -m 755 "$root/target/static/$target/$profile/ddrop" "$out/ddrop-$target"
# As images name machines, with the empty folder an image begins with.
case $target in
    x86_64-*) ln -f "$out/ddrop-$target" "$out/ddrop-amd64" ;;
    aarch64-*) ln -f "$out/ddrop-$target" "$out/ddrop-arm64" ;;
esac
mkdir -p "$out/storage"
(cd "$out" && sha256sum "ddrop-$target" >"ddrop-$target.sha256")
python3 "$root/deploy/sbom.py" "$target" >"$out/ddrop-$target.cdx.json"
printf '%s\n' "$out/ddrop-$target"

if [[ $check ]]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    there=$work/somewhere/else/with/a/longer/path
    mkdir -p "$there"
    # What git would put into an archive, with what has been changed since.
    (cd "$root" && git ls-files -z | tar --null --files-from=- -cf -) | tar -xf - -C "$there"
    wanted=(--target "$target" --out "$work/out")
    [[ $profile == release ]] || wanted+=("--$profile")
    as_a_stranger "$work/stranger" "$there/deploy/build.sh" "${wanted[@]}" >&2
    (cd "$out" && sha256sum "ddrop-$target") && (cd "$work/out" && sha256sum "ddrop-$target")
    for file in "ddrop-$target" "ddrop-$target.cdx.json"; do
        cmp "$out/$file" "$work/out/$file" || fail 'two builds of the same sources differ'
    done
    for folder in "$root/" "$(cargo_home)/"; do
        if grep -qF "$folder" "$out/ddrop-$target"; then fail "the binary names the folder $folder"; fi
    done
    printf 'built twice, by others at another place and time: the same bytes\n'
fi
