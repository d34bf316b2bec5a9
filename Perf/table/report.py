"""Results as Markdown, JSON and a plot."""

import html
import json
import statistics

import trains


def pick(figures, path):
    """A field by its dotted path; None when absent."""
    for name in path.split("."):
        if not isinstance(figures, dict) or name not in figures:
            return None
        figures = figures[name]
    return figures


def summarise(row, runs):
    """Per system: the values of all rounds, their median and spread. `runs` maps system to results, round by round."""
    base = 0.0
    if row.added_over and runs.get(row.added_over):
        base = statistics.median(pick(one, row.metric) * row.scale for one in runs[row.added_over])
    summary = {}
    for system, results in runs.items():
        values = [pick(one, row.metric) for one in results]
        values = [value * row.scale - base for value in values if value is not None]
        if not values:
            continue
        also = {}
        for path, label, unit, scale in row.also:
            found = [pick(one, path) for one in results]
            found = [value * scale for value in found if value is not None]
            if found:
                also[label] = {"median": statistics.median(found), "unit": unit}
        summary[system] = {"median": statistics.median(values), "min": min(values), "max": max(values), "values": values, "also": also}
    return summary, base


def best_floor(row, summary):
    """The floor that did best, by median; None without one."""
    present = [name for name in row.floors if name in summary]
    if not present:
        return None
    return (max if row.higher_is_better else min)(present, key=lambda name: summary[name]["median"])


def number(value, unit=""):
    if value is None:
        return "–"
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2 if abs(value) >= 10 else 3
    return f"{value:,.{digits}f}" + (f" {unit}" if unit else "")


def markdown(document):
    lines = [f"# Performance: {document['name']}", ""]
    lines += [f"- {name}: {value}" for name, value in document["machine"].items()]
    lines += ["- versions: " + "; ".join(f"{name}: {value}" for name, value in document["versions"].items() if value)]
    lines += [f"- {document['rounds']} rounds, the systems of a row one after the other in each; {document['warm_up']} s warm-up, "
              f"{document['duration']} s measured; server on core {document['server_core']}, load and target on core {document['load_core']}"]
    lines += ["", "Medians over the rounds; spread is the smallest and the largest round. The ratio divides by "
              "the median of the row's base: its best floor, for many streams `/tcp`, and without either the gateway itself."]
    for row in document["rows"]:
        lines += ["", f"## {row['title']}", ""]
        if row["base"]:
            lines += [f"Direct connection: {number(row['base'], row['unit'])}, already subtracted. On it, load and target share one core.", ""]
        if row["note"]:
            lines += [row["note"], ""]
        labels = sorted({label for figures in row["systems"].values() for label in figures["also"]})
        lines += ["| system | median | spread | ratio | " + " | ".join(labels) + " |", "|---" * (4 + len(labels)) + "|"]
        for name, figures in ordered(row):
            reference = row["systems"].get(row["best_floor"] or row["own"], {}).get("median")
            ratio = f"{figures['median'] / reference:.2f}" if reference else "–"
            also = [number(figures["also"][label]["median"], figures["also"][label]["unit"]) if label in figures["also"] else "–"
                    for label in labels]
            mark = " (base)" if name == row["best_floor"] else ""
            bold = "**" if name == row["own"] else ""
            lines.append(f"| {bold}{name}{bold}{mark} | {bold}{number(figures['median'], row['unit'])}{bold} "
                         f"| {number(figures['min'])} … {number(figures['max'])} | {ratio} | " + " | ".join(also) + " |")
        for sentence in trains.sentences(row.get("trains", {})):
            lines.append(f"\n{sentence}")
        for name, reason in row["failures"].items():
            lines.append(f"\n{name}: no figure, {reason}")
    lines += ["", "## Systems", ""] + [f"- `{name}`: {text}" for name, text in document["systems"].items()] + [""]
    return "\n".join(lines)


def ordered(row):
    return sorted(((name, figures) for name, figures in row["systems"].items() if not (row["added_over"] and name == row["added_over"])),
                  key=lambda item: item[1]["median"], reverse=row["higher_is_better"])


def svg(document):
    """Horizontal bars, one group for each row; a thin line shows the spread."""
    width, left, bar, gap, top = 980, 190, 18, 6, 64
    body, y = [], top
    for row in document["rows"]:
        items = ordered(row)
        if not items:
            continue
        # One system far behind would make all others look alike: bars end at six times the median of the row.
        middle = statistics.median(max(figures["median"], 0) for _, figures in items)
        largest = min(max(figures["max"] for _, figures in items), 6 * middle) or 1
        scale = (width - left - 170) / largest
        better = "more is better" if row["higher_is_better"] else "less is better"
        body.append(f'<text x="16" y="{y}" class="title">{html.escape(row["title"])} ({better})</text>')
        y += 12
        for name, figures in items:
            length = max(1.0, min(figures["median"], largest) * scale)
            kind = "sluice" if name in document["own"] else "floor" if name in row["floors"] else "other"
            cut = " ▸" if figures["median"] > largest else ""
            body.append(f'<text x="{left - 8}" y="{y + 13}" class="name">{html.escape(name)}</text>')
            body.append(f'<rect x="{left}" y="{y}" width="{length:.1f}" height="{bar}" class="{kind}"/>')
            low, high = (min(max(figures[end], 0), largest) * scale + left for end in ("min", "max"))
            body.append(f'<path d="M{low:.1f} {y + bar / 2}H{high:.1f}" class="spread"/>')
            body.append(f'<text x="{max(left + length, high) + 8:.1f}" y="{y + 13}" class="value">'
                        f'{html.escape(number(figures["median"], row["unit"]))}{cut}</text>')
            y += bar + gap
        y += 34
    machine = document["machine"]
    note = f"{machine['processor']}, {machine['cores']} cores, {machine['kernel']}; {document['rounds']} rounds; {document['date']}"
    style = ("text{font:13px system-ui,sans-serif;fill:#1d2733}.title{font-weight:600}.head{font-size:18px;font-weight:700}"
             ".note{fill:#5b6b7c;font-size:12px}.name{text-anchor:end}.value{font-size:12px}.sluice{fill:#0b7285}.floor{fill:#adb5bd}"
             ".other{fill:#e0a458}.spread{stroke:#1d2733;stroke-width:1.5}")
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y}" viewBox="0 0 {width} {y}"><style>{style}</style>'
            f'<rect width="{width}" height="{y}" fill="#fff"/><text x="16" y="26" class="head">Sluice: {html.escape(document["name"])}</text>'
            f'<text x="16" y="44" class="note">{html.escape(note)}</text>' + "".join(body) + "</svg>\n")


def write(document, folder):
    """Writes all three; returns their paths."""
    base = f"{folder}/{document['name']}"
    for suffix, text in ((".md", markdown(document)), (".json", json.dumps(document, indent=1, ensure_ascii=False) + "\n"), (".svg", svg(document))):
        with open(base + suffix, "w", encoding="utf-8") as file:
            file.write(text)
    return [base + suffix for suffix in (".md", ".json", ".svg")]
