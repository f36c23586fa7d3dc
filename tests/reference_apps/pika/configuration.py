# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the process is told at its start: variables of the product, and variables of this reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

VERSIONS = ("A", "B", "C")


class ConfigurationError(ValueError):
    """The environment does not describe a server; names variables, never their values."""


@dataclass(frozen=True)
class Configuration:
    """One process's settings; the password stays out of the representation."""

    folder: Path
    config_password: str = field(repr=False)
    host: str
    port: int
    base_path: str
    has_tls: bool
    version: str
    faults_text: str
    control_port: int
    sleep_scale: float
    limiter_window_s: float
    strategy: str
    cookie_name: str
    redirect_status: int
    body_limit_bytes: int
    node_id: str
    node_urls: dict[str, str]
    cluster_secret: str = field(repr=False)


def read_configuration(environment: Mapping[str, str], *, port: int | None = None, state: str | None = None) -> Configuration:
    """Read the environment; port and state directory may be given as arguments instead."""

    def number(name: str, default: str) -> float:
        try:
            return float(environment.get(name, default))
        except ValueError:
            raise ConfigurationError(f"{name} is not a number") from None

    version = environment.get("PIKA_REFERENCE_VERSION", "C")
    if version not in VERSIONS:
        raise ConfigurationError("PIKA_REFERENCE_VERSION is not A, B or C")
    tls_text = environment.get("PIKA_SERVER_TLS_ENABLED", "true").lower()
    if tls_text not in ("true", "false"):
        raise ConfigurationError("PIKA_SERVER_TLS_ENABLED is not true or false")
    nodes = dict(part.split("=", 1) for part in environment.get("PIKA_REFERENCE_NODES", "").split(",") if "=" in part)
    node_id = environment.get("PIKA_REFERENCE_NODE", "")
    if nodes and node_id not in nodes:
        raise ConfigurationError("PIKA_REFERENCE_NODE is not one of PIKA_REFERENCE_NODES")
    redirect_text = environment.get("PIKA_REFERENCE_REDIRECT") or ("303" if version == "C" else "307")
    if redirect_text not in ("303", "307"):
        raise ConfigurationError("PIKA_REFERENCE_REDIRECT is not 303 or 307")
    base_path = environment.get("PIKA_SERVER_BASE_PATH", "").strip("/")
    return Configuration(
        folder=Path(state or environment.get("PIKA_STORAGE_BW_PATH", "data/pika")),
        config_password=environment.get("PIKA_ENCRYPTION_PASSWORD", ""),
        host=environment.get("PIKA_SERVER_HOST", "127.0.0.1"),
        port=int(number("PIKA_SERVER_PORT", "8080")) if port is None else port,
        base_path=f"/{base_path}" if base_path else "",
        has_tls=tls_text == "true",
        version=version,
        faults_text=environment.get("PIKA_REFERENCE_FAULTS", ""),
        control_port=int(number("PIKA_REFERENCE_CONTROL_PORT", "0")),
        sleep_scale=number("PIKA_REFERENCE_SLEEP_SCALE", "1"),
        limiter_window_s=number("PIKA_REFERENCE_LIMITER_WINDOW_S", "900"),
        strategy=environment.get("PIKA_REFERENCE_STRATEGY", "local"),
        cookie_name=environment.get("PIKA_REFERENCE_COOKIE", "pika_session"),
        redirect_status=int(redirect_text),
        body_limit_bytes=int(number("PIKA_REFERENCE_BODY_LIMIT", str(1 << 20))),
        node_id=node_id or "standalone",
        node_urls=nodes,
        cluster_secret=environment.get("PIKA_REFERENCE_CLUSTER_SECRET", "cluster-of-a-test"),
    )
