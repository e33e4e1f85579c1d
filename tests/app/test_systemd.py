"""What a service manager is told."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from waymail.app import systemd


def test_a_state_is_sent_to_the_socket_of_the_service_manager(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        systemd.notify(systemd.READY, {"NOTIFY_SOCKET": str(tmp_path / "notify")})
        assert manager.recv(100) == b"READY=1"
        systemd.notify(systemd.reloading(), {"NOTIFY_SOCKET": str(tmp_path / "notify")})
        assert manager.recv(100).startswith(b"RELOADING=1\nMONOTONIC_USEC=")


def test_an_abstract_socket_is_found_too() -> None:
    name = f"waymail-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}")
        systemd.notify(systemd.STOPPING, {"NOTIFY_SOCKET": f"@{name}"})
        assert manager.recv(100) == b"STOPPING=1"


def test_without_a_service_manager_or_with_a_deaf_one_nothing_happens(tmp_path: Path) -> None:
    systemd.notify(systemd.READY, {})
    systemd.notify(systemd.READY, {"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    assert list(tmp_path.iterdir()) == []


def test_the_watchdog_hears_of_us_twice_as_often_as_it_has_to() -> None:
    assert systemd.watchdog_seconds({"WATCHDOG_USEC": "20000000"}) == 10
    assert systemd.watchdog_seconds({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": str(os.getpid())}) == 10
    for environment in ({}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "9", "WATCHDOG_PID": "1"}):
        assert systemd.watchdog_seconds(environment) is None
