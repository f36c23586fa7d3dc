# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell every secret of the installation: keys, token, and each plaintext, opened by the reference application's own reader.

Runs on a test host; what it prints goes to the test that asks, through a pipe.
"""

import glob
import json
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, "/opt/servos-reference")

from manifest import connect_read_only, iterate_rows  # noqa: E402
from sealing import OpenError, open_sealed, parse_key  # noqa: E402


def read(path):
    with open(path, encoding="utf-8") as stream:
        return stream.read().strip()


def main():
    keys = {path: read(path) for path in glob.glob("/root/judge/*.key") + glob.glob("/var/lib/servos/rotation/*.key")}
    for line in read("/etc/servos/servos.env").splitlines():
        if line.startswith("SERVOS_MASTER_KEY="):
            keys["/etc/servos/servos.env"] = line.split("=", 1)[1]
    secrets = [{"name": f"key {path}", "text": text, "kind": "key"} for path, text in keys.items()]
    secrets.append({"name": "token", "text": read("/etc/servos/admin_token"), "kind": "token"})
    unopened = 0
    for table, row_id, columns, _others in iterate_rows(connect_read_only("/var/lib/servos/servos.db")):
        for column, sealed in columns.items():
            if sealed is None:
                continue
            for text in set(keys.values()):
                try:
                    plaintext = open_sealed(sealed, parse_key(text, accept_hex=True)).decode()
                except OpenError:
                    continue
                secrets.append({"name": f"plaintext {table.name}.{column} {row_id}", "text": plaintext, "kind": "plaintext"})
                break
            else:
                unopened += 1
    json.dump({"secrets": secrets, "unopened": unopened}, sys.stdout)


main()
