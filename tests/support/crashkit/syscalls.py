"""The few system calls that matter here, by number, and the registers that carry them."""

from __future__ import annotations

import platform

_X86_64 = {
    "read": 0, "write": 1, "close": 3, "stat": 4, "fstat": 5, "lstat": 6, "lseek": 8, "mmap": 9,
    "mprotect": 10, "munmap": 11, "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "ioctl": 16, "pread64": 17,
    "mremap": 25, "madvise": 28, "dup": 32, "getpid": 39, "fcntl": 72, "flock": 73, "fsync": 74, "fdatasync": 75,
    "ftruncate": 77, "rename": 82, "mkdir": 83, "rmdir": 84, "unlink": 87, "symlink": 88, "readlink": 89,
    "fchmod": 91, "fchown": 93, "umask": 95, "geteuid": 107, "fstatfs": 138, "futex": 202, "getdents64": 217,
    "openat": 257, "mkdirat": 258, "newfstatat": 262, "unlinkat": 263, "renameat": 264, "symlinkat": 266,
    "readlinkat": 267, "renameat2": 316, "getrandom": 318, "statx": 332,
}  # fmt: skip

_AARCH64 = {
    "dup": 23, "fcntl": 25, "ioctl": 29, "flock": 32, "mkdirat": 34, "unlinkat": 35, "symlinkat": 36, "renameat": 38,
    "fstatfs": 44, "ftruncate": 46, "fchmod": 52, "fchown": 55, "openat": 56, "close": 57, "getdents64": 61,
    "lseek": 62, "read": 63, "write": 64, "pread64": 67, "readlinkat": 78, "newfstatat": 79, "fstat": 80,
    "fsync": 82, "fdatasync": 83, "futex": 98, "rt_sigaction": 134, "rt_sigprocmask": 135, "umask": 166,
    "getpid": 172, "geteuid": 175, "brk": 214, "munmap": 215, "mremap": 216, "mmap": 222, "mprotect": 226,
    "madvise": 233, "renameat2": 276, "getrandom": 278, "statx": 291,
}  # fmt: skip

IS_ARM = platform.machine() == "aarch64"
SUPPORTED = platform.machine() in {"x86_64", "aarch64"}

NAMES = {number: name for name, number in (_AARCH64 if IS_ARM else _X86_64).items()}

# Python's own memory, and OpenSSL's randomness. A kill there leaves the same disk as a kill at the next call, and their
# number is not reproducible, so they count for nothing.
UNCOUNTED = frozenset({"mmap", "munmap", "brk", "mprotect", "mremap", "madvise", "futex", "getrandom", "getpid"})

# An `openat` that may make a file goes by a name of its own.
CREATE = "openat to create"

# What a disk can make fail. `close` is not among them: its errors come after the descriptor is gone.
FILES = frozenset(
    {
        *("openat", CREATE, "read", "pread64", "write", "lseek", "ftruncate"),
        *("fsync", "fdatasync", "flock", "fchmod", "fchown"),
        *("stat", "lstat", "fstat", "newfstatat", "statx", "fstatfs", "getdents64"),
        *("rename", "renameat", "renameat2", "symlink", "symlinkat", "readlink", "readlinkat"),
        *("unlink", "unlinkat", "rmdir", "mkdir", "mkdirat"),
    }
)

# What can change a disk. A kill at any other call leaves the same disk as a kill at the next of these.
CHANGING = frozenset(
    {
        *("write", "fsync", "fdatasync", "ftruncate", "fchmod", "fchown", CREATE),
        *("rename", "renameat", "renameat2", "symlink", "symlinkat", "unlink", "unlinkat", "rmdir", "mkdir", "mkdirat"),
    }
)
