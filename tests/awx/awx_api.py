# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for the part of AWX's API v2 that awx.awx speaks to: it keeps what it is sent, and refuses what AWX 24 would refuse."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

# Fields of each kind that AWX knows, and those that it will not do without.
FIELDS: dict[str, tuple[set[str], set[str]]] = {
    "organizations": ({"name"}, {"name"}),
    "inventories": ({"name", "organization"}, {"name"}),
    "credential_types": ({"name", "description", "kind", "inputs", "injectors", "managed"}, {"name", "kind"}),
    "credentials": ({"name", "description", "organization", "credential_type", "inputs"}, {"name", "credential_type"}),
    "execution_environments": ({"name", "description", "organization", "image", "credential", "pull"}, {"name", "image"}),
    "projects": (
        {"name", "description", "organization", "scm_type", "scm_url", "scm_branch", "credential", "default_environment", "allow_override",
         "scm_clean", "scm_delete_on_update", "scm_track_submodules", "scm_update_on_launch", "scm_update_cache_timeout", "timeout",
         "scm_refspec"},
        {"name"},
    ),
    "notification_templates": (
        {"name", "description", "organization", "notification_type", "notification_configuration", "messages"},
        {"name", "organization", "notification_type"},
    ),
    "job_templates": (
        {"name", "description", "organization", "job_type", "inventory", "project", "playbook", "extra_vars", "execution_environment",
         "diff_mode", "allow_simultaneous", "survey_enabled", "verbosity", "forks", "limit", "timeout"},
        {"name", "project", "playbook", "inventory"},
    ),
    "workflow_job_templates": ({"name", "description", "organization", "allow_simultaneous", "survey_enabled", "extra_vars"}, {"name"}),
    "workflow_job_template_nodes": (
        {"type", "identifier", "workflow_job_template", "unified_job_template", "extra_data"}, {"workflow_job_template"},
    ),
    "workflow_approval_templates": ({"name", "description", "timeout"}, {"name"}),
    "schedules": (
        {"name", "description", "rrule", "unified_job_template", "extra_data", "enabled"}, {"name", "rrule", "unified_job_template"},
    ),
}  # fmt: skip
# What can be joined to what; AWX answers 404 elsewhere.
ASSOCIATIONS = {
    "job_templates": {"credentials": "credentials", "notification_templates_error": "notification_templates"},
    "workflow_job_templates": {
        f"notification_templates_{when}": "notification_templates" for when in ("error", "success", "started", "approvals")
    },
    "workflow_job_template_nodes": {f"{when}_nodes": "workflow_job_template_nodes" for when in ("success", "failure", "always")},
}
UNIFIED = ("job_templates", "workflow_job_templates", "projects", "workflow_approval_templates")
QUESTION_TYPES = {"text", "textarea", "password", "multiplechoice", "multiselect", "integer", "float"}
_PATH = re.compile(r"/api/v2/(?P<kind>\w+)/(?:(?P<id>\d+)/(?:(?P<part>\w+)/)?)?$")


class Refused(Exception):
    """AWX would answer so."""

    def __init__(self, code: int, **said: Any) -> None:
        super().__init__(code)
        self.code, self.said = code, said


class Sent(NamedTuple):
    """One request that changes something."""

    method: str
    path: str
    body: dict[str, Any]


class Awx:
    """What there is in this AWX. Use as a context manager."""

    def __init__(self, token: str) -> None:
        self._token = token
        self.sent: list[Sent] = []
        self.refused: list[tuple[str, str, int]] = []
        self._things: dict[str, dict[int, dict[str, Any]]] = {kind: {} for kind in FIELDS}
        self._surveys: dict[tuple[str, int], dict[str, Any]] = {}
        self._joined: dict[tuple[str, int, str], list[int]] = {}
        self._last_id = 0
        self._lock = threading.Lock()
        organization = self.add("organizations", name="Default")
        self.add("inventories", name="platform", organization=organization)
        machine = self.add("credential_types", name="Machine", kind="ssh")
        self.add("credentials", name="servos login", credential_type=machine, organization=organization, inputs={})

    # What a test asks

    def all(self, kind: str) -> dict[str, dict[str, Any]]:
        return {thing.get("name") or thing["identifier"]: thing for thing in self._things[kind].values()}

    def survey(self, kind: str, name: str) -> list[dict[str, Any]]:
        return self._surveys[(kind, self.all(kind)[name]["id"])]["spec"]

    def joined(self, kind: str, name: str, part: str) -> list[str]:
        """Name what is joined to a thing in this way."""
        other = self._things[ASSOCIATIONS[kind][part]]
        found = [other[number] for number in self._joined.get((kind, self.all(kind)[name]["id"], part), [])]
        return sorted(thing.get("name") or thing["identifier"] for thing in found)

    def add(self, of: str, /, **fields: Any) -> int:
        self._last_id += 1
        number = self._last_id
        related = {"survey_spec": f"/api/v2/{of}/{number}/survey_spec/"} if of in ("job_templates", "workflow_job_templates") else {}
        self._things[of][number] = fields | {
            "id": number, "type": of.rstrip("s"), "url": f"/api/v2/{of}/{number}/", "related": related,
        }  # fmt: skip
        if of == "projects":
            self._things[of][number] |= {"scm_revision": "0" * 40, "summary_fields": {}}
        return number

    # What AWX does

    def answer(self, method: str, path: str, query: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
        matched = _PATH.match(path)
        if matched is None:
            raise Refused(404, detail="Not found.")
        kind, number, part = matched["kind"], int(matched["id"] or 0), matched["part"]
        if path == "/api/v2/me/":
            return 200, _page([{"username": "platform"}])
        if kind == "unified_job_templates" and method == "GET" and not number:
            return 200, _page([thing for each in UNIFIED for thing in self._things[each].values() if _fits(thing, query)])
        if kind not in FIELDS or (number and number not in self._things[kind]):
            raise Refused(404, detail="Not found.")
        if method != "GET":
            self.sent.append(Sent(method, path, body))
        if part:
            return self._part(method, kind, number, part, body)
        if method == "GET":
            if number:
                return 200, self._things[kind][number]
            return 200, _page([thing for thing in self._things[kind].values() if _fits(thing, query)])
        if kind in ("organizations", "inventories", "workflow_approval_templates") and not number:
            raise Refused(405, detail="not by this playbook")
        thing = {**self._things[kind].get(number, {}), **body}
        self._check(kind, body, thing)
        if method == "POST":
            number = self.add(kind, **body)
            return 201, self._things[kind][number]
        self._things[kind][number].update(body)
        return 200, self._things[kind][number]

    def _part(self, method: str, kind: str, number: int, part: str, body: dict[str, Any]) -> tuple[int, Any]:
        if part == "survey_spec" and "survey_spec" in self._things[kind][number]["related"]:
            if method == "POST":
                _check_survey(body)
                self._surveys[(kind, number)] = body
                return 200, None
            return 200, self._surveys.get((kind, number), {})
        if kind == "workflow_job_template_nodes" and part == "create_approval_template" and method == "POST":
            self._check("workflow_approval_templates", body, body)
            approval = self.add("workflow_approval_templates", **body)
            node = self._things[kind][number]
            node["unified_job_template"] = approval
            node["related"] = {"unified_job_template": f"/api/v2/workflow_approval_templates/{approval}/"}
            return 201, self._things["workflow_approval_templates"][approval]
        if part not in ASSOCIATIONS.get(kind, {}):
            raise Refused(404, detail="Not found.")
        ids = self._joined.setdefault((kind, number, part), [])
        other = self._things[ASSOCIATIONS[kind][part]]
        if method == "GET":
            return 200, _page([other[each] for each in ids])
        if body.get("id") not in other:
            raise Refused(400, error="no such object")
        if body.get("disassociate"):
            ids.remove(body["id"])
        elif body["id"] not in ids:
            ids.append(body["id"])
        return 204, None

    def _check(self, kind: str, body: dict[str, Any], thing: dict[str, Any]) -> None:
        known, needed = FIELDS[kind]
        # AWX ignores what it does not know; what is sent in vain is a mistake all the same.
        unknown = set(body) - known
        missing = {name for name in needed if thing.get(name) in (None, "")}
        if unknown or missing:
            raise Refused(400, kind=kind, unknown=sorted(unknown), missing=sorted(missing))
        for name, of in (
            ("organization", ("organizations",)), ("inventory", ("inventories",)), ("project", ("projects",)),
            ("credential_type", ("credential_types",)), ("execution_environment", ("execution_environments",)),
            ("default_environment", ("execution_environments",)), ("workflow_job_template", ("workflow_job_templates",)),
            ("unified_job_template", UNIFIED),
        ):  # fmt: skip
            if body.get(name) is not None and not any(body[name] in self._things[each] for each in of):
                raise Refused(400, **{name: "Invalid pk - object does not exist."})
        if kind == "credential_types":
            _check_type(thing)
        if kind == "credentials":
            fields = {
                field["id"] for field in self._things["credential_types"][thing["credential_type"]].get("inputs", {}).get("fields", [])
            }
            if set(thing.get("inputs", {})) - fields:
                raise Refused(400, inputs="Additional properties are not allowed")
        if kind == "schedules":
            self._check_schedule(thing)

    def _check_schedule(self, thing: dict[str, Any]) -> None:
        if not re.match(r"DTSTART(;TZID=\S+)?:\d{8}T\d{6}Z? RRULE:FREQ=\w+;INTERVAL=\d+", thing["rrule"]):
            raise Refused(400, rrule="DTSTART, FREQ and INTERVAL are required in rrule.")
        asked = {
            question["variable"]
            for kind in UNIFIED
            for question in self._surveys.get((kind, thing["unified_job_template"]), {"spec": []})["spec"]
        }
        if set(thing.get("extra_data", {})) - asked:
            raise Refused(400, extra_data="Variables are not allowed on launch.")

    def serve(self, method: str, target: str, token: str, raw: bytes) -> tuple[int, bytes]:
        parts = urlsplit(target)
        try:
            if token != f"Bearer {self._token}":
                raise Refused(401, detail="Authentication credentials were not provided.")
            with self._lock:
                code, said = self.answer(method, parts.path, dict(parse_qsl(parts.query)), json.loads(raw or b"{}"))
        except Refused as refusal:
            code, said = refusal.code, refusal.said
            self.refused.append((method, target, code))
        return code, b"" if said is None else json.dumps(said).encode()

    def __enter__(self) -> Awx:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"awx": self}))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=10)


class _Handler(BaseHTTPRequestHandler):
    awx: Awx
    timeout = 20

    def _answer(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        code, said = self.awx.serve(self.command, self.path, self.headers.get("Authorization", ""), raw)
        self.send_response(code)
        for name, value in (("X-API-Product-Name", "AWX"), ("X-API-Product-Version", "24.6.1"), ("Content-Type", "application/json")):
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    do_GET = do_POST = do_PATCH = do_DELETE = _answer

    def log_message(self, *unused: Any) -> None:
        pass


def _page(things: list[dict[str, Any]]) -> dict[str, Any]:
    return {"count": len(things), "next": None, "previous": None, "results": things}


def _fits(thing: dict[str, Any], query: dict[str, str]) -> bool:
    either = [str(thing.get(name[4:])) == value for name, value in query.items() if name.startswith("or__")]
    every = [str(thing.get(name)) == value for name, value in query.items() if not name.startswith("or__")]
    return all(every) and (any(either) or not either)


def _check_type(thing: dict[str, Any]) -> None:
    """Hold a type of credential to the rules of CredentialTypeInjectorField."""
    if thing["kind"] not in ("cloud", "net"):
        raise Refused(400, kind="Must be 'cloud' or 'net'")
    injectors, ids = thing.get("injectors", {}), {field["id"] for field in thing["inputs"]["fields"]}
    if set(injectors) - {"file", "env", "extra_vars"}:
        raise Refused(400, injectors="Additional properties are not allowed")
    for name in injectors.get("file", {}):
        if not re.fullmatch(r"template(\.[a-zA-Z_]+\w*)?", name):
            raise Refused(400, injectors="the name of a file is template or template.NAME")
    for name in injectors.get("env", {}):
        if name.startswith("ANSIBLE_") or not re.fullmatch(r"[a-zA-Z_]\w*", name):
            raise Refused(400, injectors=f"Environment variable {name} may affect Ansible configuration so its use is not allowed.")
    files = {name.partition(".")[2] for name in injectors.get("file", {})}
    for kind in injectors.values():
        for text in kind.values():
            for found in re.findall(r"{{\s*([\w.]+)", text):
                if found not in ids | {f"tower.filename.{name}" if name else "tower.filename" for name in files}:
                    raise Refused(400, injectors=f"{found} uses an undefined field")


def _check_survey(survey: dict[str, Any]) -> None:
    """Hold a survey to the rules of JobTemplateSurveySpec."""
    if not {"name", "description", "spec"} <= set(survey) or not survey["spec"]:
        raise Refused(400, error="name, description and spec are required, and spec may not be empty")
    variables = [question.get("variable") for question in survey["spec"]]
    for question in survey["spec"]:
        if not {"type", "question_name", "variable", "required"} <= set(question) or question["type"] not in QUESTION_TYPES:
            raise Refused(400, error="type, question_name, variable and required are needed")
        if not re.fullmatch(r"[a-zA-Z_]\w*", question["variable"]) or variables.count(question["variable"]) > 1:
            raise Refused(400, error="variables are names, and each is used once")
        if question["type"].startswith("multi") and not all(isinstance(choice, str) for choice in question.get("choices", [None])):
            raise Refused(400, error="choices are texts")
