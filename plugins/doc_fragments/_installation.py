# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This doc fragment is PRIVATE and only for use by the servos.ops collection. It can change without notice.

from __future__ import annotations


class ModuleDocFragment:
    """One installation of an application on a host."""

    DOCUMENTATION = r"""
requirements:
  - cryptography >= 3.3 (on the managed host)
options:
  app:
    description:
      - The application. It picks a profile, whose every part can be set by the other options.
      - V(custom) is an application that is not known by name; O(profile) then says all of it, C(name), C(env_var), C(derivation) and
        C(fields) at the least.
    type: str
    choices:
      - act
      - airflow
      - custom
      - nodered
      - provara
      - servos
    default: servos
  profile:
    description:
      - Parts of the profile to replace, by name. C(docs/profiles.md) of the collection describes each, and how to write one for an
        application that is not known.
      - C(name) is what the application is called in messages, backups and the paths of its directories.
      - C(fields) is a list of dictionaries with C(table), C(column) (or C(columns) with C(ciphertext), C(nonce) and C(tag)),
        C(codec) (V(aes256gcm_base64), V(aes256gcm_raw), V(aes256gcm_hex_columns), or a dictionary), and, where wanted, C(path) (a
        place in JSON, such as V($.token)), C(class) and C(optional). An empty list means that all fields are found by discovery.
      - C(ignore) is a list of dictionaries with C(table) and C(column) that are not sealed, whatever they look like.
      - C(canary) is a dictionary with C(row) (part of the key of the row that holds the integrity canary) and C(required).
      - C(key_list) is the character that separates several keys in the value, the first of which is active.
      - C(config_format) is V(env) or V(ini), and C(config_section) the section of an INI file in which O(env_var) stands.
        C(config_rivals) are endings of the variable's name that say that the key comes from elsewhere, which is refused, and
        C(process_var) is the environment variable that overrides an INI file.
      - Others are C(classes), C(derivation) (V(raw32), V(hex_or_sha256), or a dictionary with C(kdf)), C(rotate_path), and C(rival_key), a
        dictionary with C(file), the name of a JSON file beside the database, and C(member), a key in it that the application prefers.
    type: dict
  database:
    description:
      - URL of the database. V(sqlite:////absolute/path) is a file, which is never created, and V(json:////absolute/path) a JSON file;
        V(libsql://host) (as well C(https://), C(wss://), and to this host only C(http://), C(ws://) and C(libsql://...?tls=0)) is a
        libSQL server such as sqld or Turso. V(postgresql://user@host:5432/name?sslmode=verify-full) is a PostgreSQL server from 12 on,
        with the options of libpq; to other hosts TLS is asked for unless C(sslmode) says otherwise. It needs psycopg 3 on the host.
      - A token or a password does not belong into it, see O(database_token_file) and O(database_password_file).
      - For ServOS and ACT the default is the one in C(/var/lib); the others have none.
    type: str
  database_token_file:
    description:
      - A file on the managed host that holds the token of a libSQL server. It is read for each connection, so that it can be renewed.
    type: path
  database_password_file:
    description:
      - A file on the managed host that holds the password of the role at a PostgreSQL server, in one line. Without it libpq looks for
        C(~/.pgpass), a service file or a socket by itself.
    type: path
  env_file:
    description:
      - The env file that the service reads its master key from.
      - For ServOS and ACT the default is the one in C(/etc); Provara and Airflow have none.
    type: path
  env_var:
    description:
      - The variable in O(env_file) that holds the master key.
    type: str
  env_duplicates:
    description:
      - What two assignments of O(env_var) in O(env_file) mean.
      - With V(last_wins), as systemd and Docker read it, the earlier ones are taken out when the key is swapped.
    type: str
    choices:
      - fail
      - last_wins
    default: fail
  key_encoding:
    description:
      - How the master key is written. V(auto) is the way that the value in O(env_file) is written.
      - 64 hex digits are also well-formed Base64, of 48 bytes, so the two are told apart by their length and never guessed.
    type: str
    choices:
      - auto
      - base64
      - hex
    default: auto
  state_dir:
    description:
      - The directory of the staged and previous keys, the record of rotations and the lock. It is made C(0700).
      - The default is C(/var/lib/APP/rotation), where APP is the profile's C(name).
    type: path
"""
