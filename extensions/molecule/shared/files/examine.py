# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looks at a test host from outside the collection: what holds which key, what was left behind, what a process list showed.

Runs on the test host, with the standard library only. Keys come from files and never leave them: every answer is
names, counts and places.
"""

import argparse
import base64
import json
import os
import secrets
import subprocess
import sys
import time
import urllib.parse

OWN = "/root/judge"


def read(path):
    with open(path, "rb") as stream:
        return stream.read()


def written_forms(text):
    """Every way any other secret could have been written down; of one with several lines each long line by itself too."""
    raw = text.encode()
    found = {
        "itself": raw,
        "hex": raw.hex().encode(),
        "base64": base64.b64encode(raw)[: len(raw) // 3 * 4],
        "url-encoded": urllib.parse.quote(text, safe="").encode(),
        "JSON": json.dumps(text)[1:-1].encode(),
        "JSON in UTF-8": json.dumps(text, ensure_ascii=False)[1:-1].encode(),
        "Python literal": repr(raw)[2:-1].encode(),
    }
    lines = text.split("\n")
    if len(lines) > 1:
        found.update({f"line {number}": line.encode() for number, line in enumerate(lines, start=1) if len(line) >= 12})
    return found


def write_private(path, data):
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as stream:
        os.fchmod(stream.fileno(), 0o600)
        stream.write(data)


def key_bytes(text):
    """Read a master key as the operator's tools do: 64 hex digits, or standard Base64 of 32 bytes."""
    text = text.strip()
    raw = bytes.fromhex(text.decode()) if len(text) == 64 else base64.b64decode(text, validate=True)
    if len(raw) != 32:
        raise SystemExit(f"a master key is 32 bytes, this one is {len(raw)}")
    return raw


def forms(text):
    """Every way the key could have been written down, without the parts that a neighbour may change (padding)."""
    raw = key_bytes(text)
    standard = base64.b64encode(raw).decode()
    quoted = urllib.parse.quote(standard, safe="")
    found = {
        "raw bytes": raw,
        "hex": raw.hex().encode(),
        "upper-case hex": raw.hex().upper().encode(),
        "base64": standard[:42].encode(),
        "url-safe base64": base64.urlsafe_b64encode(raw)[:42],
        "url-encoded": quoted[: len(quoted) - 6].encode(),
        "url-encoded in lower case": quoted[: len(quoted) - 6].replace("%2B", "%2b").replace("%2F", "%2f").encode(),
        "JSON with escaped slashes": standard[:42].replace("/", "\\/").encode(),
        "list of numbers": ", ".join(str(number) for number in raw).encode(),
        "Python literal": repr(raw)[2:-1].encode(),
    }
    for name, written in (("base64 of the base64", standard), ("base64 of the hex", raw.hex())):
        found[name] = base64.b64encode(written.encode())[:56]
    return found


# What holds which key


def systemd_value(env_file, variable):
    """What systemd itself reads: the very parser that feeds the service."""
    asked = ["systemd-run", "--quiet", "--pipe", "--wait", "--collect", "-p", "EnvironmentFile=" + env_file, "printenv", variable]
    return subprocess.run(asked, check=True, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL).stdout.rstrip(b"\n")


def main_pid(service):
    shown = subprocess.run(["systemctl", "show", "-p", "MainPID", "--value", service], check=True, stdout=subprocess.PIPE).stdout
    return int(shown)


def process_value(service, variable):
    for entry in read(f"/proc/{main_pid(service)}/environ").split(b"\0"):
        name, _equals, value = entry.partition(b"=")
        if name == variable.encode():
            return value
    raise SystemExit(f"the main process of {service} has no {variable}")


def env_key(arguments):
    write_private(arguments.out, systemd_value(arguments.env_file, arguments.variable))
    return {}


def same_key(arguments):
    same = process_value(arguments.service, arguments.variable) == systemd_value(arguments.env_file, arguments.variable)
    return {"same": same}


def snapshot(arguments):
    """The env file but for the key: bytes around it, owner, group, mode, and the other names in its folder."""
    value = systemd_value(arguments.env_file, arguments.variable)
    data = read(arguments.env_file)
    if data.count(value) != 1:
        raise SystemExit(f"the key stands {data.count(value)} times in the env file")
    status = os.stat(arguments.env_file)
    seen = {
        "masked": base64.b64encode(data.replace(value, b"<the key>")).decode(),
        "owner": status.st_uid,
        "group": status.st_gid,
        "mode": oct(status.st_mode),
        "folder": sorted(os.listdir(os.path.dirname(arguments.env_file))),
    }
    write_private(arguments.out, json.dumps(seen, sort_keys=True).encode())
    return {}


def same_snapshot(arguments):
    before, after = (json.loads(read(path)) for path in (arguments.before, arguments.after))
    return {"differs": sorted(name for name in before if before[name] != after[name])}


# What a process list showed


def sample(arguments):
    """Write every command line that was ever seen, once, twenty times a second, until stopped."""
    seen = set()
    with open(os.open(arguments.out, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab", buffering=0) as out:
        while True:
            for name in os.listdir("/proc"):
                if not name.isdigit():
                    continue
                try:
                    line = read(f"/proc/{name}/cmdline")
                except OSError:  # it has ended
                    continue
                if line and line not in seen:
                    seen.add(line)
                    out.write(line + b"\n")
            time.sleep(0.05)


# What was left behind


def files_since(moment):
    """Regular files changed since `moment`: on the root file system, and on the memory file systems that services write to."""
    for top in ("/", "/tmp", "/run", "/dev/shm"):
        device = os.stat(top).st_dev
        for folder, names, files in os.walk(top):
            names[:] = [name for name in names if is_on(os.path.join(folder, name), device)]
            if folder == OWN:
                names[:] = []
                continue
            for name in files:
                path = os.path.join(folder, name)
                try:
                    status = os.lstat(path)
                except OSError:
                    continue
                if status.st_mode & 0o170000 == 0o100000 and status.st_dev == device and status.st_ctime >= moment:
                    yield path


def is_on(path, device):
    try:
        return os.lstat(path).st_dev == device
    except OSError:
        return False


def places(arguments):
    """Name every place, with its bytes: journal, command lines, the controller's log, environments, changed files."""
    journal = ["journalctl", "--no-pager", "--all", "--output=export"]
    yield "journal", subprocess.run(journal, check=True, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL).stdout
    for named in arguments.also:
        name, _equals, path = named.partition("=")
        yield name, read(path)
    service = main_pid(arguments.service) if arguments.service else None
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                owner = "the service" if int(name) == service else read(f"/proc/{name}/comm").decode().strip()
                yield "environment of " + owner, read(f"/proc/{name}/environ")
            except OSError:  # it has ended, or is the kernel's
                continue
    for path in files_since(os.stat(arguments.since).st_mtime):
        try:
            yield path, read(path)
        except OSError:  # removed meanwhile
            continue


def search(arguments):
    wanted = {}
    for named in arguments.key:
        name, _equals, path = named.partition("=")
        wanted[name] = forms(read(path))
    for path in arguments.secrets:
        wanted.update({name: written_forms(text) for name, text in json.loads(read(path)).items()})
    allowed = [tuple(named.split("=", 1)) for named in arguments.allow]
    found = {name: [] for name in wanted}
    searched = 0
    for place, data in places(arguments):
        searched += 1
        for name, written in wanted.items():
            if any(owner in (name, "*") and (place == free or place.startswith(free.rstrip("/") + "/")) for owner, free in allowed):
                continue
            found[name] += [f"{place} ({form})" for form, needle in written.items() if needle in data]
    return {"found": found, "searched": searched}


def plant(arguments):
    """Leave a decoy key wherever a leak would be searched for: if the search does not find it, the search is blind."""
    raw = secrets.token_bytes(32)
    text = base64.b64encode(raw).decode()
    write_private(arguments.out, text.encode())
    subprocess.run(["systemd-cat", "-t", "decoy"], check=True, input=raw.hex().encode() + b"\n")
    os.makedirs("/root/.ansible", mode=0o700, exist_ok=True)
    for path, written in (
        ("/tmp/decoy", urllib.parse.quote(text, safe="")),
        ("/run/decoy", text),
        ("/var/log/decoy", raw.hex().upper()),
        ("/root/.ansible/decoy", base64.urlsafe_b64encode(raw).decode()),
        ("/etc/decoy", base64.b64encode(text.encode()).decode()),
    ):
        write_private(path, written.encode())
    subprocess.run(["/bin/sh", "-c", "sleep 0.5; :", text], check=True, stdin=subprocess.DEVNULL)
    return {"decoy": text}


def parse(words):
    parser = argparse.ArgumentParser(description=__doc__)
    verbs = parser.add_subparsers(required=True)

    def verb(name, does, *options):
        added = verbs.add_parser(name)
        added.set_defaults(does=does)
        for option in options:
            added.add_argument(option, required=True)
        return added

    verb("env-key", env_key, "--env-file", "--variable", "--out")
    verb("same-key", same_key, "--env-file", "--variable", "--service")
    verb("snapshot", snapshot, "--env-file", "--variable", "--out")
    verb("same-snapshot", same_snapshot, "--before", "--after")
    verb("sample", sample, "--out")
    verb("plant", plant, "--out")
    search_verb = verb("search", search, "--since")
    search_verb.add_argument("--service", help="whose environment is called the service's")
    search_verb.add_argument("--secrets", action="append", default=[], metavar="PATH", help="a JSON object: name to text")
    for option in ("--key", "--also", "--allow"):
        search_verb.add_argument(option, action="append", default=[], metavar="NAME=PATH")
    return parser.parse_args(words)


def main(words):
    arguments = parse(words)
    json.dump(arguments.does(arguments), sys.stdout, sort_keys=True)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main(sys.argv[1:])
