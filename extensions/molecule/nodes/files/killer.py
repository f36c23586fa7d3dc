# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stands before a container engine in PATH, called with the engine's name, and kills the module that calls it with SIGKILL.

"killer.py arm create 1 before" says when: in place of the first call of "create"; with "after", once the engine has done it.
Each kill is written to /root/judge/crash/kills with the number of secret files that lay on the disk at that moment.
"""

import glob
import json
import os
import signal
import subprocess
import sys

FOLDER = "/root/judge/crash"


def read(path):
    with open(path, encoding="utf-8") as stream:
        return stream.read()


def write(name, content):
    with open(os.open(f"{FOLDER}/{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
        stream.write(content)


def callers():
    """The processes of the module that called: Python's, from here up to the shell that sshd started."""
    pid = os.getppid()
    while pid > 1:
        status = dict(line.split(":\t", 1) for line in read(f"/proc/{pid}/status").splitlines() if ":\t" in line)
        if status.get("Name", "").startswith(("python", "timeout")):
            yield pid
        pid = int(status.get("PPid", "0"))


def arm(words):
    """Say when to kill; write the value that the container has to have in the end."""
    with open("/root/judge/secrets.json", encoding="utf-8") as stream:
        value = json.load(stream)["value of the crash test"]
    write("at", " ".join(words))
    write("calls", "0")
    write("values.json", json.dumps({"CRASH": f"{value}-{' '.join(words)}"}))


def stand_in(words):
    asked = ["/usr/bin/" + words[0], *words[1:]]
    verb, number, when = read(FOLDER + "/at").split()
    calls = int(read(FOLDER + "/calls")) + (words[1] == verb)
    write("calls", str(calls))
    if words[1] != verb or calls != int(number):
        os.execv(asked[0], asked)
    doomed = list(callers())
    if when == "after":
        subprocess.run(asked, check=False, stdin=subprocess.DEVNULL)
    files = len(glob.glob("/var/lib/servos/secrets/*.env"))
    with open(FOLDER + "/kills", "a", encoding="utf-8") as stream:
        stream.write(f"{verb} {number} {when} files={files} processes={len(doomed)}\n")
    for pid in doomed:
        os.kill(pid, signal.SIGKILL)
    return 1


def main(words):
    if words[:1] == ["arm"]:
        return arm(words[1:])
    return stand_in(words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
