# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A STAND-IN for Provara's own rotation tool, in its manner; it is not that tool and contains none of its code.

It exists so that a benchmark can compare with the official way without Node and Provara's sources. The manner is FACT
(read and run at revision c4493c1): open all rows of api_keys in memory, then one autocommit UPDATE a row, keyed on
the id only; no transaction, no busy timeout, the keys compared as texts, and the second sealed table forgotten.
Differences: keys come from files instead of argv, and Python's speed is not Node's.

    official_loop.py --database D --old-key-file OLD --new-key-file NEW

Exit 0 as the real one does: also for an empty table. Never use it on data you need.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
import time
from pathlib import Path

from rows import OpenError, SealedRow, derive_key, open_row, read_key_text, seal_row


def rotate(database_path: str, old_key_bytes: bytes, new_key_bytes: bytes) -> int:
    """Run both phases and return the number of rows; a failure in the second leaves the table half rotated."""
    connection = sqlite3.connect(Path(database_path).resolve(strict=True), timeout=0, isolation_level=None)
    try:
        opened = []
        for row_id, *sealed in connection.execute("SELECT id, encrypted_value, iv, auth_tag FROM api_keys"):
            try:
                opened.append((row_id, open_row(SealedRow(*sealed), old_key_bytes)))
            except OpenError:
                raise OpenError(
                    f"Decrypt failed for api_keys.id={row_id}. Aborting before any row is modified"
                ) from None
        for row_id, plaintext_bytes in opened:
            connection.execute(
                "UPDATE api_keys SET encrypted_value = ?, iv = ?, auth_tag = ?, updated_at = ? WHERE id = ?",
                (*seal_row(plaintext_bytes, new_key_bytes), int(time.time()), row_id),
            )
        return len(opened)
    finally:
        connection.close()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Stand-in for Provara's rotation tool, for benchmarks.")
    parser.add_argument("--database", required=True)
    parser.add_argument("--old-key-file", required=True)
    parser.add_argument("--new-key-file", required=True)
    arguments = parser.parse_args(argv)
    try:
        old_key_text, new_key_text = read_key_text(arguments.old_key_file), read_key_text(arguments.new_key_file)
        if old_key_text == new_key_text:
            raise ValueError("`oldKey` and `newKey` are identical")
        count = rotate(arguments.database, derive_key(old_key_text), derive_key(new_key_text))
    except (OSError, ValueError, sqlite3.Error) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"[rotate] rotated {count} of {count} row(s).")
    return 0


if __name__ == "__main__":
    sys.exit(main())
