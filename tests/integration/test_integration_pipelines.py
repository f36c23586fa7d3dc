# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pipelines of docs/examples as their runners run them: a repository, its secrets, the scripts of each job, over a real sshd."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import pytest
import yaml
from evidence import leaks
from installations import OLD, Servos, assert_same, b64
from playbook_runs import environment_of, inventory_of
from ports import free_port
from servers import write
from sshds import Sshd, public_keys

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples"
WORKFLOW = yaml.safe_load((EXAMPLES / "github" / "servos.yml").read_text())
GITLAB = yaml.safe_load((EXAMPLES / "gitlab" / "gitlab-ci.yml").read_text())
VAULT_PASSWORD = "100%25 a vault password"
ADDRESS = "127.0.30.1"
# Stands in front of the real one and notes what it was given.
WITNESS = """\
#!/bin/sh
tr '\\0' '\\n' < /proc/$$/cmdline > '{notes}/argv'
tr '\\0' '\\n' < /proc/$$/environ > '{notes}/environ'
for file in "$ANSIBLE_PRIVATE_KEY_FILE" "$ANSIBLE_VAULT_PASSWORD_FILE"; do stat -c '%a %U' "$file"; done > '{notes}/modes' 2>&1
dirname "$ANSIBLE_PRIVATE_KEY_FILE" > '{notes}/folder'
exec '{real}' "$@"
"""


class Ran(NamedTuple):
    """Exit code, all that a log would hold, and the summary of the job."""

    code: int
    text: str
    summary: str


def masks_of(text: str) -> list[str]:
    """Return what GitHub's runner hides from then on."""
    return [told.replace("%25", "%") for told in re.findall(r"^::add-mask::(.*)$", text, re.M)]


class Repository:
    """What somebody has who copied the example: the inventory, the scripts under C(ci), and a runner."""

    def __init__(self, folder: Path, servos: Servos, sshd: Sshd, artifact: Path) -> None:
        self.folder, self.servos, self.sshd = folder, servos, sshd
        self.notes, self.reports = folder / "notes", folder / "reports"
        self.temporary = Path(tempfile.mkdtemp(prefix="pipeline-"))  # a short path: Ansible has a socket there
        for made in (self.notes, folder / ".servos" / "bin"):
            made.mkdir(parents=True)
        shutil.copytree(EXAMPLES / "bin", folder / "ci")
        witness = WITNESS.format(notes=self.notes, real=shutil.which("ansible-playbook"))
        write(folder / ".servos" / "bin" / "ansible-playbook", witness, 0o700)
        write(folder / "requirements.yml", yaml.safe_dump({"collections": [{"name": str(artifact), "type": "file"}]}))
        self.describe()

    def describe(self, **variables: Any) -> None:
        inventory = inventory_of(self.servos, **variables)
        host = inventory["servos_control"]["hosts"]["control"]
        host |= {"ansible_connection": "ssh", "ansible_host": ADDRESS, "ansible_port": self.sshd.port, "ansible_user": self.sshd.user}
        write(self.folder / "inventory.yml", json.dumps(inventory))

    def secrets(self) -> dict[str, str]:
        key = public_keys(self.sshd.keys)["ed25519"]
        return {
            # As a web form keeps it: without its last line end.
            "SERVOS_SSH_KEY": self.sshd.identity.read_text().rstrip("\n"),
            "SERVOS_KNOWN_HOSTS": f"[{ADDRESS}]:{self.sshd.port} {key}",
            "SERVOS_VAULT_PASSWORD": VAULT_PASSWORD,
        }

    def run(self, script: str, **environment: str) -> Ran:
        """Run a script as GitHub's runner and GitLab's do, which is in bash, and stop at the first command that fails."""
        summary = write(self.folder / "summary.md", "")
        told = environment_of(self.servos, TMPDIR=str(self.temporary), RUNNER_TEMP=str(self.temporary), **environment)
        told.pop("ANSIBLE_COLLECTIONS_PATH", None)  # the collection is what ci/install installs
        if "GITHUB_ACTIONS" in environment:
            told["GITHUB_STEP_SUMMARY"] = str(summary)
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script], cwd=self.folder, env=told, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, timeout=180, check=False,
        )  # fmt: skip
        assert list(self.temporary.glob("servos-run*")) == []
        ran = Ran(done.returncode, done.stdout, summary.read_text())
        self.assert_secret_free(ran)
        return ran

    def assert_secret_free(self, ran: Ran) -> None:
        """Neither the log, once masked as the runner does, nor a report, nor the repository holds a secret."""
        masks = masks_of(ran.text)
        log = "\n".join(line for line in ran.text.splitlines() if not line.startswith("::add-mask::"))
        for mask in masks:
            log = log.replace(mask, "***")
        ours = {"vault password": VAULT_PASSWORD, "ssh key": self.sshd.identity.read_text().splitlines()[2]}
        files = [path for path in self.folder.rglob("*") if path.is_file() and ".servos" not in path.parts]
        written = b"".join(path.read_bytes() for path in files)
        assert leaks(log.encode() + ran.summary.encode() + written, self.servos.secrets() | ours) == []

    def job(self, name: str, **inputs: str) -> list[Ran]:
        """Run the scripts of one job of the GitHub workflow, as far as they go well or are told to run always."""
        known = {f"secrets.{key}": value for key, value in self.secrets().items()}
        known |= {f"vars.{key}": value for key, value in self.secrets().items()} | {f"inputs.{key}": value for key, value in inputs.items()}
        known["github.event.number"] = "7"
        done: list[Ran] = []
        for step in WORKFLOW["jobs"][name]["steps"]:
            if step.get("name") == "Install" and (self.folder / ".servos" / "collections").exists():
                continue
            if "run" in step and (step.get("if") == "always()" or not any(ran.code for ran in done)):
                assert "${{" not in step["run"]
                told = {key: re.sub(r"\$\{\{ (.*?) \}\}", lambda each: known[each[1]], value) for key, value in step.get("env", {}).items()}
                done.append(self.run(step["run"], GITHUB_ACTIONS="true", **told))
        return done

    def gitlab_job(self, name: str, **environment: str) -> Ran:
        job = GITLAB[name]
        script = "\n".join(GITLAB[job["extends"]]["before_script"] + job["script"])
        files = {f"{key}_FILE": str(write(self.folder.parent / key, value, 0o644)) for key, value in self.secrets().items()}
        return self.run(script, **files, **environment)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The collection as it is published, of this checkout."""
    folder = tmp_path_factory.mktemp("build")
    argv = ["ansible-galaxy", "collection", "build", "--output-path", str(folder), str(ROOT)]
    subprocess.run(argv, check=True, capture_output=True, timeout=120)
    (made,) = folder.glob("*.tar.gz")
    return made


@pytest.fixture
def repository(servos: Servos, artifact: Path, tmp_path: Path, genuine: Path) -> Iterator[Repository]:
    with Sshd(tmp_path / "sshd", genuine, free_port(ADDRESS), [ADDRESS]) as sshd:
        made = Repository(tmp_path / "a repository", servos, sshd, artifact)
        yield made
    shutil.rmtree(made.temporary)


def test_github_plans_and_rotates_on_approval(repository: Repository) -> None:
    servos = repository.servos
    before = servos.snapshot(directory_times=True)
    installed, planned = repository.job("plan")
    assert (installed.code, planned.code) == (0, 0), planned.text
    assert "Would rewrap 61 values" in (repository.reports / "plan.txt").read_text()
    assert "Would rewrap 61 values" in planned.text
    assert "Would rewrap 61 values" in planned.summary
    assert_same(before, servos.snapshot(directory_times=True))

    rotated = repository.job("rotate", rotation_id="2026-11")[-1]
    assert rotated.code == 0, rotated.text
    servos.assert_all_under(servos.env_text(), b64(OLD))
    assert "| control | " in rotated.summary
    (junit,) = repository.reports.glob("rotate-*.junit.xml")
    assert ElementTree.parse(junit).getroot().get("failures") == "0"
    argv, environ = ((repository.notes / name).read_text() for name in ("argv", "environ"))
    private = [line for text in repository.secrets().values() for line in text.splitlines()]
    assert [line for line in private if line in argv or line in environ] == []
    assert (repository.notes / "modes").read_text().splitlines() == [f"600 {repository.sshd.user}"] * 2
    assert set(private[:-2]) - set(masks_of(rotated.text)) == set()


OTHERS = {
    "an audit of GitLab with a finding": ("audit", 0o644, [2], "env&#95;file&#95;mode"),
    "a rotation of GitLab": ("rotate", 0o600, [0], "| control |"),
    "a night of GitHub": ("rehearse", 0o600, [0, 0], "| control |"),
}


@pytest.mark.campaign
@pytest.mark.parametrize(("name", "mode", "codes", "words"), OTHERS.values(), ids=OTHERS)
def test_the_other_jobs(repository: Repository, name: str, mode: int, codes: list[int], words: str) -> None:
    repository.describe(servos_audit_search=[str(repository.notes)])
    repository.servos.database.chmod(0o600)
    repository.servos.env_file.chmod(mode)
    ran = [repository.gitlab_job(name, SERVOS_ROTATION_ID="2026-11")] if len(codes) == 1 else repository.job(name)[1:]
    assert [one.code for one in ran] == codes, ran[-1].text
    assert words in ran[-1].text + ran[-1].summary
    assert ("::add-mask::" in ran[-1].text) == (len(codes) > 1)
    assert len(list(repository.reports.glob("*.junit.xml"))) == len(codes)


def test_a_host_whose_key_is_not_the_one_of_the_variable_is_not_talked_to(repository: Repository) -> None:
    secrets = repository.secrets() | {"SERVOS_KNOWN_HOSTS": f"[{ADDRESS}]:{repository.sshd.port} ssh-ed25519 {'A' * 68}"}
    before = repository.servos.snapshot()
    ran = repository.run("ci/install && ci/servos-run rotate", SERVOS_ROTATION_ID="one", **secrets)
    assert ran.code == 4, ran.text
    assert_same(before, repository.servos.snapshot())


REFUSED = {
    "no step": ("ci/servos-run", {}, 64, "there is no step ''"),
    "another step": ("ci/servos-run destroy", {}, 64, "there is no step 'destroy'"),
    "no inventory": ("ci/servos-run plan", {"SERVOS_INVENTORY": "hosts.yml"}, 64, "no inventory hosts.yml"),
    "an inventory that is none": ("ci/servos-run plan", {"SERVOS_INVENTORY": "broken.yml"}, 64, "broken.yml cannot be read"),
    "a rotation that is a script": ("ci/servos-run rotate", {"SERVOS_ROTATION_ID": 'x"; id; "'}, 64, "SERVOS_ROTATION_ID"),
    "a file that is missing": ("ci/servos-run rotate", {"SERVOS_SSH_KEY_FILE": "/nonexistent"}, 64, "/nonexistent"),
}


@pytest.mark.parametrize(("script", "environment", "code", "words"), REFUSED.values(), ids=REFUSED)
def test_what_is_given_wrongly_is_refused(tmp_path: Path, script: str, environment: dict[str, str], code: int, words: str) -> None:
    shutil.copytree(EXAMPLES / "bin", tmp_path / "ci")
    write(tmp_path / "inventory.yml", "{}")
    write(tmp_path / "broken.yml", ": [")
    told = {"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path), **environment}
    done = subprocess.run(script.split(), cwd=tmp_path, env=told, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr
    assert list(tmp_path.glob("servos-run*")) == []


@pytest.mark.parametrize("step", ["plan", "rotate"])
def test_one_that_is_told_to_end_leaves_no_key_behind(tmp_path: Path, step: str) -> None:
    shutil.copytree(EXAMPLES / "bin", tmp_path / "ci")
    write(tmp_path / "inventory.yml", "{}")
    (tmp_path / ".servos" / "bin").mkdir(parents=True)
    write(tmp_path / ".servos" / "bin" / "ansible", "#!/bin/sh\necho 'hosts (1):'\n", 0o700)
    lasting = f"#!/bin/sh\necho $$ > {tmp_path}/pid.new && mv {tmp_path}/pid.new {tmp_path}/pid\nexec sleep 60\n"
    write(tmp_path / ".servos" / "bin" / "ansible-playbook", lasting, 0o700)
    told = {"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path), "SERVOS_SSH_KEY": "a private key"}
    running = subprocess.Popen(["ci/servos-run", step], cwd=tmp_path, env=told, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while not (tmp_path / "pid").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        pid = int((tmp_path / "pid").read_text())
        assert [path.name for path in tmp_path.glob("servos-run.*/*")] != []
        running.terminate()
        assert running.wait(timeout=30) == 143
        assert list(tmp_path.glob("servos-run.*")) == []
        with pytest.raises(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    finally:
        running.kill()
        running.wait(timeout=10)


def test_a_bare_runner_gets_what_the_audit_of_host_keys_needs(tmp_path: Path) -> None:
    runner = tmp_path / "runner"
    runner.mkdir()
    note = f"#!/bin/bash\necho \"$@\" >> {tmp_path}/installed\n"
    write(runner / "pip", note, 0o700)
    write(runner / "ansible-galaxy", "#!/bin/bash\n", 0o700)
    write(runner / "python3", f"#!/bin/bash\n/bin/mkdir -p .servos && /bin/ln -s {runner} .servos/bin\n", 0o700)
    subprocess.run(["/bin/bash", EXAMPLES / "bin" / "install"], cwd=tmp_path, env={"PATH": str(runner)}, timeout=30, check=True)
    told = (ROOT / "meta" / "ee-requirements.txt").read_text()
    assert re.findall(r"^paramiko.*$", told, re.M)[0] in (tmp_path / "installed").read_text().split()


def test_a_run_that_reaches_nobody_is_a_failure(repository: Repository) -> None:
    write(repository.folder / "inventory.yml", json.dumps({"servos_control": {"hosts": {}}}))
    ran = repository.run("ci/install && ci/servos-run audit", **repository.secrets())
    assert (ran.code, "no host in servos_control" in ran.text) == (65, True), ran.text
