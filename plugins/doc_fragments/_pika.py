# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This doc fragment is PRIVATE and only for use by the servos.ops collection. It can change without notice.

from __future__ import annotations


class ModuleDocFragment:
    """One Pika server, a login, and where its key lies on the host."""

    DOCUMENTATION = r"""
options:
  url:
    description:
      - Where the server is reached from the host, with its base path if it has one. In a cluster, the address of one server and no
        load balancer's.
      - Plain HTTP is taken for this host only, since the key would cross the network in clear. No redirect is followed.
    type: str
    required: true
  ca_file:
    description:
      - PEM file on the host with the authorities to trust, instead of the system's; where Pika made its certificate itself, that one.
    type: path
  validate_certs:
    description:
      - With V(false), whoever answers is believed, and is sent password and keys.
    type: bool
    default: true
  username:
    description:
      - An account with the capability C(settings.manage), or a superadmin, without a one-time code (TOTP).
    type: str
  password_file:
    description:
      - File on the host that holds its password. One line end at its end is not part of it.
    type: path
  login_strategy:
    description:
      - The way to log in with a password, where the server has several and none is named V(local).
    type: str
  token_file:
    description:
      - File on the host that holds an API token, instead of O(username). In the versions of Pika known here no token may work on the
        key, whatever its pages say.
    type: path
  timeout:
    description:
      - Seconds to wait for the server each time; more than 15, since it makes everybody wait for so long after wrong keys.
    type: float
    default: 35
  key_file:
    description:
      - File on the host that holds the key in force. Any text is a key, byte by byte, but for one line end at the file's end.
      - A rotation replaces what is in it; owner and mode stay.
    type: path
  config_env_file:
    description:
      - Env file on the host that gives the server its key at its start, if there is one. A rotation replaces the one value in it.
    type: path
  config_env_var:
    description:
      - The variable in O(config_env_file).
    type: str
    default: PIKA_ENCRYPTION_PASSWORD
  config_env_duplicates:
    description:
      - What two assignments of the variable mean, V(fail), or V(last_wins), as systemd and Docker read them.
    type: str
    choices:
      - fail
      - last_wins
    default: fail
  state_dir:
    description:
      - Directory on the host for the key of a rotation under way, the keys before the one in force, and the record. It is made C(0700).
    type: path
    default: /var/lib/servos/pika
  backup_dir:
    description:
      - Directory on the host for backups. It is made C(0700).
    type: path
    default: /var/lib/servos/pika-backups
"""
