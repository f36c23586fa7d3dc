# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Says of each thread of the unit's processes whether it is servos, alone, with three capabilities. Shares no code with the collection."""

import glob
import pwd
import subprocess
import sys

MASK = "0000008000005000"  # 12, 14 and 39: CAP_NET_ADMIN, CAP_IPC_LOCK, CAP_BPF
show = ["systemctl", "show", "--value", "-p", "ControlGroup", "servos-agent"]
group = subprocess.run(show, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
pids = []
for path in glob.glob("/sys/fs/cgroup/systemd" + group + "/cgroup.procs") or glob.glob("/sys/fs/cgroup" + group + "/cgroup.procs"):
    with open(path) as stream:
        pids += stream.read().split()
if not pids:
    sys.exit("the unit has no process")
servos = pwd.getpwnam("servos")
ids = {"Uid": [str(servos.pw_uid)] * 4, "Gid": [str(servos.pw_gid)] * 4}
wrong = []
for pid in pids:
    for status in glob.glob(f"/proc/{pid}/task/*/status"):
        with open(status) as stream:
            said = {line.split(":")[0]: line.split()[1:] for line in stream}
        wrong += [f"{status}: {name} {said[name]}" for name in ids if said[name] != ids[name]]
        wrong += [f"{status}: {name} {said[name]}" for name in ("CapPrm", "CapEff", "CapBnd") if said[name] != [MASK]]
        wrong += [f"{status}: {name} {said[name]}" for name in ("CapInh", "CapAmb") if int(said[name][0], 16) & ~int(MASK, 16)]
        wrong += [f"{status}: groups {said['Groups']}" for unused in [0] if [g for g in said["Groups"] if g != ids["Gid"][0]]]
        wrong += [f"{status}: NoNewPrivs or Seccomp" for unused in [0] if said["NoNewPrivs"] != ["1"] or said["Seccomp"] != ["2"]]
sys.exit("\n".join(wrong) or 0)
