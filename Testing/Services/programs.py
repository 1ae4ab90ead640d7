"""The programs and ports of the services that tests start for themselves."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Mapping


def find(program: str) -> str | None:
    """Where a program is, also among those for the system's administrator."""
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")


def missing_packages(packages: Mapping[str, str]) -> str | None:
    """What a test says whose programs, given with their Debian packages, are not all here; else None."""
    missing = sorted({package for program, package in packages.items() if find(program) is None})
    return f"needs the Debian package(s) {', '.join(missing)}" if missing else None


def free_ports(count: int) -> list[int]:
    """Ports on loopback that nobody uses now."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports
