"""Conformance: the Autobahn test suite against an echo server made of the same Engine and HTTP targets as the gateway."""
import glob
import json
import os
import re
import shutil
import subprocess
import sys

from harness import ROOT, Skip, case, check
from services import websocket_echo

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


@case("autobahn")
def autobahn(context):
    command = install(context)
    port, report = websocket_echo(context), context.folder / "report"
    specification = context.folder / "fuzzingclient.json"
    specification.write_text(json.dumps({"outdir": str(report), "servers": [{"agent": "sluice", "url": f"ws://127.0.0.1:{port}"}],
                                         "cases": CASES, "exclude-cases": [], "exclude-agent-cases": {}}))
    with open(context.folder / "wstest.log", "wb") as log:
        finished = subprocess.run([command, "-m", "fuzzingclient", "-s", specification], stdout=log, stderr=log, timeout=RUN_SECONDS)
    check(finished.returncode == 0, "the suite runs to its end", finished.returncode)
    results = json.loads((report / "index.json").read_text())["sluice"]
    bad = {name: (result["behavior"], result["behaviorClose"]) for name, result in results.items()
           if result["behavior"] not in GOOD or result["behaviorClose"] not in GOOD}
    order = sorted(bad, key=lambda name: [int(part) for part in re.findall(r"\d+", name)])
    check(not bad, f"{len(bad)} of {len(results)} cases", *[(name, *bad[name]) for name in order[:10]])
    # Seven groups and group 10 together have about 250 cases; a much smaller report means that the suite gave up.
    check(len(results) > 200, "cases in the report", len(results))
    informational = [name for name in results if results[name]["behavior"] == "INFORMATIONAL"]
    context.note(f"{len(results)} cases, {len(informational)} of them informational; report {report}/index.html")
