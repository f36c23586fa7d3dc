# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An agent of a node, as ServOS describes its own: it starts as root, drops to a user with three capabilities, and needs these three.

Started as root, it drops its rights by itself; started as the user, it uses what it was given. Either way it then makes an eBPF map, locks
memory and sets up a network device, over and over, and ends if it cannot. It shares no code with the collection.

The file of faults, one word a line, says what it does wrong:
  no_drop       stays root
  keep          keeps CAP_SETUID
  keep_bounding leaves its bounding set as it was
  group         keeps a supplementary group, adm
  root_thread   leaves a thread behind that stays root
  raw_socket    leaves a raw socket open, which only root could open
  shadow        leaves /etc/shadow open
  child         leaves a child process behind that stays root
  needs_home    needs its home directory in /root, which a sandbox hides
  slow          drops its rights after a second
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import grp
import os
import platform
import pwd
import signal
import socket
import struct
import sys
import threading
import time

SETGID, SETUID, SETPCAP, NET_ADMIN, IPC_LOCK, BPF = 6, 7, 8, 12, 14, 39
WANTED = (NET_ADMIN, IPC_LOCK, BPF)
PR_SET_KEEPCAPS, PR_SET_NAME, PR_CAPBSET_READ, PR_CAPBSET_DROP = 8, 15, 23, 24
SYS_SETRESUID, SYS_BPF = {"x86_64": (117, 321), "aarch64": (147, 280)}[platform.machine()]
SIOCGIFTXQLEN, SIOCSIFTXQLEN = 0x8942, 0x8943
libc = ctypes.CDLL(None, use_errno=True)


def must(value: int, what: str) -> int:
    if value < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return value


def capset(numbers: tuple[int, ...]) -> None:
    """Have these capabilities, permitted and effective, and none inheritable."""
    low, high = (sum(1 << number % 32 for number in numbers if number // 32 == word) for word in (0, 1))
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)
    must(libc.capset(header, sets), "capset")


def drop(user: str, group: str, faults: set[str]) -> None:
    uid, gid = pwd.getpwnam(user).pw_uid, grp.getgrnam(group).gr_gid
    kept = (*WANTED, SETUID) if "keep" in faults else WANTED
    if "keep_bounding" not in faults:
        for number in range(64):
            if number not in kept and libc.prctl(PR_CAPBSET_READ, number, 0, 0, 0) == 1:
                must(libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0), "prctl(PR_CAPBSET_DROP)")
    must(libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0), "prctl(PR_SET_KEEPCAPS)")
    os.setgroups([grp.getgrnam("adm").gr_gid] if "group" in faults else [])
    os.setresgid(gid, gid, gid)
    if "root_thread" in faults:
        must(libc.syscall(SYS_SETRESUID, uid, uid, uid), "setresuid")  # of this thread alone; the C library would tell all of them
    else:
        os.setresuid(uid, uid, uid)
    capset(kept)


def make_map() -> None:
    """Make an eBPF map, an array of one: without CAP_BPF the kernel refuses. It stays open, as an agent's does."""
    attributes = struct.pack("=IIII", 2, 4, 8, 1) + bytes(112)
    made = must(libc.syscall(SYS_BPF, 0, ctypes.c_char_p(attributes), len(attributes)), "bpf(BPF_MAP_CREATE)")
    os.dup2(made, 100)
    os.close(made)


def lock_memory() -> None:
    page = ctypes.create_string_buffer(1 << 20)
    must(libc.mlock(page, len(page)), "mlock")
    must(libc.munlock(page, len(page)), "munlock")


def set_up_device() -> None:
    """Set the length of a queue to what it is, for which the kernel asks for CAP_NET_ADMIN as for anything else of a device."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        request = bytearray(struct.pack("16si20x", b"lo", 0))
        fcntl.ioctl(asked, SIOCGIFTXQLEN, request)
        fcntl.ioctl(asked, SIOCSIFTXQLEN, request)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--user", default="servos")
    parser.add_argument("--group", default="servos")
    parser.add_argument("--faults", default="/etc/servos-agent.faults")
    parser.add_argument("--name", default="servos-agent")
    parser.add_argument("--ready", help="a file to make when the rights are dropped and used")
    arguments = parser.parse_args()
    libc.prctl(PR_SET_NAME, arguments.name.encode(), 0, 0, 0)
    signal.signal(signal.SIGTERM, lambda *unused: os._exit(0))
    faults: set[str] = set()
    if os.path.exists(arguments.faults):
        with open(arguments.faults, encoding="ascii") as stream:
            faults = set(stream.read().split())
    if "needs_home" in faults:
        os.listdir("/root")
    left: list[object] = []
    ready = os.open(arguments.ready, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666) if arguments.ready else None
    if os.geteuid() == 0 and "no_drop" not in faults:
        if "root_thread" in faults:
            threading.Thread(target=time.sleep, args=(10**6,), daemon=True).start()
        if "raw_socket" in faults:
            left.append(socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
        if "shadow" in faults:
            left.append(open("/etc/shadow", "rb"))  # noqa: SIM115 - it stays open, that is the fault
        if "child" in faults and os.fork() == 0:
            if ready is not None:
                os.close(ready)
            while True:
                signal.pause()
        if "slow" in faults:
            time.sleep(1)
        drop(arguments.user, arguments.group, faults)
    control = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    control.bind((0, 0))
    while control:
        make_map()
        lock_memory()
        set_up_device()
        if ready is not None:
            os.write(ready, b"ready")
            os.close(ready)
            ready = None
        time.sleep(1)


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        sys.exit(f"servos-agent: {error}")
