#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#
# Installs what LLMIR is built with: LLVM, MLIR, clang and LLD 18 and the usual
# build tools, from the distribution's own packages. Does nothing, and needs no
# privileges, when everything is there.
#
# Debian 13 and Ubuntu 24.04 carry LLVM 18's MLIR. Debian 12 does not: there it
# comes from Debian 13's suite, from the same mirror as the machine's own
# packages, pinned so low that nothing else is taken from it by accident. That
# upgrades libc6 to Debian 13's.
set -eu

build_packages="cmake ninja-build ccache g++ git make \
  python3 python3-dev python3-venv \
  nlohmann-json3-dev libxxhash-dev libgtest-dev libzstd-dev zlib1g-dev"
llvm_packages="libmlir-18-dev mlir-18-tools llvm-18-dev llvm-18-tools \
  liblld-18-dev clang-18 libclang-rt-18-dev \
  clang-format-18 clang-tidy-18"

die() { echo "install-toolchain: $*" >&2; exit 1; }

installed() {
  dpkg-query -W -f '${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx installed
}

missing=""
for package in $build_packages $llvm_packages; do
  installed "$package" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

command -v apt-get >/dev/null ||
  die "apt-get not found; install by hand:$missing"
as_root=""
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || die "run as root to install:$missing"
  as_root="sudo"
fi
apt_get() {
  $as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get -o DPkg::Lock::Timeout=300 "$@"
}

# The mirror and the signing key of the machine's own Debian source, in either
# of apt's two formats.
debian_mirror() {
  cat /etc/apt/sources.list.d/*.sources 2>/dev/null |
    sed -n 's/^URIs: *\([^ ]*\/debian\)\/\{0,1\}\( .*\)\{0,1\}$/\1/p' | head -n 1
  cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
    sed -n 's/^deb \(\[[^]]*\] \)\{0,1\}\([^ ]*\/debian\)\/\{0,1\} .*/\2/p' |
    head -n 1
}

candidate() { apt-cache policy "$1" | grep -q '^  Candidate: [^(]'; }

echo "install-toolchain: installing$missing"
apt_get update -q
suite=""
if ! candidate libmlir-18-dev || ! candidate liblld-18-dev; then
  . /etc/os-release
  [ "${ID:-}" = debian ] ||
    die "this ${ID:-system} has no libmlir-18-dev; use Debian 12 or 13, or Ubuntu 24.04"
  mirror=$(debian_mirror | head -n 1)
  [ -n "$mirror" ] ||
    die "no Debian source found in /etc/apt to take Debian 13's packages from"
  echo "install-toolchain: LLVM 18 comes from Debian 13 (trixie); this also upgrades libc6."
  if [ -t 0 ] && [ -z "${CI:-}" ]; then
    printf 'Go on? [Y/n] '
    read -r answer
    case "$answer" in [nN]*) die "stopped; nothing was changed" ;; esac
  fi
  $as_root tee /etc/apt/sources.list.d/llmir-trixie.sources >/dev/null <<SOURCE
Types: deb
URIs: $mirror
Suites: trixie
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SOURCE
  $as_root tee /etc/apt/preferences.d/llmir-trixie >/dev/null <<PIN
Package: *
Pin: release n=trixie
Pin-Priority: 100

# LLVM's tools take any Python 3: the system keeps its own.
Package: python3 python3-* libpython3-*
Pin: release n=trixie
Pin-Priority: -1
PIN
  apt_get update -q
  suite="-t trixie"
fi

# The build tools come from the machine's own suite, so that no more than LLVM
# is taken from elsewhere.
# shellcheck disable=SC2086  # lists of words
apt_get install -q -y --no-install-recommends $build_packages
# shellcheck disable=SC2086
apt_get install -q -y --no-install-recommends $suite $llvm_packages
