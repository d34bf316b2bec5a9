#!/usr/bin/env python3
"""Drives the gateway with clients that were not written here.

    run.py [--case NAME]... [--quick] [--list] [--binary PATH] [--folder PATH]

A case passes, fails or is skipped with its reason. The last line is `N passed, N failed, N skipped`.
"""
import argparse
import importlib
import pathlib
import shutil
import sys
import time
import traceback

import harness

MODULES = ["cases_acceptance", "cases_http", "cases_table", "cases_proxy", "cases_tcp", "cases_mux", "cases_vectors",
           "cases_hostile", "cases_traffic", "cases_backpressure", "cases_lifecycle", "cases_reload", "cases_observability", "cases_admin",
           "cases_confinement", "cases_browser", "cases_shared", "cases_dns", "cases_tls", "cases_relay", "cases_relay_acceptance",
           "cases_udp", "cases_udp_services", "cases_udp_hostile", "cases_ws_proxy", "cases_jwt", "cases_jwt_tokens", "cases_jwt_limits",
           "cases_jwt_keys", "cases_jwt_bounds", "cases_jwt_frames", "cases_jwt_mqtt", "cases_jwt_upstreams", "cases_jwt_operation",
           "cases_jwt_surface", "cases_jwt_shared", "cases_jwt_postgres", "cases_jwt_topics", "cases_jwt_packets", "cases_jwt_judged",
           "cases_jwt_edges", "cases_jwt_waiting", "cases_jwt_closes", "cases_jwt_sockets", "cases_jwt_counts",
           "cases_autobahn"]


def run(name, options):
    """Runs one case; returns "passed", "failed" or "skipped"."""
    folder = options.folder / name
    shutil.rmtree(folder, ignore_errors=True)
    context = harness.Context(name, folder, options.binary)
    print(f"  {name:<34} ", end="", flush=True)
    began, result, detail = time.monotonic(), "passed", ""
    try:
        harness.CASES[name](context)
    except harness.Skip as reason:
        result, detail = "skipped", str(reason)
    except harness.Failure as failure:
        result, detail = "failed", "; ".join(map(str, failure.args))
    except Exception:
        result, detail = "failed", traceback.format_exc()
    finally:
        try:
            context.close()
        except Exception:
            result, detail = "failed", detail + traceback.format_exc()
    print(f"{result:<8}{time.monotonic() - began:7.1f} s   {'' if result == 'failed' else detail}", flush=True)
    for note in context.notes:
        print(f"      {note}")
    if result == "failed":
        print("      " + detail.strip().replace("\n", "\n      "))
        print(f"      logs: {folder}", flush=True)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", default=[], help="run this case only; may repeat")
    parser.add_argument("--quick", action="store_true", help="leave out the slow cases")
    parser.add_argument("--list", action="store_true", help="print the names of the cases")
    parser.add_argument("--binary", type=pathlib.Path, default=harness.RELEASE / "sluice", help="the gateway to test")
    parser.add_argument("--folder", type=pathlib.Path, default=harness.ROOT / ".build" / "clients", help="where logs go")
    options = parser.parse_args()
    options.binary, options.folder = options.binary.resolve(), options.folder.resolve()
    harness.raise_descriptor_limit()
    for module in MODULES:
        importlib.import_module(module)
    unknown = [name for name in options.case if name not in harness.CASES]
    if unknown:
        parser.error(f"no such case: {', '.join(unknown)}; --list prints them")
    names = options.case or [name for name, function in harness.CASES.items() if not (options.quick and function.slow)]
    if options.list:
        print("\n".join(names))
        return 0
    results = [run(name, options) for name in names]
    counts = [results.count(result) for result in ("passed", "failed", "skipped")]
    print("{} passed, {} failed, {} skipped".format(*counts))
    return 1 if counts[1] else 0


if __name__ == "__main__":
    sys.exit(main())
