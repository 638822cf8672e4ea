# Sourced by .ci/run: gets the services that tests start themselves, and names those that are there in BITLOOP_REQUIRE, so
# that a test which skips for want of one fails. What cannot be had here is left out, and its tests say that they skip.

found() { export BITLOOP_REQUIRE="${BITLOOP_REQUIRE:+$BITLOOP_REQUIRE,}$1"; }

has_postgres() { command -v postgres >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null; }

# Debian's PostgreSQL, without the server that its package would set up and start.
install_postgres() {
  apt-get update -qq &&
    apt-get install -y -qq --no-install-recommends postgresql-common &&
    sed -i 's/^#\?create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf &&
    apt-get install -y -qq --no-install-recommends postgresql
}

# A server that speaks S3, from PyPI, kept between runs.
install_moto() {
  local folder="${XDG_CACHE_HOME:-$HOME/.cache}/bitloop/moto-5.2.5"
  if [ ! -e "$folder/complete" ]; then
    rm -rf "$folder" &&
      python3 -m venv "$folder" &&
      "$folder/bin/pip" install -q 'moto[s3]==5.2.5' flask flask-cors &&
      touch "$folder/complete" || return 1
  fi
  export BITLOOP_TEST_MOTO="$folder/bin/moto_server"
}

# ONNX Runtime, whose library tests load, and NumPy, so that the example of a probe can use it from Python; from PyPI, kept
# between runs.
install_onnxruntime() {
  local folder="${XDG_CACHE_HOME:-$HOME/.cache}/bitloop/onnxruntime-1.32.0-numpy-2.4.6"
  if [ ! -e "$folder/complete" ]; then
    rm -rf "$folder" &&
      python3 -m venv "$folder" &&
      "$folder/bin/pip" install -q --no-deps 'onnxruntime==1.32.0' 'numpy==2.4.6' &&
      touch "$folder/complete" || return 1
  fi
  export BITLOOP_TEST_ONNXRUNTIME="$folder"
}

has_postgres || { [ "$(id -u)" = 0 ] && install_postgres; } || true
if has_postgres; then found postgres; else echo 'PostgreSQL cannot be installed here'; fi
if [ -n "${BITLOOP_TEST_MOTO:-}" ] || install_moto; then found moto; else echo 'moto cannot be installed here'; fi

if [ -n "${BITLOOP_TEST_ONNXRUNTIME:-}" ] || install_onnxruntime; then
  found onnxruntime
else
  echo 'onnxruntime cannot be installed here'
fi

# Terminals for tests, of util-linux.
if command -v script >/dev/null; then found script; else echo 'there is no script, which makes terminals'; fi

# Several hosts on one machine; needs root, or a system that lets users make namespaces.
if unshare --net true 2>/dev/null && command -v ip >/dev/null; then found netns; else echo 'network namespaces cannot be had here'; fi

# A small disk for tests to fill; needs root.
disk=$(mktemp -d)
if mount -t tmpfs -o size=1m tmpfs "$disk" 2>/dev/null; then
  umount "$disk"
  found tmpfs
else
  echo 'small disks cannot be mounted here'
fi
rmdir "$disk"
