"""The container profile of deploy/seccomp.json: the gateway starts and serves under it, and says so where io_uring is refused."""
import ctypes
import ctypes.util
import json
import os
import subprocess
import sys

import services
from harness import ROOT, Skip, case, check, equal, gateway_environment
from rawsocket import BINARY, frame, tcp, upgrade

# Constants of libseccomp's <seccomp.h>.
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
COMPARE = {"SCMP_CMP_EQ": 4, "SCMP_CMP_MASKED_EQ": 7}


class Comparison(ctypes.Structure):
    _fields_ = [("argument", ctypes.c_uint), ("operation", ctypes.c_int), ("first", ctypes.c_uint64), ("second", ctypes.c_uint64)]


def library():
    name = ctypes.util.find_library("seccomp")
    if not name:
        raise Skip("libseccomp2 is not installed")
    loaded = ctypes.CDLL(name, use_errno=True)
    loaded.seccomp_init.restype = ctypes.c_void_p
    loaded.seccomp_init.argtypes = [ctypes.c_uint32]
    loaded.seccomp_load.argtypes = [ctypes.c_void_p]
    loaded.seccomp_rule_add_array.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(Comparison)]
    return loaded


def confine(seccomp, profile, without=()):
    """Puts the calling process under a profile in the format of the container runtimes."""
    context = seccomp.seccomp_init(ERRNO | profile["defaultErrnoRet"])
    for rule in profile["syscalls"]:
        action = ALLOW if rule["action"] == "SCMP_ACT_ALLOW" else ERRNO | rule["errnoRet"]
        comparisons = [Comparison(one["index"], COMPARE[one["op"]], one["value"], one["valueTwo"]) for one in rule.get("args", [])]
        array = (Comparison * len(comparisons))(*comparisons)
        for name in rule["names"]:
            number = seccomp.seccomp_syscall_resolve_name(name.encode())
            # A negative number is a call that this architecture does not have.
            if number < 0 or name in without:
                continue
            if seccomp.seccomp_rule_add_array(context, action, number, len(comparisons), array):
                raise OSError(f"rule for {name}")
    if seccomp.seccomp_load(context):
        raise OSError("seccomp_load")


@case("container-seccomp-profile")
def profile(context):
    library()
    launcher = context.folder / "confined"
    launcher.write_text(f"#!/bin/sh\nexec {sys.executable} {__file__} {context.binary} \"$@\"\n")
    launcher.chmod(0o755)
    context.binary, plain = launcher, context.binary
    server, port = context.server(), services.start(context, "echo")
    peer = upgrade(server, tcp(port), server.session())
    peer.send(frame(BINARY, b"confined"))
    equal(peer.exactly(8), b"confined", "echo under the profile")
    status = open(f"/proc/{server.pid}/status").read()
    check("Seccomp:\t2" in status, "the gateway runs under a filter")
    peer.close()
    # Default profiles of container runtimes refuse io_uring: one line that names the cause and the remedy.
    refused = subprocess.run([sys.executable, __file__, "--without-io-uring", plain, "serve"], capture_output=True, timeout=10, text=True,
                             env=gateway_environment({}))
    lines = [line for line in refused.stderr.splitlines() if line.strip()]
    check(refused.returncode > 0 and len(lines) == 1 and "seccomp" in lines[0].lower(), "refusal without io_uring", refused.returncode, lines)
    context.note(lines[0])


if __name__ == "__main__":
    arguments = sys.argv[1:]
    blocked = ()
    if arguments[0] == "--without-io-uring":
        arguments, blocked = arguments[1:], ("io_uring_setup", "io_uring_enter", "io_uring_register")
    confine(library(), json.loads((ROOT / "deploy" / "seccomp.json").read_text()), blocked)
    os.execv(arguments[0], arguments)
