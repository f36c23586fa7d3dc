# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The main job on a machine with nothing set up: rotate the key of a small ServOS under traffic, with the real playbook.

The application is the reference one of tests/reference_apps, on SQLite, started and stopped by two small scripts; no
Docker, no systemd and no root are needed. Whether it worked is judged by that application's own reader, which shares no
code with the collection.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.request
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
REFERENCE = HERE.parent / "reference_apps" / "servos"
VALUES = 2000


class Demo:
    """One throw-away installation in one folder."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.port = free_port()
        self.traffic: subprocess.Popen[bytes] | None = None

    def path(self, name: str) -> str:
        return str(self.work / name)

    def run(self, *argv: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(argv, check=True, text=True, **options)

    def reference(self, script: str, *argv: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, str(REFERENCE / script), *argv, **options)

    def set_up(self) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(mode=0o700, parents=True)
        secret(self.path("old.key"), base64.b64encode(os.urandom(32)).decode())
        secret(self.path("token"), base64.urlsafe_b64encode(os.urandom(24)).decode())
        self.reference("schema.py", "init", "--database", self.path("servos.db"), "--key-file", self.path("old.key"),
                       "--journal-mode", "wal", stdout=subprocess.DEVNULL)
        self.reference("schema.py", "fill", "--database", self.path("servos.db"), "--key-file", self.path("old.key"),
                       "--values", str(VALUES), "--manifest", self.path("manifest.json"), stdout=subprocess.DEVNULL)
        secret(self.path("servos.env"), textwrap.dedent(f"""\
            # ServOS, as its installer writes it
            SERVOS_DATABASE={self.path('servos.db')}
            SERVOS_LISTEN=127.0.0.1:{self.port}
            # openssl rand -base64 32
            SERVOS_MASTER_KEY="{Path(self.path('old.key')).read_text()}"
            SERVOS_ADMIN_TOKEN_FILE={self.path('token')}
            """))
        script(self.path("start"), f"""\
            setsid '{sys.executable}' '{REFERENCE / 'server.py'}' --env-file '{self.path('servos.env')}' \\
              --pid-file '{self.path('servos.pid')}' >> '{self.path('servos.log')}' 2>&1 < /dev/null &
            """)
        script(self.path("stop"), f"""\
            kill "$(cat '{self.path('servos.pid')}')"
            """)
        Path(self.path("inventory.json")).write_text(json.dumps(self.inventory(), indent=2))

    def inventory(self) -> dict[str, object]:
        api = f"http://127.0.0.1:{self.port}/api"
        probes = [
            {"name": name, "url": f"{api}/{name}/1/reveal", "token_file": self.path("token")}
            for name in ("servers", "services", "git_credentials", "registries")
        ]
        return {"servos_control": {
            "hosts": {"control": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}},
            "vars": {
                "servos_app": "servos",
                "servos_database": f"sqlite:///{self.path('servos.db')}",
                "servos_env_file": self.path("servos.env"),
                "servos_state_dir": self.path("rotation"),
                "servos_backup_dir": self.path("backups"),
                "servos_service": "servos",
                "servos_service_manager": "command",
                "servos_service_commands": {
                    "start": [self.path("start")], "stop": [self.path("stop")], "pid_file": self.path("servos.pid"),
                },
                "servos_health_url": f"{api}/health",
                "servos_probes": probes,
                "demo_result": self.path("result.json"),
            },
        }}

    def start(self) -> None:
        self.run(self.path("start"))
        self.wait_until_healthy()

    def start_traffic(self) -> None:
        self.traffic = subprocess.Popen([
            sys.executable, str(REFERENCE / "traffic.py"), "--url", f"http://127.0.0.1:{self.port}", "--token-file", self.path("token"),
            "--journal", self.path("journal"), "--report", self.path("report.json"), "--manifest", self.path("manifest.json"),
            "--interval-ms", "10", "--duration", "150",
        ])
        time.sleep(1)

    def wait_until_healthy(self) -> None:
        for _try in range(100):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/health", timeout=1):
                    return
            except OSError:
                time.sleep(0.1)
        raise SystemExit(f"the reference application did not come up; see {self.path('servos.log')}")

    def playbook(self, *argv: str) -> None:
        environment = dict(os.environ, ANSIBLE_PIPELINING="1", ANSIBLE_LOCALHOST_WARNING="0", ANSIBLE_DISPLAY_SKIPPED_HOSTS="0",
                           ANSIBLE_DISPLAY_OK_HOSTS="1")
        self.run("ansible-playbook", "-i", self.path("inventory.json"), *argv, env=environment)

    def judge(self) -> dict[str, object]:
        """Ask the application's own reader, with the keys in files that only it reads."""
        self.remember_key("new.key")
        done = subprocess.run(
            [sys.executable, str(REFERENCE / "judge.py"), "--database", self.path("servos.db"), "--key-file", self.path("new.key"),
             "--old-key-file", self.path("old.key"), "--manifest", self.path("manifest.json"), "--journal", self.path("journal")],
            stdout=subprocess.PIPE, text=True, check=False,
        )
        os.unlink(self.path("new.key"))
        verdict = json.loads(done.stdout)
        verdict["exit"] = done.returncode
        return verdict

    def remember_key(self, name: str) -> None:
        content = Path(self.path("servos.env")).read_text()
        secret(self.path(name), content.split('SERVOS_MASTER_KEY="')[1].split('"')[0])

    def stop_traffic(self) -> dict[str, object]:
        if self.traffic is not None:
            self.traffic.send_signal(signal.SIGTERM)
            self.traffic.wait(30)
            self.traffic = None
        return json.loads(Path(self.path("report.json")).read_text())

    def tear_down(self) -> None:
        if self.traffic is not None:
            self.traffic.kill()
            self.traffic.wait()
        with contextlib.suppress(OSError, ValueError):
            os.kill(int(Path(self.path("servos.pid")).read_text()), signal.SIGTERM)
        for name in ("old.key", "new.key", "token"):
            Path(self.path(name)).unlink(missing_ok=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def secret(path: str, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        stream.write(text)


def script(path: str, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o700), "w") as stream:
        stream.write("#!/bin/sh\n" + textwrap.dedent(text))


def say(text: str) -> None:
    print(f"\n=== {text}", flush=True)


def last_page(result: dict[str, Any], report: dict[str, Any], verdict: dict[str, Any]) -> None:
    rotated, verified = result["rotated"], result["verified"]
    say("Census: which key opens each value, before and after")
    print(f"{'field':34} {'class':28} {'before':>14} {'after':>14}")
    before = {(row["table"], row["column"]): row for row in rotated["census_before"]}
    for row in verified["census"]:
        then = before.get((row["table"], row["column"]), {})
        print(f"{row['table'] + '.' + row['column']:34} {row['class'] or '':28} {then.get('active', 0):>7} old    {row['active']:>7} new")
    print(f"\nold key {rotated['previous_key']}   new key {rotated['env_key']}   running process {verified['process_key']}")
    print(f"rewrapped {rotated['rewrapped']} values in {rotated['duration_s']} s, "
          f"and {rotated['healed']} that the old process had sealed meanwhile")
    print(f"the client made {report['requests']} requests and {report['writes']} writes; "
          f"the longest time without a good answer was {report['longest_window_s']:.2f} s")
    names = ("opens_new", "opens_old", "neither", "plaintext_mismatches", "rows_changed", "journal_mismatches")
    print("the application's own reader says:", {name: verdict[name] for name in names})


def how_for_real() -> None:
    say("How to do the same for real")
    print(textwrap.dedent("""\
        # inventory.yml
        servos_control:
          hosts:
            control.example.org:
          vars:
            servos_app: servos
            servos_health_url: http://127.0.0.1:8080/api/health
            servos_probes:
              - {name: a server key, url: "http://127.0.0.1:8080/api/servers/1/reveal", token_file: /etc/servos/admin_token}

        ansible-playbook -i inventory.yml -b servos.ops.rehearse
        ansible-playbook -i inventory.yml -b servos.ops.rotate -e servos_rotation_id=2026 --check --diff
        ansible-playbook -i inventory.yml -b servos.ops.rotate -e servos_rotation_id=2026
        ansible-playbook -i inventory.yml -b servos.ops.retire

        (The URLs are those of the demo's application; use requests of yours that read a secret back. See docs/rotation.md.)"""))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    demo = Demo(parser.parse_args().work)
    api = {"servos_method": "api", "servos_api_url": f"http://127.0.0.1:{demo.port}", "servos_api_token_file": demo.path("token")}
    try:
        say(f"Setting up a ServOS with {VALUES} sealed values, and a client that reads and writes")
        demo.set_up()
        demo.start()
        for how, method in (("the database method", {}), ("the API method", api)):
            name = how.split()[1].lower()
            say(f"{how}: ansible-playbook servos.ops.rotate -e servos_rotation_id=demo-{name}")
            demo.start_traffic()
            extra = dict(method, servos_rotation_id=f"demo-{name}")
            demo.playbook(str(HERE / "rotate.yml"), "-e", json.dumps(extra))
            time.sleep(1)
            report = demo.stop_traffic()
            verdict = demo.judge()
            last_page(json.loads(Path(demo.path("result.json")).read_text()), report, verdict)
            # The API method lets the old process run on for a moment; what that fails to read is in the window above.
            if verdict["exit"] or report["wrong_plaintext"] or (report["decryption_failures"] and method is not api):
                say("IT DID NOT WORK")
                print(json.dumps({"verdict": verdict, "report": report}, indent=2))
                return 1
            say("The same command again finds nothing to do")
            demo.playbook("servos.ops.rotate", "-e", json.dumps(extra))
            say("ansible-playbook servos.ops.retire: the previous key is destroyed")
            demo.playbook("servos.ops.retire")
            demo.remember_key("old.key")
        how_for_real()
        return 0
    finally:
        demo.tear_down()


if __name__ == "__main__":
    sys.exit(main())
