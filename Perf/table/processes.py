"""Child processes: pinned, ended with their parent, never left behind."""

import atexit
import ctypes
import json
import os
import signal
import socket
import subprocess
import time
import urllib.request

_children = []
_libc = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1
# The only TLS 1.3 suite the load offers: servers left to choose differ, and AES-256 against AES-128 would decide the rows.
_TLS_SUITE = "TLS_AES_128_GCM_SHA256"


def _prepare():
    os.setsid()
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def start(arguments, core, log, environment=None, capture=False):
    """Starts a program on one core. Its standard error, and output unless captured, go to the log file."""
    with open(log, "ab") as errors:
        child = subprocess.Popen(
            ["taskset", "-c", str(core)] + arguments, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if capture else errors, stderr=errors,
            env=environment, preexec_fn=_prepare, text=capture)
    _children.append(child)
    return child


def stop(child):
    """Ends a child and everything in its process group: first politely, then not."""
    if child in _children:
        _children.remove(child)
    for number, seconds in ((signal.SIGTERM, 3), (signal.SIGKILL, 3)):
        try:
            os.killpg(child.pid, number)
        except ProcessLookupError:
            break
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            continue
    child.poll()


def _stop_all():
    for child in list(_children):
        stop(child)


atexit.register(_stop_all)
for _number in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(_number, lambda number, frame: exit(128 + number))


def free_port():
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def await_port(port, child, seconds=15):
    """Waits until something listens on the port; raises when the child ends or time runs out."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if child.poll() is not None:
            raise RuntimeError(f"ended with status {child.returncode} before it listened")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"does not listen on port {port}")


def await_health(port, child, seconds=15):
    """Waits until GET /healthz answers 200."""
    await_port(port, child, seconds)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=1) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("/healthz does not answer 200")


def load(arguments, core, seconds):
    """Runs sluice-load and returns its figures; raises with its own words when it fails."""
    child = subprocess.Popen(["taskset", "-c", str(core)] + arguments + ["--json", "--quiet"], stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=_prepare,
                             env=dict(os.environ, SLUICE_LOAD_SUITES=os.environ.get("SLUICE_LOAD_SUITES", _TLS_SUITE)))
    _children.append(child)
    try:
        output, errors = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"the load did not end within {seconds:.0f} s") from None
    finally:
        stop(child)
    if child.returncode != 0:
        raise RuntimeError(errors.strip().splitlines()[-1] if errors.strip() else f"load: status {child.returncode}")
    return json.loads(output)
