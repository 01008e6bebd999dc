"""A descriptor of the kernel's: it is owned once, and one that was not made is an error with its reason."""

from __future__ import annotations

import ctypes
import errno
import os

import pytest

from agent.system.watches.kernel_watch import KernelWatch


def test_it_is_closed_once() -> None:
    """A second close is another descriptor's."""
    watch = KernelWatch(os.eventfd(0))
    fd = watch.fileno()
    watch.close()
    assert watch.fileno() == -1
    other = os.eventfd(0)
    assert other == fd
    watch.close()
    os.fstat(other)
    os.close(other)


def test_what_was_not_made_says_why() -> None:
    """As a sandbox refuses a call: the caller looks from time to time instead."""
    ctypes.set_errno(errno.EPERM)
    with pytest.raises(PermissionError):
        KernelWatch(-1)
