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
