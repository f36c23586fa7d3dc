# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looks at a node's containers without the collection: what runs, since when, with which variables, and what lies on the disk.

Runs on the node, with the standard library only. Values come from files and never leave them: every answer is names and counts.

    containers.py remember --engine E --name N --out F      which container this is; does not write over F
    containers.py judge --engine E --name N --values F [--same-as F] [--secrets-dir D]
"""

import argparse
import json
import os
import re
import stat
import subprocess
import sys

TEMPORARY = re.compile(r"\.(env|request)$|servos-ops-new")


def ask(*words):
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL).stdout.decode()


def identity(arguments):
    [seen] = json.loads(ask(arguments.engine, "inspect", "--type", "container", arguments.name))
    return {"id": seen["Id"], "started": seen["State"]["StartedAt"], "pid": seen["State"]["Pid"]}


def remember(arguments):
    if os.path.exists(arguments.out):
        return {"new": False}
    with open(os.open(arguments.out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        json.dump(identity(arguments), stream)
    return {"new": True}


def environment_of(pid):
    """The environment of the container's first process, as the kernel has it: /proc/1/environ within."""
    with open(f"/proc/{pid}/environ", "rb") as stream:
        entries = stream.read().decode("utf-8", "surrogateescape").split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def judge(arguments):
    faults = []
    names = sorted(ask(arguments.engine, "ps", "--all", "--format", "{{.Names}}").split())
    if names != [arguments.name]:
        faults.append(f"containers: {names}")
        return {"faults": faults}
    now = identity(arguments)
    if not now["pid"]:
        return {"faults": ["it does not run"]}
    with open(arguments.values, encoding="utf-8") as stream:
        wanted = json.load(stream)
    held = environment_of(now["pid"])
    faults += [f"variable {name} is missing" for name in wanted if name not in held]
    faults += [f"variable {name} has another value" for name in wanted if held.get(name, wanted[name]) != wanted[name]]
    if not wanted:
        faults.append("no value was asked for")
    if arguments.same_as:
        with open(arguments.same_as, encoding="utf-8") as stream:
            faults += [f"another {name} than remembered" for name, seen in json.load(stream).items() if seen != now[name]]
    status = os.lstat(arguments.secrets_dir)
    if not stat.S_ISDIR(status.st_mode) or stat.S_IMODE(status.st_mode) != 0o700 or status.st_uid != 0:
        faults.append("the secrets directory is not root's own with mode 0700")
    for folder, unused_names, files in os.walk(arguments.secrets_dir):
        faults += [f"left behind: {os.path.join(folder, name)}" for name in files if TEMPORARY.search(name)]
    return {"faults": faults}


def parse(words):
    parser = argparse.ArgumentParser(description=__doc__)
    verbs = parser.add_subparsers(required=True)
    for name, does in (("remember", remember), ("judge", judge)):
        verb = verbs.add_parser(name)
        verb.set_defaults(does=does)
        verb.add_argument("--engine", required=True)
        verb.add_argument("--name", required=True)
        if does is remember:
            verb.add_argument("--out", required=True)
        else:
            verb.add_argument("--values", required=True, help="a JSON object: variable to value")
            verb.add_argument("--same-as", help="what remember wrote")
            verb.add_argument("--secrets-dir", default="/var/lib/servos/secrets")
    return parser.parse_args(words)


def main(words):
    arguments = parse(words)
    json.dump(arguments.does(arguments), sys.stdout, sort_keys=True)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main(sys.argv[1:])
