# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs as AWX runs them: ansible-runner in a directory of its own, AWX's own injection of credentials, a real sshd."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import patch

import yaml
from by_path import load
from installations import Servos, wait_until
from module_runs import parent_of
from playbook_runs import inventory_of
from sshds import Sshd, public_keys

ROOT = Path(__file__).resolve().parents[2]


class _Loader(yaml.SafeLoader):
    """Reads C(!unsafe), which is Ansible's."""


_Loader.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(node))
MADE = yaml.load((ROOT / "playbooks" / "vars" / "awx_setup.yml").read_text(), Loader=_Loader)
TEMPLATES = {template["name"]: template for template in MADE["awx_job_templates"]}


def pins_of(sshd: Sshd, keys: Path) -> str:
    return "".join(f"[127.0.0.1]:{sshd.port} {key}\n" for key in public_keys(keys).values())


class Ended(NamedTuple):
    """What AWX keeps of a job: status, exit code, output and events."""

    code: int
    text: str
    events: list[dict[str, Any]]

    @property
    def reached(self) -> int:
        """Return how many hosts the recap has."""
        stats = [event["event_data"] for event in self.events if event["event"] == "playbook_on_stats"]
        return len(stats[-1]["processed"]) if stats else 0


class Job:
    """One job of a template, in a runner that is thrown away. Use as a context manager."""

    def __init__(self, name: str, servos: Servos, sshd: Sshd, pins: str, /, **answers: Any) -> None:
        self._template = TEMPLATES[name]
        asked = {MADE["awx_questions"][question]["variable"] for question in self._template["questions"]}
        assert set(answers) <= asked, "AWX lets nobody answer what the survey does not ask"
        self.folder = Path(tempfile.mkdtemp(prefix="awx_"))
        self._env = self.folder / "env"
        for part in ("env", "inventory", "cp"):
            (self.folder / part).mkdir(mode=0o700)
        (self.folder / "project").symlink_to(ROOT)
        inventory = inventory_of(servos, servos_audit_search=[str(servos.folder)])
        inventory["servos_control"]["hosts"]["control"] = {
            "ansible_host": "127.0.0.1", "ansible_port": sshd.port, "ansible_user": getpass.getuser(),
            "ansible_python_interpreter": sys.executable,
        }  # fmt: skip
        (self.folder / "inventory" / "hosts.json").write_text(json.dumps(inventory))
        (self._env / "extravars").write_text(json.dumps(MADE["awx_extra_vars"] | answers))
        (self._env / "ssh_key").write_text(sshd.identity.read_text())  # the Machine credential; runner gives it to an ssh-agent
        self.environment, self.shown_environment, self.arguments = _injected(self.folder, pins)
        self._process: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        """Start it as AWX does, which takes any host key by itself; and as talkatively as a template can be set."""
        argv = ["-vvv", *(["--check", "--diff"] if self._template.get("job_type") == "check" else []), *self.arguments]
        environment = os.environ | self.environment | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "ANSIBLE_HOST_KEY_CHECKING": "False",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.folder / "cp"), "ANSIBLE_HOME": str(self.folder / "home"), "HOME": str(self.folder),
            "ANSIBLE_LOCALHOST_WARNING": "0",
        }  # fmt: skip
        self._process = subprocess.Popen(
            [str(Path(sys.executable).with_name("ansible-runner")), "run", str(self.folder), "-p",
             f"playbooks/{self._template['playbook']}.yml", "--ident", "job", "--quiet", f"--cmdline={' '.join(argv)}"],
            env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def run(self) -> Ended:
        self.begin()
        if self._process is None:
            raise AssertionError("it was not begun")
        code = self._process.wait(timeout=180)
        artifacts = self.folder / "artifacts" / "job"
        events = [json.loads(path.read_text()) for path in sorted((artifacts / "job_events").glob("*.json"))]
        return Ended(code, (artifacts / "stdout").read_text(), sorted(events, key=lambda event: event["counter"]))

    def found(self, secrets: dict[str, str]) -> list[str]:
        """Name each secret, form and file of the runner in which one stands."""
        # The forms in which make leaks looks for a key.
        forms_of_key = load(ROOT / "tests" / "leaks" / "forms.py")["forms_of_key"]
        needles = [
            (f"{name} ({form})", needle) for name, text in secrets.items() for form, ways in forms_of_key(text).items() for needle in ways
        ]
        contents = {path: path.read_bytes() for path in self.folder.rglob("*") if path.is_file() and not path.is_symlink()}
        assert any(path.parent.name == "job_events" for path in contents), "there are no events to search"
        return [f"{name} in {path.name}" for path, content in contents.items() for name, needle in needles if needle in content]

    def die(self) -> None:
        """Let the runner and all that it started end as if its host had; what runs on the control host is not its own."""
        if self._process is None:
            return
        parents = {pid: parent_of(pid) for pid in map(int, filter(str.isdigit, os.listdir("/proc")))}
        family = [self._process.pid]
        for pid in family:
            family += [child for child, parent in parents.items() if parent == pid]
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(timeout=20)

    def __enter__(self) -> Job:
        return self

    def __exit__(self, *unused: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self.die()
        for socket in (self.folder / "cp").iterdir():  # connections that are kept open for a minute
            subprocess.run(["ssh", "-O", "exit", "-S", str(socket), "x"], capture_output=True, timeout=20, check=False)
        shutil.rmtree(self.folder)


def _injected(folder: Path, pins: str) -> tuple[dict[str, str], dict[str, str], list[str]]:
    """Let AWX's own code inject the credential; the paths are those of this machine, as there is no container."""
    from awx_plugins.interfaces import _temporary_private_inject_api as api

    told = MADE["awx_credential_type"]
    kind: Any = SimpleNamespace(injectors=told["injectors"], inputs=told["inputs"], managed=False)
    values = {"known_hosts": pins}
    credential: Any = SimpleNamespace(get_input_keys=lambda: list(values), get_input=values.__getitem__)
    environment: dict[str, str] = {}
    shown: dict[str, str] = {}
    arguments: list[str] = []
    with patch.object(api, "get_incontainer_path", lambda path, *unused, **also_unused: str(path)):
        api.inject_credential(kind, credential, environment, shown, arguments, str(folder))
    return environment, shown, arguments


def wait_for(path: Path) -> None:
    wait_until(path.exists, timeout_s=60)
