#!/usr/bin/env python3
"""Runs rows against systems, alternating: in every round each system takes its turn, starting one further each time.

A difference between two systems is only believed when both met the same machine in the same minute; that is what the
rounds are for. Progress goes to standard error, results to Perf/results/.
"""

import argparse
import contextlib
import datetime
import os
import platform
import resource
import shutil
import sys
import tempfile
import time

import processes
import report
import trains
from rows import ROWS
from systems import PERF, SYSTEMS, Proxy, Sluice, SluiceDNS, binary


class Place:
    """Where one row runs: cores, a folder for configurations and logs."""

    def __init__(self, root, options):
        self.root, self.server_core, self.load_core = root, options.server_core, options.load_core
        self.sluice_configuration = options.sluice_config

    def folder(self, name):
        path = os.path.join(self.root, name)
        os.makedirs(path, exist_ok=True)
        return path

    def file(self, name, text):
        path = os.path.join(self.root, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def log(self, name):
        return os.path.join(self.root, name + ".log")

    def last_words(self, name):
        try:
            with open(self.log(name), encoding="utf-8", errors="replace") as file:
                lines = [line.strip() for line in file if line.strip()]
            return f" ({lines[-1][:200]})" if lines else ""
        except OSError:
            return ""


def say(text):
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def start_target(place):
    """The target, and a second one whose source sends messages of 1 MiB; the ports of their services."""
    services = ["echo", "sink", "source", "wsecho", "wssink", "wssource", "wsmqtt", "wsmqttsink", "udp-echo", "udp-sink", "udp-burst"]
    child, ports = _start_target(place, [f"{name}:0" for name in services])
    bulk, bulk_ports = _start_target(place, ["wssource:0", "--size", "1048576"])
    ports["wsbulk"] = bulk_ports["wssource"]
    return [child, bulk], ports


def _start_target(place, arguments):
    child = processes.start([binary("sluice-target")] + arguments, place.load_core, place.log("target"), capture=True)
    ports = {}
    for line in child.stdout:
        if line.strip() == "ready":
            return child, ports
        name, _, port = line.strip().partition(" ")
        if not port.isdigit():
            raise RuntimeError(line.strip())
        ports[name] = int(port)
    raise RuntimeError("sluice-target did not start" + place.last_words("target"))


class RowRun:
    """One row: its systems, their results round by round, and what went wrong."""

    def __init__(self, row, names, place, ports, options):
        self.row, self.place, self.ports, self.options = row, place, ports, options
        self.results = {name: [] for name in names}
        self.failures = {}
        self.started = {}
        self.note = ""

    def begin(self, name):
        system = SYSTEMS[name]
        self.place.row = self.row
        service = ("ws" if system.websocket_target else "") + self.row.service
        self.started[name] = system.begin(self.place, self.ports[service])

    def end(self, name):
        child = self.started.pop(name, (None,))[0]
        if child:
            for companion in [child] + getattr(child, "companions", []):
                processes.stop(companion)

    def measure(self, name):
        child, url, more = self.started[name]
        arguments = [binary("sluice-load"), url] + self.load_arguments() + more
        if child:
            arguments += ["--server-pid", str(child.pid)]
        arguments += ["--warm-up", str(self.options.warm_up), "--duration", str(self.options.duration)]
        port = getattr(child, "metrics_port", None)
        before = trains.read(port) if port else None
        figures = processes.load(arguments, self.place.load_core, self.options.warm_up + self.options.duration + 90)
        if port:
            figures["trains"] = trains.difference(before, trains.read(port))
        return figures

    def load_arguments(self):
        """The row's own, with fewer idle connections where a proxy's descriptors, two each, do not suffice."""
        arguments = list(self.row.load)
        if "--idle" in arguments and self.row.own == "sluice":
            limit = (resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 256) // 2
            position = arguments.index("--idle") + 1
            if int(arguments[position]) > limit:
                arguments[position] = str(limit)
                self.note = f"{limit:,} connections here: the limit of descriptors is {resource.getrlimit(resource.RLIMIT_NOFILE)[1]:,}."
        return arguments

    def round(self, number):
        names = [name for name in self.results if name not in self.failures]
        shift = number % max(1, len(names))
        for name in names[shift:] + names[:shift]:
            try:
                if name not in self.started:
                    self.begin(name)
                figures = self.measure(name)
                self.results[name].append(figures)
                value = report.pick(figures, self.row.metric)
                say(f"{self.row.name:10} round {number + 1}: {name:18} {report.number(value * self.row.scale, self.row.unit)}")
            except (RuntimeError, OSError, TypeError) as error:
                self.failures[name] = f"{error}{self.place.last_words(name)}"
                self.results[name] = []
                say(f"{self.row.name:8} {name}: {self.failures[name]}")
                self.end(name)
            if self.row.fresh:
                self.end(name)

    def finish(self):
        for name in list(self.started):
            self.end(name)
        summary, base = report.summarise(self.row, {name: runs for name, runs in self.results.items() if runs})
        row = self.row
        return {"name": row.name, "title": row.title, "unit": row.unit, "higher_is_better": row.higher_is_better,
                "added_over": row.added_over, "floors": row.floors, "base": base, "own": row.own, "load": self.load_arguments(), "note": self.note,
                "best_floor": report.best_floor(row, summary), "systems": summary, "failures": self.failures,
                "trains": {name: trains.total(runs) for name, runs in self.results.items() if any("trains" in one for one in runs)},
                "raw": self.results}


def machine():
    text = open("/proc/cpuinfo", encoding="utf-8").read()
    model = next((line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name")), platform.machine())
    memory = int(open("/proc/meminfo", encoding="utf-8").readline().split()[1]) // 1048576
    return {"processor": model, "cores": os.cpu_count(), "memory": f"{memory} GiB", "kernel": f"Linux {platform.release()}", "congestion control": congestion_control(),
            "load average at start": " ".join(f"{value:.2f}" for value in os.getloadavg())}


CONGESTION_CONTROL = "/proc/sys/net/ipv4/tcp_congestion_control"


def congestion_control():
    with open(CONGESTION_CONTROL, encoding="utf-8") as file:
        return file.read().strip()


@contextlib.contextmanager
def chosen_congestion_control(name):
    """All systems of the run use `name`, whether they open connections or accept them; afterwards the machine's own is back."""
    own = congestion_control()
    if not name or name == own:
        yield
        return

    def choose(value):
        try:
            with open(CONGESTION_CONTROL, "w", encoding="utf-8") as file:
                file.write(value)
        except OSError as error:
            sys.exit(f"congestion control {value}: {error.strerror}; try `modprobe tcp_{value}`, as root")

    choose(name)
    try:
        yield
    finally:
        choose(own)


def parse():
    parser = argparse.ArgumentParser(prog="Perf/run", description="Measures Sluice beside the floor and other proxies, on 127.0.0.1 only.")
    parser.add_argument("--rows", help="comma-separated; default all: " + ",".join(ROWS))
    parser.add_argument("--systems", help="comma-separated; `floor` stands for every buffer size of it: " + ",".join(SYSTEMS))
    parser.add_argument("--rounds", type=int, default=None, help="default 5")
    parser.add_argument("--duration", type=float, default=None, help="seconds of each measurement, default 4")
    parser.add_argument("--warm-up", type=float, default=None, help="seconds, default 1")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 1.5 s")
    parser.add_argument("--name", default="table", help="of the files in Perf/results/")
    parser.add_argument("--server-core", type=int, default=0)
    parser.add_argument("--load-core", type=int, default=1)
    parser.add_argument("--sluice-config", help="configuration file for sluice instead of the generated one")
    parser.add_argument("--keep", action="store_true", help="keep configurations and logs of the systems")
    parser.add_argument("--congestion-control", metavar="NAME",
                        help="TCP's congestion control for this run, as root; default: the machine's, `" + congestion_control() + "`")
    parser.add_argument("--no-envoy", action="store_true", help="do not fetch Envoy")
    parser.add_argument("--list", action="store_true", help="list rows and systems")
    options = parser.parse_args()
    usual = (2, 1.5, 0.5) if options.quick else (5, 4.0, 1.0)
    options.rounds, options.duration, options.warm_up = (
        given if given is not None else value for given, value in zip((options.rounds, options.duration, options.warm_up), usual))
    options.rows = (options.rows or ",".join(ROWS)).split(",")
    options.systems = options.systems.split(",") if options.systems else []
    for name in options.rows:
        if name not in ROWS:
            parser.error(f"there is no row {name}; there are {', '.join(ROWS)}")
    for name in options.systems:
        if name not in SYSTEMS and name != "floor":
            parser.error(f"there is no system {name}; there are floor, {', '.join(SYSTEMS)}")
    return options


def main():
    options = parse()
    if options.list:
        print("\n".join([f"row     {row.name:18} {row.title}" for row in ROWS.values()]
                        + [f"system  {system.name:18} {system.description}" for system in SYSTEMS.values()]))
        return
    if (os.cpu_count() or 1) < 2:
        sys.exit("two cores are needed: one for the server, one for the load")
    absent = {name: system.missing() for name, system in SYSTEMS.items() if system.missing()}
    for name, reason in absent.items():
        say(f"left out: {name}, {reason}")
    with chosen_congestion_control(options.congestion_control):
        measure(options, absent)


def measure(options, absent):
    root = tempfile.mkdtemp(prefix="sluice-perf-")
    document = {"name": options.name, "date": datetime.date.today().isoformat(), "machine": machine(), "rounds": options.rounds,
                "warm_up": options.warm_up, "duration": options.duration, "server_core": options.server_core,
                "load_core": options.load_core, "versions": {}, "systems": {},
                "own": [name for name, system in SYSTEMS.items() if system.is_own], "left_out": absent, "rows": []}
    folder = os.path.join(PERF, "results")
    os.makedirs(folder, exist_ok=True)
    try:
        place = Place(root, options)
        targets, ports = start_target(place)
        for row_name in options.rows:
            row = ROWS[row_name]
            names = [name for name in row.expand(options.systems) if name not in absent]
            for name in names:
                document["systems"][name] = SYSTEMS[name].description
                if isinstance(SYSTEMS[name], (Proxy, Sluice, SluiceDNS)):
                    document["versions"].setdefault(name, SYSTEMS[name].version())
            run = RowRun(row, names, place, ports, options)
            for number in range(min(options.rounds, row.most_rounds)):
                run.round(number)
            document["rows"].append(run.finish())
            # After every row, so that an interrupted run leaves what it measured.
            report.write(document, folder)
        for target in targets:
            processes.stop(target)
    except KeyboardInterrupt:
        say("interrupted")
        sys.exit(130)
    finally:
        if options.keep:
            say(f"kept {root}")
        else:
            shutil.rmtree(root, ignore_errors=True)
    print(report.markdown(document))
    say("wrote " + ", ".join(report.write(document, folder)))


if __name__ == "__main__":
    main()
