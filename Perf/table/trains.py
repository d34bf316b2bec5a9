"""How many datagrams the gateway moved with one send or one receive, from its histogram."""

import re
import urllib.request

_FAMILY = "sluice_shard_datagrams_per_train_bucket"
_SAMPLE = re.compile(_FAMILY + r"\{([^}]*)\} (\d+)")


def read(port):
    """Cumulated counts by direction and upper bound, over all shards."""
    counts = {}
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        for line in answer.read().decode().splitlines():
            found = _SAMPLE.match(line)
            if found:
                labels = dict(re.findall(r'(\w+)="([^"]*)"', found.group(1)))
                bounds = counts.setdefault(labels["direction"], {})
                bounds[labels["le"]] = bounds.get(labels["le"], 0) + int(found.group(2))
    return counts


def difference(before, after):
    """What a run added, by direction and upper bound, no longer cumulated."""
    added = {}
    for direction, bounds in after.items():
        below = 0
        for bound, count in bounds.items():
            grown = count - before.get(direction, {}).get(bound, 0)
            added.setdefault(direction, {})[bound] = grown - below
            below = grown
    return added


def total(runs):
    """The sum over all rounds."""
    summed = {}
    for one in runs:
        for direction, bounds in one.get("trains", {}).items():
            for bound, count in bounds.items():
                sums = summed.setdefault(direction, {})
                sums[bound] = sums.get(bound, 0) + count
    return summed


def sentences(trains):
    """One line for each system and direction that moved datagrams."""
    lines = []
    for name, directions in trains.items():
        for direction, bounds in directions.items():
            whole = sum(bounds.values())
            if not whole:
                continue
            low, parts = 1, []
            for bound, count in bounds.items():
                if bound == "+Inf":
                    text = f"{low} and more"
                else:
                    text = bound if int(bound) == low else f"{low}–{bound}"
                    low = int(bound) + 1
                if count:
                    parts.append(f"{text}: {100 * count / whole:.1f} %")
            lines.append(f"{name}, {whole:,} trains {direction}, by datagrams in one: " + ", ".join(parts))
    return lines
