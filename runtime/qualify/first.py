"""Qualify a device that was asked for by name and has no valid passport yet, then use it."""

from __future__ import annotations

from collections.abc import Callable

from runtime.bundle import Bundle
from runtime.engines.choose import Device
from runtime.engines.kinds import KINDS
from runtime.errors import DeviceError
from runtime.qualify.issue import Wanted, qualify
from runtime.trust.running import Running, choose_running
from runtime.trust.validity import status

__all__ = ["qualified_running"]


def qualified_running(
    bundle: Bundle, device: Device, threads: int, told: Callable[[str], None] | None = None
) -> Running:
    """What a bundle's networks run on, on a named device.

    An engine that failed while its passport is valid is not tried again: nothing has changed since.

    Args:
        bundle: The bundle.
        device: Named, so neither `auto` nor `cpu`.
        threads: CPU threads; 0 takes every usable CPU.
        told: What is being done, where it takes a while.

    Raises:
        DeviceError: No engine of the device is qualified, by now; or `cryptography` is not installed.
        DestinationError: The passport cannot be written.
    """
    try:
        return choose_running(bundle, device)
    except DeviceError:
        found = status(bundle, KINDS)
        entries = () if found.passport is None else found.passport.entries
        if not found.problem and any(item.device == device and item.verdict == "failed" for item in entries):
            raise
    say = told or (lambda text: None)
    say(f"{device} has no valid passport for {bundle.identity.name} here ({found.problem or 'not tried'})")
    precision = bundle.manifest.encoder.precision
    qualify(bundle, Wanted((precision,), device=device, threads=threads), told=say)
    return choose_running(bundle, device)
