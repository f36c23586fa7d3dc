# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Event source: webhooks that are signed, fresh and not seen before."""

from __future__ import annotations

DOCUMENTATION = r"""
short_description: Receive webhooks that are signed, fresh and not seen before
description:
  - Listens for webhooks, checks the signature over the bytes that came in, that they are fresh, and that they were not received before, and
    passes on what their bodies may say. What was taken is on disk before it is passed on, and before the sender is told so.
  - Answers 202 where a webhook was taken; 400 for a body that is not as it may be; 401 for a signature that is missing or wrong; 403 for
    one that is not fresh; 404 and 405 for other paths and methods; 408 for a body that does not come; 409 for one that was received
    before; 413 for one that is too large; 429 where too many came; 503 where nothing can be taken now.
  - An event has C(kind), C(id), which is the same whenever the same webhook comes, C(received), C(sent) if it is signed,
    C(payload), and C(receipt) with O(acknowledge).
options:
  host:
    description: The address to listen at. Any but a loopback address needs a certificate, or O(allow_plain_http).
    type: str
    default: 127.0.0.1
  port:
    description: The port to listen at.
    type: int
    required: true
  path:
    description: The path of the webhook.
    type: str
    default: /
  scheme:
    description:
      - How webhooks are signed, as in P(servos.ops.webhook_signature#test). V(gitlab_token) is not among them, since it signs nothing.
    type: str
    choices: [standard, gitlab, github, hex, base64]
    default: standard
  header:
    description: The header for V(hex) and V(base64), where it is not C(X-Signature).
    type: str
  secret_file:
    description:
      - A file with the secret in a line, or both while one replaces the other. Nobody but its owner may read it.
      - It is read for each webhook, so that a change needs no restart.
    type: path
    required: true
  receipts_file:
    description:
      - Where is kept what was received. One process has it at a time. Its directory is there, and nobody else may write to it.
      - What was taken and not passed on, since the process was killed in between, is passed on by the next start.
    type: path
    required: true
  acknowledge:
    description:
      - Whether each start passes an event on again until it was acted on. The event then has a C(receipt), a file that is removed when
        its work is done, as by the playbooks C(servos.ops.event_rotate) and C(servos.ops.event_done). For actions that may be begun twice,
        such as a rotation with an id.
    type: bool
    default: false
  tolerance:
    description: How many seconds the time of sending may be away from now.
    type: float
    default: 300
  time_field:
    description:
      - Where in the body the time of sending stands, for schemes that sign the body only, in seconds since 1970, or as
        C(2026-01-31T12:00:00Z).
    type: str
  allow_undated:
    description:
      - Whether webhooks are taken of which nothing signed says when they were sent. They are remembered for ever; others until they are
        old, and a week longer.
    type: bool
    default: false
  kinds:
    description: The kinds of events that may come. Others are refused.
    type: list
    elements: str
  kind_field:
    description: Where in the body the kind stands; keys with dots between them.
    type: str
    default: kind
  kind:
    description: One kind for all events, where the body does not name one.
    type: str
  fields:
    description:
      - What else of the body is passed on, as C(payload); keys with dots between them. Plain words of up to 200 characters, whole numbers,
        true and false. Anything else in their place is refused.
    type: list
    elements: str
    default: []
  max_bytes:
    description: How large a body may be.
    type: int
    default: 1048576
  max_per_hour:
    description: How many webhooks are taken within an hour.
    type: int
    default: 20
  certificate_file:
    description: The certificate, and its chain, for HTTPS.
    type: path
  certificate_key_file:
    description: The certificate's private key, where it is not in the same file.
    type: path
  allow_plain_http:
    description: Whether to listen at another address than loopback without HTTPS, for example behind a proxy in the same container network.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Key events
  hosts: all
  sources:
    - servos.ops.signed_webhook:
        port: 8444
        secret_file: /etc/servos/webhook_secrets
        receipts_file: /var/lib/servos/eda/receipts
        kinds: [key_leaked]
  rules:
    - name: A key is suspected to be known to others
      condition: event.kind == "key_leaked"
      action:
        run_playbook:
          name: servos.ops.rotate
          extra_vars:
            servos_rotation_id: "{{ event.id }}"
"""

import asyncio
import contextlib
import importlib.util
import ipaddress
import logging
import math
import os
import ssl
import time
import typing as t

from aiohttp import web

_ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 4))


def _part(*path: str) -> t.Any:
    """Load a file of the collection that this file belongs to.

    ansible-rulebook runs us from our path, without Ansible's loader of collections; and what that would find may be another version.
    """
    name = "servos_ops_" + path[-1]
    spec = importlib.util.spec_from_file_location(name, os.path.join(_ROOT, *path) + ".py")
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot load {name}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


connections = _part("extensions", "eda", "receiver", "connections")
events = _part("extensions", "eda", "receiver", "events")
receipts = _part("extensions", "eda", "receiver", "receipts")
secret_file = _part("extensions", "eda", "receiver", "secret_file")
webhooks = _part("plugins", "plugin_utils", "_webhooks")

SCHEMES = ("standard", "gitlab", "github", "hex", "base64")
_PATIENCE_S = 20
_LONGEST_S = 60  # a connection, with all that comes on it
_MOST_CONNECTIONS = 100
_HANDSHAKE_S = 10
_REQUIRED: t.Any = object()
_OPTIONS: dict[str, tuple[t.Any, t.Any]] = {
    "host": (str, "127.0.0.1"),
    "port": (int, _REQUIRED),
    "path": (str, "/"),
    "scheme": (str, "standard"),
    "header": (str, ""),
    "secret_file": (str, _REQUIRED),
    "receipts_file": (str, _REQUIRED),
    "acknowledge": (bool, False),
    "tolerance": (float, 300.0),
    "time_field": (str, ""),
    "allow_undated": (bool, False),
    "kinds": (list, ()),
    "kind_field": (str, "kind"),
    "kind": (str, ""),
    "fields": (list, ()),
    "max_bytes": (int, 1024 * 1024),
    "max_per_hour": (int, 20),
    "certificate_file": (str, ""),
    "certificate_key_file": (str, ""),
    "allow_plain_http": (bool, False),
}
_FROM_RULEBOOK = "eda_feedback_queue"
logger = logging.getLogger("servos.ops.signed_webhook")


class Queue(t.Protocol):
    """What ansible-rulebook takes events by."""

    async def put(self, event: t.Any) -> None:
        """Pass an event on."""


class Receiver:
    """Judges webhooks one by one, and passes their events on in the order in which they came."""

    def __init__(self, queue: Queue, options: dict[str, t.Any], *, clock: t.Callable[[], float]) -> None:
        self.queue, self.clock = queue, clock
        self.scheme, self.header = options["scheme"], options["header"] or None
        self.secret_file = options["secret_file"]
        self.max_bytes, self.max_per_hour = options["max_bytes"], options["max_per_hour"]
        self.rules = events.rules_of(
            kinds=tuple(options["kinds"]), kind=options["kind"], kind_field=options["kind_field"], fields=tuple(options["fields"]),
            time_field=options["time_field"], tolerance_s=options["tolerance"],
        )  # fmt: skip
        self._judged(b"", {})  # what is wrong with the secrets is said now, and not to the first sender
        self.receipts = receipts.Receipts(
            options["receipts_file"], tolerance_s=options["tolerance"], now=clock(), acknowledge=options["acknowledge"]
        )
        self.waiting: asyncio.Queue[tuple[str, dict[str, t.Any]]] = asyncio.Queue()
        for mark, event in self.receipts.waiting():
            logger.warning("passed on after a start: %s, %s", event["kind"], event["id"])
            self.waiting.put_nowait((mark, event))

    async def answer(self, request: web.Request) -> web.Response:
        """Take a webhook, or say why not."""
        try:
            body = await asyncio.wait_for(request.read(), _PATIENCE_S)
            event = self.taken(body, {name: request.headers.getall(name) for name in set(request.headers)})
        except asyncio.TimeoutError:
            return self._refused(request, 408, "the body did not come in time")
        except web.HTTPRequestEntityTooLarge:
            return self._refused(request, 413, f"the body is larger than {self.max_bytes} bytes")
        except events.RefusedError as error:
            return self._refused(request, error.status, error.reason)
        except (secret_file.SecretFileError, webhooks.WebhookError, receipts.ReceiptsError) as error:
            logger.error("nothing can be taken: %s", error)
            return web.json_response({"error": "nothing can be taken now"}, status=503, headers={"Retry-After": "60"})
        logger.warning("taken from %s: %s, %s", request.remote, event["kind"], event["id"])
        return web.json_response({"id": event["id"]}, status=202)

    def taken(self, body: bytes, headers: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        """Judge a webhook, remember it, and return its event, which passes on by itself.

        Raises:
            RefusedError: it is not taken, for what the sender did.
            ReceiptsError, SecretFileError: it is not taken, and the sender may send it again.
        """
        found = self._judged(body, headers)
        if not found.accepted:
            raise events.RefusedError(401, found.reason)
        signed, now = self._signed(headers), self.clock()
        mark = events.mark_of(body, self.scheme, signed)
        event: dict[str, t.Any]
        event, is_dated = events.event_of(body, mark, signed, self.rules, now=now)
        if self.receipts.knows(mark):
            raise events.RefusedError(409, f"the webhook was received before, as {event['id']}")
        if self.receipts.taken_within_hour(now) >= self.max_per_hour:
            raise events.RefusedError(429, f"more than {self.max_per_hour} webhooks within an hour")
        self.receipts.settle(now=now)
        event = self.receipts.take(mark, event, is_dated=is_dated, now=now)
        self.waiting.put_nowait((mark, event))
        return event

    async def pass_on(self) -> None:
        """Pass on what was taken, for ever. A rulebook that is busy keeps us waiting, and no sender."""
        while True:
            mark, event = await self.waiting.get()
            await self.queue.put(dict(event))
            if "receipt" in event:
                continue
            try:
                self.receipts.passed_on(mark, now=self.clock())
            except receipts.ReceiptsError as error:
                logger.error("%s was passed on, and the next start will do so again: %s", event["id"], error)

    def _judged(self, body: bytes, headers: t.Mapping[str, t.Any]) -> t.Any:
        """Judge the signature alone; whether it is fresh is judged in one place for all schemes."""
        secrets = secret_file.read_secrets(self.secret_file)
        return webhooks.verdict(body, headers, secrets, scheme=self.scheme, header=self.header, now=0.0, tolerance_s=math.inf)

    def _signed(self, headers: t.Mapping[str, t.Any]) -> t.Any:
        if self.scheme not in events.DATED:
            return events.Signed()
        given = {name.lower(): values[0].strip() for name, values in headers.items()}
        return events.Signed(given["webhook-id"], float(given["webhook-timestamp"]))

    def _refused(self, request: web.Request, status: int, reason: str) -> web.Response:
        logger.warning("refused from %s: %s, %s", request.remote, status, reason)
        return web.json_response({"error": reason}, status=status, headers={"Retry-After": "600"} if status == 429 else None)


def options_of(args: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Check what a rulebook gives; an empty text is as good as nothing.

    Raises:
        ValueError: naming the option.
    """
    unknown = sorted(set(args) - set(_OPTIONS) - {_FROM_RULEBOOK})
    if unknown:
        raise ValueError(f"{unknown[0]}: there is no such option")
    options: dict[str, t.Any] = {}
    for name, (kind, default) in _OPTIONS.items():
        value = args.get(name)
        if value is None or value == "":
            if default is _REQUIRED:
                raise ValueError(f"{name}: this option is required")
            options[name] = default
            continue
        if kind in (int, float) and isinstance(value, (int, float, str)) and not isinstance(value, bool):
            with contextlib.suppress(ValueError):
                value = kind(value)
        if not isinstance(value, kind) or (kind is list and not all(isinstance(one, str) for one in value)):
            raise ValueError(f"{name}: give a value of the type {'list of str' if kind is list else kind.__name__}")
        options[name] = value
    if options["scheme"] not in SCHEMES:
        raise ValueError(f"scheme: choose one of {', '.join(SCHEMES)}; one that signs nothing cannot start anything")
    if not 0 < options["port"] < 65536 or min(options["max_bytes"], options["max_per_hour"]) < 1 or not options["path"].startswith("/"):
        raise ValueError("port, path, max_bytes, max_per_hour: one of them cannot be")
    if options["scheme"] not in events.DATED and not options["time_field"] and not options["allow_undated"]:
        raise ValueError(
            f"time_field: the scheme {options['scheme']} signs no time; name the field of the body that says when it was sent, or set "
            "allow_undated"
        )
    if not options["certificate_file"] and not options["allow_plain_http"] and not _is_loopback(options["host"]):
        raise ValueError("certificate_file: without HTTPS, listen at 127.0.0.1 only, or set allow_plain_http")
    return options


def _is_loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _https(options: t.Mapping[str, t.Any]) -> ssl.SSLContext | None:
    if not options["certificate_file"]:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(options["certificate_file"], options["certificate_key_file"] or None)
    except OSError as error:  # an SSLError is one
        why = error.strerror or "no certificate and key"
        raise ValueError(f"certificate_file: cannot use {options['certificate_file']}: {why}") from None
    return context


async def main(queue: Queue, args: dict[str, t.Any], *, clock: t.Callable[[], float] = time.time) -> None:
    """Receive webhooks until we are cancelled."""
    options = options_of(args)
    context = _https(options)
    receiver = Receiver(queue, options, clock=clock)
    app = web.Application(client_max_size=options["max_bytes"])
    app.router.add_post(options["path"], receiver.answer)
    # The signature is of the bytes as they came, so nothing is unpacked.
    runner = web.AppRunner(app, auto_decompress=False, access_log=None)
    server: asyncio.AbstractServer | None = None
    try:
        await runner.setup()
        held = connections.Connections(most=_MOST_CONNECTIONS, longest_s=_LONGEST_S)
        listen: t.Any = runner.server  # there is one, since it is set up
        server = await asyncio.get_running_loop().create_server(
            lambda: held.watched(listen()), options["host"], options["port"], ssl=context,
            ssl_handshake_timeout=_HANDSHAKE_S if context else None,
        )  # fmt: skip
        await receiver.pass_on()
    finally:
        if server is not None:
            server.close()
        await runner.cleanup()
        receiver.receipts.close()
