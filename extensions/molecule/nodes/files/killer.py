#!/usr/bin/python3
# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stands before a container engine in PATH, under the engine's name, and kills the module that calls it with SIGKILL.

/root/judge/crash/at holds the number of the call and when: "3 before" kills in place of the third call, "3 after" once the engine
has done it. Each kill is written to /root/judge/crash/kills with the number of secret files that lay on the disk at that moment.
"""

import glob
import os
import signal
import subprocess
import sys

FOLDER = "/root/judge/crash"


def read(path, default=""):
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read()
    except OSError:
        return default


def callers():
    """The processes of the module that called: Python's, from here up to the shell that sshd started."""
    pid = os.getppid()
    while pid > 1:
        status = dict(line.split(":\t", 1) for line in read(f"/proc/{pid}/status").splitlines() if ":\t" in line)
        if status.get("Name", "").startswith(("python", "timeout")):
            yield pid
        pid = int(status.get("PPid", "0"))


def main(words):
    name = os.path.basename(words[0])
    calls = int(read(FOLDER + "/calls", "0")) + 1
    with open(FOLDER + "/calls", "w", encoding="utf-8") as stream:
        stream.write(str(calls))
    number, when = read(FOLDER + "/at").split()
    asked = ["/usr/bin/" + name, *words[1:]]
    if calls != int(number):
        os.execv(asked[0], asked)
    doomed = list(callers())
    if when == "after":
        subprocess.run(asked, check=False, stdin=subprocess.DEVNULL)
    files = len(glob.glob("/var/lib/servos/secrets/*.env"))
    with open(FOLDER + "/kills", "a", encoding="utf-8") as stream:
        stream.write(f"{calls} {when} {words[1]} files={files} processes={len(doomed)}\n")
    for pid in doomed:
        os.kill(pid, signal.SIGKILL)
    sys.exit(1)


if __name__ == "__main__":
    main(sys.argv)
