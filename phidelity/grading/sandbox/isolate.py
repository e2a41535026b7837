"""Out of the host's reach: namespaces, a root of its own, another user, limits.

The new root is a small file system in memory into which the libraries of the system and of Python are bound
read-only; no program, no /proc, no /dev and no file of the host is in it. As root we drop to one user for the tests
and another for the candidate; as somebody else we make a user namespace first.
"""

import ctypes
import math
import os
import resource
import signal
import sys

NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
RDONLY, NOSUID, NODEV, REMOUNT, BIND, REC, PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
PDEATHSIG, DUMPABLE, NO_NEW_PRIVS = 1, 4, 38
MAX_FILE = 1 << 24
libc = ctypes.CDLL(None, use_errno=True)


def isolate():
    """Enter namespaces where the kernel grants them; returns what isolates and the users to drop to, if root."""
    root, uid, gid = os.getuid() == 0, os.getuid(), os.getgid()
    first = 61184 + os.getpid() % 2048  # systemd's range of dynamic users: nobody's own
    users = (first, first + 2048) if root else None
    spaces = NEWNS | NEWIPC | NEWPID | NEWNET | NEWUTS | (0 if root else NEWUSER)
    if libc.unshare(spaces) == 0:
        maps = {} if root else {"setgroups": "deny", "uid_map": f"{uid} {uid} 1", "gid_map": f"{gid} {gid} 1"}
        for name, text in maps.items():
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
        build_root(users[1] if users else uid)
        return f"namespaces (mount, pid, network, ipc), {'unprivileged user' if root else 'user namespace'}", users
    if not root:
        raise OSError(f"no namespaces ({os.strerror(ctypes.get_errno())}) and no root rights to drop the user")
    os.chown(".", first + 2048, first + 2048)
    return "unprivileged user (no namespaces: network not cut off)", users


def drop(user, limits):
    """Give up the user, every capability and what limits allow to take away; die with the parent."""
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    libc.capset(ctypes.byref((ctypes.c_uint32 * 2)(0x20080522, 0)), ctypes.byref((ctypes.c_uint32 * 6)()))
    libc.prctl(NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(DUMPABLE, 0, 0, 0, 0)
    libc.prctl(PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if not os.access(os.__file__, os.R_OK):
        raise OSError("the unprivileged user cannot read the standard library")
    seconds = math.ceil(limits["cpu"])
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_AS, (limits["memory"], limits["memory"]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_FILE, MAX_FILE))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def build_root(owner):
    """A root in memory that holds the shared libraries and the standard library, read-only, and a scratch folder."""
    mount(None, "/", None, REC | PRIVATE)
    root = "/proc"  # any folder that surely exists and is never a source below
    mount("tmpfs", root, "tmpfs", NOSUID | NODEV, "size=16m,mode=755")
    done = []
    for prefix in ("", "/usr", sys.base_prefix, os.path.realpath(sys.base_prefix)):
        for path in (f"{prefix}/lib", f"{prefix}/lib64"):
            if os.path.isdir(path) and not any(f"{path}/".startswith(f"{other}/") for other in done):
                bind_readonly(path, root + path)
                done.append(path)
    os.mkdir(f"{root}/scratch", 0o700)
    os.chown(f"{root}/scratch", owner, -1)
    os.chroot(root)
    os.chdir("/scratch")


def bind_readonly(path, target):
    """Show `path` at `target`; a link stays a link (its target is bound by itself)."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.islink(path):
        os.symlink(os.readlink(path), target)
        return
    os.makedirs(target, exist_ok=True)
    mount(path, target, None, BIND | REC)
    mount(None, target, None, REMOUNT | BIND | RDONLY | NOSUID | NODEV)


def mount(source, target, kind, flags, options=None):
    """mount(2), with an OSError where it fails."""
    texts = [text.encode() if text is not None else None for text in (source, target, kind, options)]
    if libc.mount(texts[0], texts[1], texts[2], flags, texts[3]) != 0:
        raise OSError(f"cannot mount {target}: {os.strerror(ctypes.get_errno())}")
