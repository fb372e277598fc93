# shellcheck shell=bash
#
# Builds the exporter, starts it against its own simulated API, scrapes it and stops it. Sourced by tests/run.

demo_pid=
demo_dir=
demo_address=

# built_exporter CARGO-OPTION…: builds the binary and prints its path, wherever cargo puts it. It is the one that the
# integration tests start: `cargo build` would resolve other features, and with them compile half the dependencies again.
built_exporter() {
  cargo test --locked --no-run --test it --message-format=json-render-diagnostics "$@" |
    jq -r 'select(.reason == "compiler-artifact" and .target.kind == ["bin"] and .executable != null) | .executable'
}

# Prints a port of loopback that nothing listens on. It lies below the kernel's range for outgoing connections, so
# that none of those takes it before the exporter does.
free_port() {
  local port
  for _ in {1..50}; do
    port=$((20000 + RANDOM % 10000))
    if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      echo "$port"
      return
    fi
  done
  echo "found no free port on 127.0.0.1 between 20000 and 29999" >&2
  return 1
}

# start_demo BINARY: starts it in an empty folder of its own; whoever calls this traps stop_demo on EXIT first.
start_demo() {
  demo_address=127.0.0.1:$(free_port)
  demo_dir=$(mktemp -d)
  (cd "$demo_dir" && exec "$1" demo --web.listen-address="$demo_address" --simulator.listen-address=127.0.0.1:0) \
    >"$demo_dir/log" 2>&1 &
  demo_pid=$!
}

# stop_demo STATUS: ends the exporter, by force when it does not end by itself, and tells what it logged unless STATUS,
# that of the caller, is 0.
stop_demo() {
  [[ -n $demo_dir ]] || return 0
  if kill -TERM "$demo_pid" 2>/dev/null; then
    # Longer than the exporter gives itself for shutting down.
    timeout 20 tail --pid="$demo_pid" -f /dev/null || kill -KILL "$demo_pid" 2>/dev/null || true
  fi
  wait "$demo_pid" 2>/dev/null || true
  if (($1 != 0)); then
    echo "--- the last lines of the exporter's log" >&2
    tail -n 50 "$demo_dir/log" >&2
  fi
  rm -rf "$demo_dir"
}

scrape() {
  curl --noproxy '*' --silent --show-error --fail --max-time 5 "http://$demo_address/metrics"
}

# await_metric SECONDS REGEX: waits until a line of /metrics matches.
await_metric() {
  local deadline=$((SECONDS + $1))
  until scrape 2>/dev/null | grep -E "$2" >/dev/null; do
    if ! kill -0 "$demo_pid" 2>/dev/null; then
      echo "the exporter ended by itself" >&2
      return 1
    fi
    if ((SECONDS >= deadline)); then
      echo "/metrics showed no line like '$2' within $1 s; it ends with:" >&2
      scrape | tail -n 20 >&2 || true
      return 1
    fi
    sleep 0.2
  done
}
