#!/usr/bin/python3
"""compare_report.py RUNS.jsonl RESULTS.csv RESULTS.svg: what compare.sh measured, as a table on stdout, as CSV, and as
a picture of the client's CPU time. Ratios are medians over the rounds of warren's number by rabbitmq-c's of the same
round.
"""
import csv
import json
import sys
from html import escape
from statistics import median

BASE, OURS = "rabbitmq-c", "warren"
CLIENTS = [OURS, BASE, "aio-pika"]
COLOURS = {OURS: "#c2571a", BASE: "#6b7785", "aio-pika": "#3b74b0"}


def read(path):
    """{row: {client: {round: run}}}, rows in the order of their first run."""
    rows = {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            run = json.loads(line)
            rows.setdefault(run["row"], {}).setdefault(run["client"], {})[run["round"]] = run
    return rows


def value(runs, key):
    values = [run[key] for run in runs.values() if run[key] is not None]
    return median(values) if values else None


def ratio(clients, key, ours=OURS, base=BASE):
    a, b = clients.get(ours, {}), clients.get(base, {})
    ratios = [a[i][key] / b[i][key] for i in a.keys() & b.keys() if a[i][key] is not None and b[i][key]]
    return median(ratios) if ratios else None


def text(number, digits=2):
    return "-" if number is None else f"{number:.{digits}f}"


HEAD = ["", "CPU rabbitmq-c", "CPU warren", "CPU", "rate", "p50", "p99", "warren/s", "RSS MB", "allocations"]


def table(rows):
    lines = [HEAD]
    for name, clients in rows.items():
        ours, base = clients.get(OURS, {}), clients.get(BASE, {})
        rss = value(ours, "max_rss_kib")
        rate = value(ours, "rate")
        lines.append([
            name,
            text(value(base, "cpu_us_per_message")),
            text(value(ours, "cpu_us_per_message")),
            text(ratio(clients, "cpu_us_per_message")),
            text(ratio(clients, "rate")),
            text(ratio(clients, "p50_us")),
            text(ratio(clients, "p99_us")),
            text(rate, 0),
            text(rss / 1024 if rss else None, 1),
            text(value(ours, "allocations_per_message"), 3),
        ])
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEAD))]
    for line in lines:
        cells = [line[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(line[1:], widths[1:])]
        print("  ".join(cells).rstrip())
    print("\nCPU: client's microseconds a message, and warren's by rabbitmq-c's. rate, p50, p99: warren's by rabbitmq-c's.")
    print("Medians of %d rounds." % max(len(runs) for clients in rows.values() for runs in clients.values()))


def more(rows):
    """What is no comparison of clients row by row."""
    for prefix in ("", "null broker: "):
        one = rows.get(prefix + "publish confirmed" + ("" if prefix else ", window 256"), {})
        eight = rows.get(prefix + "publish confirmed, 8 threads", {})
        both = {"eight": eight.get(OURS, {}), "one": one.get(OURS, {})}
        if not all(both.values()):
            continue
        print(f"{prefix}8 threads on one warren publisher, by one thread: rate "
              f"{text(ratio(both, 'rate', 'eight', 'one'))}, CPU "
              f"{text(ratio(both, 'cpu_us_per_message', 'eight', 'one'))}")
    for name, clients in rows.items():
        if "aio-pika" in clients:
            print(f"{name}: aio-pika {text(value(clients['aio-pika'], 'cpu_us_per_message'), 1)} us of CPU a message, "
                  f"{text(ratio(clients, 'cpu_us_per_message', 'aio-pika', OURS), 0)} times warren's")


def write_csv(rows, path):
    keys = ["messages", "size", "window", "threads", "rate", "cpu_us_per_message", "max_rss_kib", "p50_us", "p99_us",
            "allocations_per_message"]
    with open(path, "w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow(["row", "client", "rounds", *keys, "cpu_ratio", "rate_ratio", "p50_ratio", "p99_ratio"])
        for name, clients in rows.items():
            for client, runs in clients.items():
                numbers = [value(runs, key) for key in keys]
                ratios = [ratio(clients, key, client) for key in ("cpu_us_per_message", "rate", "p50_us", "p99_us")]
                cells = ["" if n is None else f"{n:.6g}" for n in numbers + ratios]
                out.writerow([name, client, len(runs), *cells])


def write_svg(rows, path):
    """Bars of CPU a message, each row by rabbitmq-c's; what is beyond the edge is cut there and says so."""
    left, full, bar, gap, top, edge = 290, 440, 13, 12, 58, 2.0
    rows = {name: clients for name, clients in rows.items() if OURS in clients and BASE in clients}
    parts, y = [], top
    for name, clients in rows.items():
        base = value(clients[BASE], "cpu_us_per_message")
        begin = y
        for client in CLIENTS:
            if client not in clients:
                continue
            cpu = value(clients[client], "cpu_us_per_message")
            by_base = ratio(clients, "cpu_us_per_message", client)
            width = min(by_base, edge) / edge * full
            label = f"{cpu:.2f} µs" if cpu < 10 else f"{cpu:.0f} µs"
            if client != BASE:
                label += f" ({by_base:.2f}×)" if by_base <= edge else f" ({by_base:.{0 if by_base >= 10 else 1}f}×, cut)"
            parts.append(f'<rect x="{left}" y="{y}" width="{width:.1f}" height="{bar}" fill="{COLOURS[client]}"/>')
            parts.append(f'<text x="{left + width + 6:.1f}" y="{y + bar - 2}" class="n">{escape(label)}</text>')
            y += bar + 1
        parts.append(f'<text x="{left - 10}" y="{(begin + y) / 2 + 4:.1f}" text-anchor="end">{escape(name)}</text>')
        y += gap
    one = left + full / edge
    width = left + full + 130
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y + 10}" viewBox="0 0 {width} {y + 10}" '
        'font-family="sans-serif" font-size="12">',
        "<style>text{fill:#333}.n{font-size:11px}.t{font-size:15px;font-weight:bold}</style>",
        f'<rect width="{width}" height="{y + 10}" fill="#fff"/>',
        '<text x="12" y="24" class="t">Client CPU per message, relative to rabbitmq-c (shorter is better)</text>',
    ]
    x = 12
    for client in CLIENTS:
        if any(client in clients for clients in rows.values()):
            head.append(f'<rect x="{x}" y="36" width="11" height="11" fill="{COLOURS[client]}"/>')
            head.append(f'<text x="{x + 16}" y="46">{client}</text>')
            x += 100
    head.append(f'<line x1="{one:.1f}" x2="{one:.1f}" y1="{top - 6}" y2="{y}" stroke="#999" stroke-dasharray="3 3"/>')
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(head + parts + ["</svg>", ""]))


def main():
    runs, csv_path, svg_path = sys.argv[1:]
    rows = read(runs)
    if not rows:
        sys.exit("compare_report.py: nothing was measured")
    table(rows)
    more(rows)
    write_csv(rows, csv_path)
    write_svg(rows, svg_path)


if __name__ == "__main__":
    main()
