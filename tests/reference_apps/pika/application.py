# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One request from its first byte to its reply: base path, lock gate, forwarding, authentication, routes.

The order is the product's as far as the code read says: the gate stands before authentication. Whether it stands before the
forwarding to the leader is not known; here it does, and the switch `forward_before_gate` turns it round.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import backups
import cluster as clusters
from accounts import ALL_PERMISSIONS, TOKEN_PERMISSIONS, Accounts
from configuration import Configuration
from control import Recorder
from faults import Faults
from keys import Keys, die_at
from limiter import Limiter
from logins import Logins, rate_limited
from replies import Drop, Refused, Reply, Request, bind_json, html_reply, json_reply, message_reply, text_reply
from store import Store

ROTATE, UNLOCK = "/api/v1/key/rotate", "/api/v1/key/unlock"
_OPEN_WHEN_LOCKED = ("/api/v1/info", "/api/v1/key/status", UNLOCK)
_LOCKED = {"code": "server_locked", "message": "Server is locked. An administrator has to unlock it with the server key."}


class Application:
    """Everything of one process but the sockets."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.faults = Faults(configuration.faults_text)
        self.recorder = Recorder()
        self.store = Store(configuration.folder)
        self.keys = Keys(self.store, configuration.version, self.faults)
        self.accounts = Accounts(self.store)
        self._version = configuration.version
        has_limiter = self._version != "A"
        self.limiter = Limiter(configuration.sleep_scale, configuration.limiter_window_s) if has_limiter else None
        self._logins = Logins(configuration, self.accounts, self.limiter, self.faults)
        self.is_config_password_wrong = False
        self.cluster = clusters.Cluster(
            configuration.node_id, configuration.node_urls, configuration.cluster_secret, self.store, self.faults,
            self._use_config_password,
        )  # fmt: skip
        if self.keys.is_initialized or not self.cluster.is_enabled:
            self._use_config_password()
        self._routes: dict[tuple[str, str], tuple[str | None, Callable[[Request, dict[str, Any]], Reply]]] = {
            ("GET", "/api/v1/info"): (None, self._info),
            ("GET", "/api/v1/key/status"): (None, self._status),
            ("POST", "/api/v1/key/initialize"): ("settings.manage", self._initialize),
            ("POST", UNLOCK): ("settings.manage", self._unlock),
            ("POST", "/api/v1/key/lock"): ("settings.manage", self._lock),
            ("POST", ROTATE): ("settings.manage", self._rotate),
            ("GET", "/api/v1/settings"): ("settings.manage", self._settings),
            ("POST", "/api/v1/settings"): ("settings.manage", self._save_settings),
            ("GET", "/api/v1/backup/info"): ("settings.manage", self._backup_info),
            ("GET", "/api/v1/backup"): ("settings.manage", self._backup),
            ("POST", "/api/v1/backup"): ("settings.manage", self._restore),
            ("GET", "/api/v1/cluster/status"): ("settings.manage", self._cluster_status),
            ("GET", "/api/v1/me"): ("", self._me),
            ("GET", "/api/v1/me/vault"): ("", self._my_vault),
        }

    def _use_config_password(self) -> None:
        """Unlock or initialize with the configured password, at the start and when this node becomes the leader."""
        password = self.configuration.config_password
        if not password or self.keys.is_unlocked:
            return
        try:
            self.keys.unlock(password) if self.keys.is_initialized else self.keys.initialize(password)
        except Refused:
            self.is_config_password_wrong = True

    def state(self) -> dict[str, Any]:
        """Say for the control port how the process is."""
        return {
            "pid": os.getpid(), "initialized": self.keys.is_initialized, "unlocked": self.keys.is_unlocked,
            "leader": self.cluster.leader_id, "has_quorum": self.cluster.has_quorum, "version": self.store.version,
            "slept_s": self.limiter.slept_s if self.limiter else 0.0,
        }  # fmt: skip

    def answer(self, request: Request) -> Reply:
        """Answer a request."""
        base_path = self.configuration.base_path
        if request.path.startswith(clusters.PREFIX):
            return self.cluster.answer_peer(request)
        if request.path == "/healthz" and (not base_path or self._version != "A"):
            return text_reply(200, "OK")
        is_below = request.path == base_path or request.path.startswith(f"{base_path}/")
        if is_below:
            request.path = request.path[len(base_path) :] or "/"
        self.recorder.note(request, time.time())
        if not is_below:
            return text_reply(404, "404 page not found")
        try:
            return self._routed(request)
        except Refused as refusal:
            return message_reply(
                refusal.status, refusal.message, has_request_id=self._version != "A",
                class_word=refusal.class_word and not self.faults.peek("bare_messages"),
            )  # fmt: skip

    def _routed(self, request: Request) -> Reply:
        if request.path == "/healthz":
            return text_reply(200, "OK")
        text = self.faults.take("plain_503")
        if text is not None:
            return text_reply(503, text or "service unavailable")
        reply = self._redirected(request)
        if reply:
            return reply
        gate_first = not self.faults.peek("forward_before_gate")
        if gate_first and self._is_gated(request):
            return self._gate_reply()
        if request.method not in ("GET", "HEAD") and not self.cluster.is_leader:
            return self.cluster.forward(request)
        if self._is_gated(request):
            return self._gate_reply()
        is_dropping = request.method == "POST" and request.path == (self.faults.peek("drop_path") or ROTATE)
        if is_dropping and self.faults.take("drop", "before"):
            raise Drop
        reply = self._served(request)
        if self.cluster.is_enabled and request.method not in ("GET", "HEAD") and 200 <= reply.status < 300:
            if self._version == "C":
                self.cluster.replicate()
            else:
                threading.Thread(target=self.cluster.replicate, daemon=True).start()
        if is_dropping and self.faults.take("drop", "after"):
            raise Drop
        return reply

    def _redirected(self, request: Request) -> Reply | None:
        target = self.faults.peek("redirect_to")
        if target is None or request.path != (self.faults.peek("redirect_path") or ROTATE):
            return None
        self.faults.take("redirect_to")
        return Reply(int(self.faults.peek("redirect_status") or 307), headers=[("Location", target)])

    def _is_gated(self, request: Request) -> bool:
        prefixes = ("/api/v1/", "/data/", "/raw/") if self._version == "A" else ("/api/v1/", "/data/")
        if not request.path.startswith(prefixes) or not self.keys.is_locked:
            return False
        return request.path not in _OPEN_WHEN_LOCKED and not request.path.startswith("/api/v1/me")

    def _gate_reply(self) -> Reply:
        return json_reply(503, _LOCKED, ("X-Pika-Locked", "true"))

    def _served(self, request: Request) -> Reply:
        reply = self._logins.answer(request)
        if reply:
            return reply
        is_file = request.path.startswith(("/data/", "/raw/") if self._version == "A" else "/data/")
        if not request.path.startswith("/api/v1/") and not is_file:
            # The browser's application: any path, any method. /login/password is one of them.
            return html_reply()
        if request.path == UNLOCK and request.method == "POST" and self.limiter:
            return self._limited(request, self.limiter)
        return self._authorized(request)

    def _limited(self, request: Request, limiter: Limiter) -> Reply:
        if self.faults.take("limiter_store"):
            raise Refused(503, "limiter store unavailable")
        wait_s = limiter.retry_after_s(request.peer)
        if wait_s:
            return rate_limited(wait_s)
        try:
            reply = self._authorized(request)
        except Refused as refusal:
            if refusal.status in (401, 403):
                limiter.failed(request.peer)
            raise
        if reply.status in (401, 403):
            limiter.failed(request.peer)
        return reply

    def _authorized(self, request: Request) -> Reply:
        permission, handler = self._routes.get((request.method, request.path), ("", self._file_or_missing))
        caller = self._caller(request)
        if isinstance(caller, Reply):
            is_open = permission is None and not self.faults.peek("info_bearer")
            return handler(request, {}) if is_open else caller
        if permission is None:
            return handler(request, caller or {})
        if self.faults.take("session_store"):
            raise Refused(503, "session store unavailable")
        if caller is None:
            return Reply(self.configuration.redirect_status, headers=[("Location", f"{self.configuration.base_path}/")])
        if permission and permission not in caller["permissions"]:
            raise Refused(403, f'capability "{permission}" required')
        return handler(request, caller)

    def _caller(self, request: Request) -> dict[str, Any] | Reply | None:
        scheme, unused, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.faults.peek("tokens") != "cookie_only":
            if not self.accounts.is_token(token.strip()):
                return json_reply(401, {"error": "unauthorized"}, ("WWW-Authenticate", 'Bearer realm="pika"'))
            return {"user": "token", "is_superadmin": False, "permissions": TOKEN_PERMISSIONS, "capabilities": TOKEN_PERMISSIONS}
        name = self.accounts.session_user(request.cookie(self.configuration.cookie_name))
        return self.accounts.view(name) if name else None

    def _file_or_missing(self, request: Request, caller: dict[str, Any]) -> Reply:
        if request.path.startswith(("/data/", "/raw/")):
            if "files.read" not in caller["permissions"]:
                raise Refused(403, 'capability "files.read" required')
            return text_reply(200, "a file\n")
        if any(path == request.path for unused, path in self._routes):
            return text_reply(405, "Method Not Allowed")
        raise Refused(404, "route not found")

    def _info(self, unused_request: Request, caller: dict[str, Any]) -> Reply:
        content = {
            "name": "pika", "version": f"reference-{self._version}", "auth_enabled": True, "builtin_auth": True,
            "is_superadmin": False, "permissions": [], "capabilities": [], "vault_enabled": self._version == "C",
            "managed_tls_enabled": False, **caller,
        }  # fmt: skip
        if self.accounts.is_empty:
            content["setup_required"] = True
        if self.is_config_password_wrong and not self.keys.is_unlocked:
            content["encryption_config_invalid"] = True
        return json_reply(200, content)

    def _status(self, unused_request: Request, unused_caller: dict[str, Any]) -> Reply:
        fault = self.faults.take("status_reply")
        if fault in ("uninitialized", "unlocked"):
            return json_reply(200, dict.fromkeys(("initialized", "unlocked"), fault == "unlocked"))
        content = self.keys.status()
        if fault == "html":
            return html_reply()
        if fault == "not_json":
            return Reply(200, b"{initialized: yes}")
        if fault == "text":
            return text_reply(200, '{"initialized":true,"unlocked":true}')
        return json_reply(200, {**content, "extra": 1} if fault else content)

    def _initialize(self, request: Request, unused_caller: dict[str, Any]) -> Reply:
        passphrase = request.bound("key")["key"]
        if not passphrase:
            raise Refused(400, "key is required")
        self.keys.initialize(passphrase)
        return json_reply(200, {"message": "server initialized and unlocked"})

    def _unlock(self, request: Request, unused_caller: dict[str, Any]) -> Reply:
        passphrase = request.bound("key")["key"]
        if not passphrase:
            raise Refused(400, "key is required")
        self.keys.unlock(passphrase)
        return json_reply(200, {"message": "server unlocked"})

    def _lock(self, unused_request: Request, unused_caller: dict[str, Any]) -> Reply:
        self.keys.lock()
        return json_reply(200, {"message": "server locked"})

    def _rotate(self, request: Request, unused_caller: dict[str, Any]) -> Reply:
        body = request.bound("current_key", "new_key")
        die_at(self.faults, "before")
        fault = self.faults.take("rotate_reply")
        if fault in ("echo_400", "echo_500"):
            raise Refused(int(fault[-3:]), f"rotate {body['current_key']} to {body['new_key']}: strange")
        if fault == "locked":
            self.keys.lock()
            return self._gate_reply()
        if fault == "untrue":
            return json_reply(200, {"message": "server key rotated"})
        self.keys.rotate(body["current_key"], body["new_key"])
        die_at(self.faults, "after")
        if fault and fault.isdigit():
            return html_reply(int(fault), b"<h1>a page of a gateway</h1>", ("Location", "/elsewhere"))
        if fault:
            return {
                "html": html_reply(), "empty": Reply(200), "text": text_reply(200, "server key rotated"),
                "other_message": json_reply(200, {"message": "ok"}), "not_json": Reply(200, b"{message"),
                "array": json_reply(200, ["server key rotated"]),
            }[fault]  # fmt: skip
        return json_reply(200, {"message": "server key rotated"})

    def _settings(self, unused_request: Request, unused_caller: dict[str, Any]) -> Reply:
        return json_reply(200, self.keys.settings())

    def _save_settings(self, request: Request, unused_caller: dict[str, Any]) -> Reply:
        self.keys.save_settings(bind_json(request.body))
        return json_reply(200, {"message": "settings saved"})

    def _backup_info(self, unused_request: Request, unused_caller: dict[str, Any]) -> Reply:
        return json_reply(200, {"db_version": self.store.version})

    def _backup(self, request: Request, unused_caller: dict[str, Any]) -> Reply:
        password = request.headers.get("X-Encryption-Password", "") or request.query.get("encryption_password", "")
        content = backups.make(self.store, password, backups.parse_bounds(request.query))
        disposition = f'attachment; filename="{backups.file_name(self.store.version)}"'
        reply = Reply(200, content, "application/octet-stream", [("Content-Disposition", disposition)], is_chunked=True)
        cut = self.faults.take("backup_truncate")
        if cut is not None:
            # An error behind the 200 ends the stream early and properly: only the length of the file tells.
            reply.body = content[: int(cut)]
        fault = self.faults.take("backup_reply")
        if fault == "500":
            raise Refused(500, "backup: export failed")
        if fault == "html":
            return html_reply()
        if fault == "bad_magic":
            reply.body = b"PIKABX" + content[6:]
        elif fault == "longer":
            reply.body = content + b"\n"
        elif fault == "endless":
            reply.body, reply.is_endless = content, True
        elif fault == "empty":
            reply.body = b""
        elif fault == "drop":
            reply.cut_after = len(content) // 2
        return reply

    def _restore(self, request: Request, unused_caller: dict[str, Any]) -> Reply:
        password = request.headers.get("X-Encryption-Password", "")
        payload = backups.payload_of(request.body, password)
        wipe = request.headers.get("X-Pika-Wipe", "").lower() == "true"
        self.store.load(payload, wipe=wipe)
        return json_reply(200, {"message": f"{'database wiped and ' if wipe else ''}backup restored successfully"})

    def _cluster_status(self, unused_request: Request, unused_caller: dict[str, Any]) -> Reply:
        return json_reply(200, self.cluster.status())

    def _me(self, unused_request: Request, caller: dict[str, Any]) -> Reply:
        return json_reply(200, {"user": caller["user"], "all_permissions": ALL_PERMISSIONS})

    def _my_vault(self, unused_request: Request, caller: dict[str, Any]) -> Reply:
        return json_reply(200, {"fingerprint": self.keys.vault_fingerprint(caller["user"])})
