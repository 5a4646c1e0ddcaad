#!/usr/bin/env bash
# Builds the static binary that is released: the same bytes wherever and whenever it is built from the same sources by
# the same compilers.
#
#   deploy/build.sh [--target TARGET] [--out FOLDER]   ddrop, its digest and its list of parts (SBOM)
#   deploy/build.sh --check [--target TARGET]          builds at two places and compares
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
}

build() { # from, target folder
    local from=$1 into=$2 cargo_home=${CARGO_HOME:-$HOME/.cargo} flags
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

if [[ $check ]]; then
    name_build
    export DDROP_COMMIT=${DDROP_COMMIT:-compared}
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    for place in here/there somewhere/else/with/a/longer/path; do
        mkdir -p "$work/$place"
        # What git would put into an archive, with what has been changed since.
        (cd "$root" && git ls-files -z | tar --null --files-from=- -cf -) | tar -xf - -C "$work/$place"
        build "$work/$place" "$work/$place/target"
        cp "$work/$place/target/$target/$profile/ddrop" "$work/ddrop-${place%%/*}"
    done
    (cd "$work" && sha256sum ddrop-*)
    cmp "$work/ddrop-here" "$work/ddrop-somewhere" || fail 'two builds of the same sources differ'
    printf 'two builds at different places: the same bytes\n'
    exit
fi

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
