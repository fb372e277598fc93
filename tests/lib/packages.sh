# shellcheck shell=bash
#
# The programs that the checks need, and where Debian has them. Sourced by tests/run.

# [Debian package]="what succeeds once it is there | why it is needed". Whatever makes the command succeed will do:
# nothing is installed over a tool that came another way.
declare -A debian_packages=(
  [buildah]="command -v buildah | builds the image without a container engine"
  [chromium]="command -v chromium | shows the page for people"
  [chromium-driver]="command -v chromedriver | drives the browser that shows it"
  [curl]="command -v curl | scrapes the exporter"
  [debootstrap]="command -v debootstrap | makes the stand-in for the base images"
  [gcc]="command -v cc | compiles the C and assembly of SQLite and of the TLS library"
  [iproute2]="command -v ip | brings up loopback in the container's network"
  [jq]="command -v jq | reads cargo's and buildah's JSON"
  [libc6-dev]="test -e /usr/include/stdio.h | the C library's headers, for the same"
  [openssl]="command -v openssl | makes certificates and tries what the exporter speaks"
  [prometheus]="command -v prometheus && command -v promtool | scrapes the exporter and evaluates the rules; brings promtool, their judge"
  [prometheus-alertmanager]="command -v prometheus-alertmanager && command -v amtool | delivers the alerts that fire"
  [python3]="command -v python3 | drives the proof, with its standard library alone"
  [python3-pip]="python3 -m pip --version | installs hadolint, which Debian does not have, below target/"
  [python3-yaml]="/usr/bin/python3 -c 'import yaml' | reads the rules and their tests, to find those without a test"
  [shellcheck]="command -v shellcheck | lints shell scripts"
  [sqlite3]="command -v sqlite3 | opens the exporter's database as an operator would"
  [systemd]="command -v systemd-analyze | judges the service unit; nothing of it runs"
)

# require_packages PACKAGE…: installs those of them that are missing, or says how to and fails.
require_packages() {
  local package entry
  local -A missing=()
  for package in "$@"; do
    entry=${debian_packages[$package]}
    bash -c "${entry%% | *}" >/dev/null 2>&1 || missing[$package]=${entry#* | }
  done
  ((${#missing[@]} > 0)) || return 0

  echo "==> packages: missing on this machine"
  for package in "${!missing[@]}"; do
    printf '%-12s %s\n' "$package" "${missing[$package]}"
  done
  if ((EUID != 0)); then
    echo "tests/run: install them first: sudo apt-get install --no-install-recommends ${!missing[*]}" >&2
    exit 1
  fi
  install_packages "${!missing[@]}"

  for package in "${!missing[@]}"; do
    entry=${debian_packages[$package]}
    if ! bash -c "${entry%% | *}" >/dev/null 2>&1; then
      echo "tests/run: package $package is installed, and yet this fails: ${entry%% | *}" >&2
      exit 1
    fi
  done
}

# The programs are wanted, not the services that come with some of them: none is started, now or at the next boot.
install_packages() (
  local service
  export DEBIAN_FRONTEND=noninteractive
  if [[ ! -e /usr/sbin/policy-rc.d ]]; then
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
  fi
  # A mirror of some other package that cannot be reached is no reason to stop: the installation itself tells.
  apt-get -qq update || echo "tests/run: apt-get update failed; going on with the package lists at hand" >&2
  apt-get -qq install --yes --no-install-recommends -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120 "$@"
  for service in prometheus prometheus-alertmanager; do
    if [[ " $* " == *" $service "* ]]; then
      update-rc.d "$service" disable
    fi
  done
)

# Rust comes by rustup as a rule: Debian's is too old. Cargo itself checks the version against Cargo.toml.
require_rust() {
  local component
  for component in cargo "cargo fmt" "cargo clippy"; do
    if ! $component --version >/dev/null 2>&1; then
      echo "tests/run: \`$component\` does not run: install Rust $(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)" \
        "or newer with its rustfmt and clippy components (rustup's default profile)" >&2
      exit 1
    fi
  done
}
