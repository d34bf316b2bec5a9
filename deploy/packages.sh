# Debian packages that Sluice needs, and how scripts install the missing ones. Sourced, not run.

# A C toolchain's headers and linker, which Swift on Linux relies on, and the C libraries Sluice links.
build_packages=(
    binutils libc6-dev libgcc-12-dev libstdc++-12-dev zlib1g-dev pkg-config
    liburing-dev libssl-dev libyaml-dev libc-ares-dev libhiredis-dev libpq-dev
)

say() { printf '%s\n' "$*"; }

# One line with the remedy, then the end.
die() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

# Prints those of the given packages that are not installed.
missing_packages() {
    local name
    for name in "$@"; do
        dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q 'install ok installed' || printf '%s\n' "$name"
    done
}

# install_packages LOG PACKAGE...: installs what is missing. Returns 1, with the reason in LOG, when that fails.
install_packages() {
    local log=$1; shift
    local wanted=() as_root=()
    command -v dpkg-query >/dev/null && command -v apt-get >/dev/null || { echo "this machine has no apt-get" >"$log"; return 1; }
    mapfile -t wanted < <(missing_packages "$@")
    (( ${#wanted[@]} )) || return 0
    if (( EUID != 0 )); then
        command -v sudo >/dev/null || { echo "not root, and sudo is not installed" >"$log"; return 1; }
        as_root=(sudo)
    fi
    say "Installing Debian packages: ${wanted[*]}"
    # The index of a fresh machine may be empty or old, so a failed installation is tried again after an update.
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${wanted[@]}" >"$log" 2>&1 && return 0
    "${as_root[@]}" apt-get update -qq >>"$log" 2>&1 || true
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${wanted[@]}" >>"$log" 2>&1
}

# Ends with a remedy unless a Swift that can build this package is on the path.
require_swift() {
    local version
    command -v swift >/dev/null || die "Swift is not installed. Get Swift 6.3 for Debian 12 from https://www.swift.org/install/linux/ and put its usr/bin on PATH."
    version=$(swift --version 2>&1) || die "swift --version fails ($(tail -n 1 <<<"$version")). See what Swift 6.3 needs: https://www.swift.org/install/linux/."
    version=$(sed -n 's/.*Swift version \([0-9]*\.[0-9]*\).*/\1/p' <<<"$version" | head -n 1)
    [[ -n $version ]] || die "swift --version names no version. Install Swift 6.3 again from https://www.swift.org/install/linux/."
    case $version in
        [0-5].*|6.[0-2]) die "Swift $version is too old. Get Swift 6.3 from https://www.swift.org/install/linux/." ;;
    esac
}

# Installs what the build needs, or ends with a remedy.
require_build_packages() {
    mkdir -p .build
    install_packages .build/packages.log "${build_packages[@]}" \
        || die "cannot install packages ($(tail -n 1 .build/packages.log)). As root: apt-get install ${build_packages[*]}"
}
