#!/usr/bin/env bash
# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Makes an installation of the ServOS model on a test host, as a service of systemd, and a user who may become root.
# The reference application lies in /opt/servos-reference. Keys are born here. usage: prepare.sh DEPLOYERS_PUBLIC_KEY
set -euo pipefail
umask 022

useradd --create-home --shell /bin/bash deployer
install -d -m 0700 -o deployer -g deployer /home/deployer/.ssh
printf '%s\n' "$1" > /home/deployer/.ssh/authorized_keys
chown deployer: /home/deployer/.ssh/authorized_keys
# By default sudo forbids core files, and a hard limit cannot be raised again; here nothing but the collection itself forbids them.
printf '%s\n' 'deployer ALL=(ALL) NOPASSWD: ALL' 'Defaults rlimit_core=user' > /etc/sudoers.d/deployer
echo 'Set disable_coredump false' >> /etc/sudo.conf

useradd --system --home-dir /var/lib/servos --no-create-home --shell /usr/sbin/nologin servos
install -d -m 0750 -o servos -g servos /var/lib/servos
install -d -m 0750 -o root -g servos /etc/servos
install -d -m 0700 /root/judge

# read and printf are the shell's own: no process has a secret among its arguments
(umask 077
  head -c 32 /dev/urandom | base64 -w 0 > /root/judge/old.key
  head -c 32 /dev/urandom | base64 -w 0 > /root/judge/brought.key
  head -c 24 /dev/urandom | base64 -w 0 > /etc/servos/admin_token)
chown servos: /etc/servos/admin_token
(umask 027
  { echo 'SERVOS_LISTEN=127.0.0.1:8080'
    echo 'SERVOS_DATABASE=/var/lib/servos/servos.db'
    echo "SERVOS_MASTER_KEY=$(</root/judge/old.key)"
    echo 'SERVOS_ADMIN_TOKEN_FILE=/etc/servos/admin_token'
  } > /etc/servos/servos.env)
chgrp servos /etc/servos/servos.env

of_database=(--database /var/lib/servos/servos.db --key-file /root/judge/old.key)
python3 /opt/servos-reference/schema.py init "${of_database[@]}" --journal-mode wal
python3 /opt/servos-reference/schema.py fill "${of_database[@]}" --values 60 --seed leaks --manifest /root/judge/manifest.json
chown servos: /var/lib/servos/servos.db*

cat > /etc/systemd/system/servos.service <<'UNIT'
[Unit]
Description=Reference application

[Service]
Type=simple
User=servos
EnvironmentFile=/etc/servos/servos.env
ExecStart=/usr/bin/python3 /opt/servos-reference/server.py --product servos
UMask=0027
UNIT

# What an operator who debugs sets: programs that die leave a core file where they stand. The second one takes our protection away.
install -d -m 1777 /var/tmp/cores
install -d /opt/leaks/unprotected
cat > /usr/local/bin/python-that-leaves-cores <<'WRAPPER'
#!/bin/sh
ulimit -c unlimited && cd /var/tmp/cores && exec /usr/bin/python3 "$@"
WRAPPER
cat > /usr/local/bin/python-unprotected <<'WRAPPER'
#!/bin/sh
export PYTHONPATH=/opt/leaks/unprotected
exec /usr/local/bin/python-that-leaves-cores "$@"
WRAPPER
cat > /opt/leaks/unprotected/sitecustomize.py <<'MODULE'
import ctypes


class WithoutPrctl(ctypes.CDLL):
    def prctl(self, *_arguments):
        return 0


ctypes.CDLL = WithoutPrctl
MODULE
# In the place of the command that stops the service: whoever called it stands still until it is told to go on.
cat > /opt/leaks/hold <<'HOLD'
#!/bin/sh
touch /root/judge/held
while [ ! -e /root/judge/go ]; do sleep 0.05; done
exit 1
HOLD
chmod 0755 /usr/local/bin/python-that-leaves-cores /usr/local/bin/python-unprotected /opt/leaks/hold

systemctl daemon-reload
systemctl start servos
python3 - <<'PY'
import time, urllib.request

for attempt in range(200):
    try:
        urllib.request.urlopen("http://127.0.0.1:8080/api/health", timeout=5)
        break
    except OSError:
        time.sleep(0.05)
else:
    raise SystemExit("the service does not answer")
PY
touch /root/judge/begin
