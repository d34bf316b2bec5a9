"""Conformance: the Autobahn test suite against an echo server made of the same Engine and HTTP targets as the gateway."""
import glob
import json
import os
import re
import shutil
import subprocess
import sys

from cases_jwt import native, need
from harness import ROOT, Skip, case, check
from services import websocket_echo

try:
    from issuer import Issuer
except ImportError:
    pass  # cases_jwt says what is missing

CASES = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*"]
GOOD = {"OK", "INFORMATIONAL"}
SUITE = "autobahntestsuite==0.8.2"
# The last virtualenv that makes environments for Python 2.7.
VIRTUALENV = "virtualenv==20.21.1"
RUN_SECONDS = 300


def python27():
    """A Python 2.7, which is what the last complete release of the suite runs under."""
    for path in [shutil.which("python2.7")] + sorted(glob.glob(os.path.expanduser("~/.pyenv/versions/2.7*/bin/python2.7"))):
        if path and subprocess.run([path, "-c", "import sys"], capture_output=True).returncode == 0:
            return path
    raise Skip("no Python 2.7 is installed, which the Autobahn test suite needs")


def install(context):
    """Puts the suite into an environment under .build; returns the command."""
    folder = ROOT / ".build" / "autobahn"
    command = folder / "bin" / "wstest"
    if command.exists():
        return command
    interpreter, log = python27(), context.folder / "install.log"
    tools = ROOT / ".build" / "autobahn-tools"
    with open(log, "wb") as output:
        for step in ([sys.executable, "-m", "venv", tools], [tools / "bin" / "pip", "install", "-q", VIRTUALENV],
                     [tools / "bin" / "virtualenv", "-q", "-p", interpreter, folder], [folder / "bin" / "pip", "install", "-q", SUITE]):
            if subprocess.run([str(part) for part in step], stdout=output, stderr=output).returncode:
                raise Skip(f"the Autobahn test suite cannot be installed here; see {log}")
    return command


def judge(context, command, url, good=GOOD):
    """Runs the suite against a URL."""
    report, specification = context.folder / "report", context.folder / "fuzzingclient.json"
    specification.write_text(json.dumps({"outdir": str(report), "servers": [{"agent": "sluice", "url": url}],
                                         "cases": CASES, "exclude-cases": [], "exclude-agent-cases": {}}))
    with open(context.folder / "wstest.log", "wb") as log:
        finished = subprocess.run([command, "-m", "fuzzingclient", "-s", specification], stdout=log, stderr=log, timeout=RUN_SECONDS)
    check(finished.returncode == 0, "the suite runs to its end", finished.returncode)
    results = json.loads((report / "index.json").read_text())["sluice"]
    bad = {name: (result["behavior"], result["behaviorClose"]) for name, result in results.items()
           if result["behavior"] not in good or result["behaviorClose"] not in good}
    order = sorted(bad, key=lambda name: [int(part) for part in re.findall(r"\d+", name)])
    check(not bad, f"{len(bad)} of {len(results)} cases", *[(name, *bad[name]) for name in order[:10]])
    # Seven groups and group 10 together have about 250 cases; a much smaller report means that the suite gave up.
    check(len(results) > 200, "cases in the report", len(results))
    informational = [name for name in results if results[name]["behavior"] == "INFORMATIONAL"]
    context.note(f"{len(results)} cases, {len(informational)} of them informational; report {report}/index.html")


@case("autobahn")
def autobahn(context):
    judge(context, install(context), f"ws://127.0.0.1:{websocket_echo(context)}")


@case("autobahn-jwt", slow=True)
def autobahn_jwt(context):
    """The same through the JWT proxy: it carries what is right and what is wrong, and the echo behind it judges."""
    need()
    command, issuer = install(context), Issuer(context, "ES256")
    route = '{ name: raw, prefix: /ws, protocol: raw, upstreams: [{ url: "ws://127.0.0.1:%d/" }] }' % websocket_echo(context)
    server = native(context, issuer, route, rest="  limits: { handshakes_per_second: 0, sessions_per_subject: 0 }\n")
    # Behind a violation the proxy ends the session: it does not wait for the echo of what came before, which the suite would rather see.
    judge(context, command, f"ws://127.0.0.1:{server.port}/ws?token={issuer.token()}", GOOD | {"NON-STRICT"})
