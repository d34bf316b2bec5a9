"""A PostgreSQL of a case's own, which can be stopped, killed and started again on its port.

It runs as an unprivileged user, as it insists to, in a folder of its own, and asks for a password.
"""
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import urllib.parse

from harness import Failure, Skip, eventually

PASSWORD = "p@ss/word%1"
USER = "gateway"


class Postgres:
    def __init__(self, context, starts=True):
        programs = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        if not programs:
            raise Skip("PostgreSQL is not installed: apt-get install postgresql")
        self.programs = programs[-1].parent
        self.context = context
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"postgres://{USER}:{urllib.parse.quote(PASSWORD, safe='')}@127.0.0.1:{self.port}/postgres"
        self.process = None
        self.owner = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="sluice-postgres-"))
        context.defer(lambda: shutil.rmtree(self.folder, ignore_errors=True))
        (self.folder / "password").write_text(PASSWORD)
        for path in (self.folder, self.folder / "password"):
            os.chown(path, self.owner.pw_uid, self.owner.pw_gid)
        self.run("initdb", "-D", self.data, "-U", USER, "-A", "scram-sha-256", "--pwfile", self.folder / "password", "--no-sync",
                 "--no-instructions", "-E", "UTF8", "--locale", "C")
        context.defer(self.kill)
        if starts:
            self.start()

    @property
    def data(self):
        return self.folder / "data"

    def options(self):
        """How a program is started as the owner of the data."""
        own = dict(user=self.owner.pw_uid, group=self.owner.pw_gid, extra_groups=[]) if os.geteuid() == 0 else {}
        return dict(cwd=self.folder, stdin=subprocess.DEVNULL, env={"PATH": os.environ["PATH"], "LC_ALL": "C"}, **own)

    def run(self, name, *arguments):
        done = subprocess.run([self.programs / name, *arguments], capture_output=True, text=True, timeout=60, **self.options())
        if done.returncode:
            raise Failure(f"{name} failed", done.stderr[-500:])
        return done.stdout

    def start(self):
        with open(self.context.folder / "postgres.log", "ab") as log:
            self.process = subprocess.Popen(
                [self.programs / "postgres", "-D", self.data, "-p", str(self.port), "-c", "listen_addresses=127.0.0.1",
                 "-c", "unix_socket_directories=", "-c", "shared_buffers=16MB"], stdout=log, stderr=log, **self.options())
        eventually(self.answers, "Postgres answers", 20)

    def answers(self):
        try:
            return self.command("SELECT 1") == "1"
        except Failure:
            return False

    def processes(self):
        """The server, and those it started."""
        found = [self.process.pid]
        for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                if int(path.read_text().rsplit(")", 1)[1].split()[1]) == self.process.pid:
                    found.append(int(path.parent.name))
            except (OSError, ValueError):
                pass  # it ended meanwhile
        return found

    def signal(self, number):
        for process in self.processes():
            try:
                os.kill(process, number)
            except ProcessLookupError:
                pass

    def kill(self):
        """All at once, without a word to anybody."""
        if self.process and self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGKILL)
            self.process.wait()

    def command(self, text):
        """What a statement answers, as psql prints it without decoration."""
        done = subprocess.run(
            [self.programs / "psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", USER, "-d", "postgres", "-AtXq", "-c", text],
            capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C", "PGPASSWORD": PASSWORD, "PGCONNECT_TIMEOUT": "5"})
        if done.returncode:
            raise Failure("psql failed", done.stderr[-500:])
        return done.stdout.strip()
