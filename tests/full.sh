# Sourced by tests/run --full: makes ready what needs more than Rust and Debian packages. The tests find it by
# environment variables and skip visibly without it.

tools=$PWD/target/full
mkdir -p "$tools"

if command -v npm >/dev/null; then
  if (cd "$tools" && npm install --silent --no-audit --no-fund --prefix . nodemailer@8 </dev/null >npm.log 2>&1); then
    AUTHRELAY_NODE_MODULES=$tools/node_modules
    export AUTHRELAY_NODE_MODULES
  else
    echo "nodemailer could not be installed by npm: see target/full/npm.log" >> "$AUTHRELAY_SKIPPED"
  fi
else
  echo "npm is not here: nodemailer is not tried" >> "$AUTHRELAY_SKIPPED"
fi

if python3 -m venv "$tools/python" >/dev/null 2>&1 &&
   "$tools/python/bin/pip" install --quiet --disable-pip-version-check aiosmtplib </dev/null >"$tools/pip.log" 2>&1; then
  AUTHRELAY_PYTHON=$tools/python/bin/python
  export AUTHRELAY_PYTHON
else
  echo "aiosmtplib could not be installed from PyPI: see target/full/pip.log" >> "$AUTHRELAY_SKIPPED"
fi

# In an environment of its own: it brings many packages.
if python3 -m venv "$tools/fuzzer" >/dev/null 2>&1 &&
   "$tools/fuzzer/bin/pip" install --quiet --disable-pip-version-check 'schemathesis>=4.32,<5' </dev/null >"$tools/fuzzer.log" 2>&1; then
  AUTHRELAY_SCHEMATHESIS=$tools/fuzzer/bin/schemathesis
  export AUTHRELAY_SCHEMATHESIS
else
  echo "schemathesis could not be installed from PyPI: see target/full/fuzzer.log" >> "$AUTHRELAY_SKIPPED"
fi

# Scans the listeners' TLS. In an environment of its own, too.
if python3 -m venv "$tools/sslyze" >/dev/null 2>&1 &&
   "$tools/sslyze/bin/pip" install --quiet --disable-pip-version-check 'sslyze>=6.3,<7' </dev/null >"$tools/sslyze.log" 2>&1; then
  AUTHRELAY_SSLYZE=$tools/sslyze/bin/sslyze
  export AUTHRELAY_SSLYZE
else
  echo "sslyze could not be installed from PyPI: see target/full/sslyze.log" >> "$AUTHRELAY_SKIPPED"
fi

# Tries the filter in contrib/. Its package brings a service that is not wanted here: only the program is taken out.
if command -v fail2ban-regex >/dev/null; then
  :
elif (cd "$tools" && apt-get download fail2ban && dpkg-deb -x fail2ban_*.deb fail2ban) </dev/null >"$tools/fail2ban.log" 2>&1; then
  AUTHRELAY_FAIL2BAN=$tools/fail2ban
  export AUTHRELAY_FAIL2BAN
else
  echo "fail2ban could not be fetched from Debian: see target/full/fail2ban.log" >> "$AUTHRELAY_SKIPPED"
fi

# promtool checks the metrics and the alert rules. Its package brings a service that is not wanted here: only the program is taken out.
if command -v promtool >/dev/null; then
  :
elif (cd "$tools" && apt-get download prometheus && dpkg-deb -x prometheus_*.deb prometheus) </dev/null >"$tools/prometheus.log" 2>&1; then
  AUTHRELAY_PROMTOOL=$tools/prometheus/usr/bin/promtool
  export AUTHRELAY_PROMTOOL
else
  echo "prometheus could not be fetched from Debian: see target/full/prometheus.log" >> "$AUTHRELAY_SKIPPED"
fi

# A browser for the status page, and what drives it and judges whether everybody can use it.
if ! command -v chromium >/dev/null; then
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core </dev/null >"$tools/chromium.log" 2>&1
fi
mkdir -p "$tools/page"
if ! command -v chromium >/dev/null; then
  echo "chromium could not be installed from Debian: see target/full/chromium.log" >> "$AUTHRELAY_SKIPPED"
elif ! command -v npm >/dev/null ||
     ! (cd "$tools/page" && npm install --silent --no-audit --no-fund --prefix . playwright-core@1 axe-core@4 </dev/null >npm.log 2>&1); then
  echo "playwright-core and axe-core could not be installed by npm: see target/full/page/npm.log" >> "$AUTHRELAY_SKIPPED"
else
  AUTHRELAY_CHROMIUM=$(command -v chromium) AUTHRELAY_PAGE_MODULES=$tools/page/node_modules
  export AUTHRELAY_CHROMIUM AUTHRELAY_PAGE_MODULES
fi

# The reference library of Standard Webhooks.
if python3 -m venv "$tools/webhooks" >/dev/null 2>&1 &&
   "$tools/webhooks/bin/pip" install --quiet --disable-pip-version-check standardwebhooks </dev/null >"$tools/webhooks.log" 2>&1; then
  AUTHRELAY_STANDARD_WEBHOOKS=$tools/webhooks/bin/python
  export AUTHRELAY_STANDARD_WEBHOOKS
else
  echo "standardwebhooks could not be installed from PyPI: see target/full/webhooks.log" >> "$AUTHRELAY_SKIPPED"
fi
if command -v npm >/dev/null; then
  mkdir -p "$tools/node-webhooks"
  if (cd "$tools/node-webhooks" && npm install --silent --no-audit --no-fund --prefix . standardwebhooks@1 </dev/null >npm.log 2>&1); then
    AUTHRELAY_NODE_WEBHOOKS=$tools/node-webhooks/node_modules
    export AUTHRELAY_NODE_WEBHOOKS
  else
    echo "standardwebhooks could not be installed by npm: see target/full/node-webhooks/npm.log" >> "$AUTHRELAY_SKIPPED"
  fi
fi

# Fuzzing: a while for each target. Its libraries are fetched here, because tests go nowhere.
if (cd fuzz && cargo fetch --locked --quiet) </dev/null >"$tools/fuzz.log" 2>&1; then
  AUTHRELAY_FUZZ_SECONDS=${AUTHRELAY_FUZZ_SECONDS:-10}
  export AUTHRELAY_FUZZ_SECONDS
else
  echo "fuzzing: its libraries could not be fetched, see target/full/fuzz.log" >> "$AUTHRELAY_SKIPPED"
fi

# What is known of our libraries. It takes too long to build to be installed here.
if command -v cargo-deny >/dev/null; then
  AUTHRELAY_CARGO_DENY=$(command -v cargo-deny)
  export AUTHRELAY_CARGO_DENY
fi

# lintian judges the package.
if ! command -v lintian >/dev/null && { [ "$(id -u)" -ne 0 ] ||
     ! DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends lintian </dev/null >"$tools/lintian.log" 2>&1; }; then
  echo "lintian could not be installed: the package is not judged by it" >> "$AUTHRELAY_SKIPPED"
fi

# A Debian to boot, with the real systemd, and two versions of the package. The tree is kept for the next run.
tree=$tools/bookworm
if [ "$(id -u)" -ne 0 ]; then
  echo "the package in a booted systemd: only root can boot one" >> "$AUTHRELAY_SKIPPED"
elif ! { command -v debootstrap && command -v systemd-nspawn; } >/dev/null &&
     ! DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends debootstrap systemd-container \
       </dev/null >"$tools/apt.log" 2>&1; then
  echo "the package in a booted systemd: debootstrap and systemd-nspawn could not be installed" >> "$AUTHRELAY_SKIPPED"
elif ! { [ -e "$tree/ready" ] || {
         rm -rf --one-file-system "$tree" &&
         debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,init-system-helpers,python3 bookworm "$tree" &&
         touch "$tree/ready"; } } </dev/null >"$tools/debootstrap.log" 2>&1; then
  echo "the package in a booted systemd: debootstrap failed, see target/full/debootstrap.log" >> "$AUTHRELAY_SKIPPED"
elif ! { old=$(packaging/build --profile dev --version 0.0.1-1 | tail -n 1) && cp "$old" "$tools/old.deb" &&
         new=$(packaging/build --profile dev --version 0.0.2-1 | tail -n 1) && cp "$new" "$tools/new.deb"; } \
       </dev/null 2>"$tools/package.log"; then
  echo "the package in a booted systemd: it could not be built, see target/full/package.log" >> "$AUTHRELAY_SKIPPED"
else
  AUTHRELAY_SYSTEMD_TREE=$tree AUTHRELAY_SYSTEMD_OLD=$tools/old.deb AUTHRELAY_SYSTEMD_NEW=$tools/new.deb
  export AUTHRELAY_SYSTEMD_TREE AUTHRELAY_SYSTEMD_OLD AUTHRELAY_SYSTEMD_NEW
fi
