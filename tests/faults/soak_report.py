#!/usr/bin/env python3
"""soak_report.py SAMPLES.csv PICTURE.svg: what tests/soak.sh sampled, drawn, and judged: flat, or it ends with 1.

After a warm-up, a straight line is laid through one sample of each ten seconds (least squares): the one in the middle, so
that a moment does not count, or of descriptors and threads the lowest, since a link that ends holds two of them for a
moment. What the line rises by from its one end to the other may be:
  resident memory, heap   4 MiB, 1 MiB: what glibc's arenas and the buffers of a backlog after a restart vary by. In half an
                          hour there are about 400 cuts and 30 restarts, of four connections each: a leak of 2 KiB for each
                          lost connection is above that.
  descriptors, threads    1: one that leaks at each restart already is above that in three minutes, one that leaks at each
                          cut in a quarter of a minute.
  each queue              what is published in two seconds: a queue that keeps more than that is not consumed as it is filled.
All but the resident memory counts only while all connections are open: in an outage there is less of it, and queues fill.
"""
import csv
import math
import sys

MIB = 1 << 20
COLOURS = ("#c2571a", "#3b74b0", "#3f8f4f", "#8a5fb0", "#b08a1e", "#6b7785")


def read(path):
    """The columns by name; None where nobody could tell."""
    with open(path, encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = rows[0].keys() if rows else []
    return {name: [float(row[name]) if row[name] else None for row in rows] for name in names}


def fit(points):
    """Slope and height at 0 of the line through points, by least squares."""
    count = len(points)
    mean_x = sum(x for x, _ in points) / count
    mean_y = sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0
    return slope, mean_y - slope * mean_x


def each_ten_seconds(points, choose):
    """One point for each ten seconds: the lowest, or the one in the middle, by value."""
    parts = {}
    for point in points:
        parts.setdefault(int(point[0] // 10), []).append(point)
    return [choose(sorted(parts[part], key=lambda point: point[1])) for part in sorted(parts)]


def lowest(points):
    return points[0]


def median(points):
    return points[len(points) // 2]


class Series:
    """One column: its points, the line through them, and whether that rises too much."""

    def __init__(self, samples, column, limit, warm_up, only_well, choose):
        times, values, well = samples["seconds"], samples[column], samples["well"]
        self.column = column
        self.points = [(t, v) for t, v in zip(times, values) if v is not None]
        self.limit = limit
        judged = [(t, v) for t, v, w in zip(times, values, well) if v is not None and t >= warm_up and (w or not only_well)]
        judged = each_ten_seconds(judged, choose)
        self.span = (judged[0][0], judged[-1][0]) if len(judged) >= 4 else None
        self.slope, self.base = fit(judged) if self.span else (0.0, 0.0)
        self.rise = self.slope * (self.span[1] - self.span[0]) if self.span else math.inf

    @property
    def is_flat(self):
        return self.rise <= self.limit


def warm_up_of(duration):
    """A third of the time, three minutes at most: until then arenas and caches settle, and there was a first restart."""
    return min(180.0, duration / 3)


def words(value, unit):
    if unit == "MiB":
        return f"{value / MIB:.2f} MiB"
    return f"{value:.1f}{' ' + unit if unit else ''}"


def step_of(most):
    """A round distance of about four lines."""
    if most <= 0:
        return 1.0
    rough = most / 4
    size = 10 ** math.floor(math.log10(rough))
    return next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough)


def escape(text):
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def unbroken(points):
    """The points in parts: between two of them nobody could tell for a while."""
    parts = []
    for point in points:
        if not parts or point[0] - parts[-1][-1][0] > 4:
            parts.append([])
        parts[-1].append(point)
    return parts


def panel(top, title, unit, series, duration, outages):
    """One diagram, 900 wide and 150 high."""
    left, width, height = 78, 790, 104
    scale = MIB if unit == "MiB" else 1
    most = max((v for each in series for _, v in each.points), default=1) / scale or 1
    step = step_of(most)
    ceiling = math.ceil(most / step) * step
    y_of = lambda value: top + 28 + height - value / scale / ceiling * height
    x_of = lambda seconds: left + seconds / duration * width
    out = [f'<text x="12" y="{top + 14}" class="t">{escape(title)}</text>']
    for begin, end in outages:
        out.append(f'<rect x="{x_of(begin):.1f}" y="{top + 28}" width="{max(x_of(end) - x_of(begin), 1):.1f}" '
                   f'height="{height}" class="o"/>')
    for i in range(round(ceiling / step) + 1):
        y = y_of(i * step * scale)
        out.append(f'<line x1="{left}" x2="{left + width}" y1="{y:.1f}" y2="{y:.1f}" class="g"/>')
        out.append(f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end" class="n">{i * step:g}</text>')
    x = 260
    for each, colour in zip(series, COLOURS):
        for part in unbroken(each.points):
            path = " ".join(f"{x_of(t):.1f},{y_of(v):.1f}" for t, v in part)
            out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.3"/>')
        if each.span:
            ends = [(x_of(t), y_of(max(each.base + each.slope * t, 0))) for t in each.span]
            out.append(f'<line x1="{ends[0][0]:.1f}" y1="{ends[0][1]:.1f}" x2="{ends[1][0]:.1f}" y2="{ends[1][1]:.1f}" '
                       f'stroke="{colour}" stroke-width="2" stroke-dasharray="6 4"/>')
        label = each.column.removeprefix("queue ")
        if len(series) == 1:
            label = f"rises by {words(each.rise, unit)}, may by {words(each.limit, unit)}"
        out.append(f'<rect x="{x}" y="{top + 5}" width="10" height="10" fill="{colour}"/>')
        out.append(f'<text x="{x + 15}" y="{top + 14}" class="{"n" if each.is_flat else "bad"}">{escape(label)}</text>')
        x += 26 + 7 * len(label)
    minutes = duration / 60
    step = max(step_of(minutes) / 2, 0.5)
    for i in range(int(minutes / step) + 1):
        x = x_of(i * step * 60)
        out.append(f'<text x="{x:.1f}" y="{top + height + 42}" text-anchor="middle" class="n">{i * step:g} min</text>')
    return out


def outages_of(samples):
    """From when to when not all connections were open."""
    out, begin = [], None
    for time, well in zip(samples["seconds"], samples["well"]):
        if not well and begin is None:
            begin = time
        if well and begin is not None:
            out.append((begin, time))
            begin = None
    return out + ([(begin, samples["seconds"][-1])] if begin is not None else [])


def draw(path, title, panels, duration, outages):
    height = 66 + 168 * len(panels)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="900" height="{height}" viewBox="0 0 900 {height}" '
        'font-family="sans-serif" font-size="12">',
        "<style>.b{fill:#fff}text{fill:#333}.n{font-size:11px}.t{font-size:13px;font-weight:bold}.g{stroke:#ddd}"
        ".o{fill:#eee}.bad{font-size:11px;font-weight:bold;fill:#c00}"
        "@media(prefers-color-scheme:dark){.b{fill:#1b1f24}text{fill:#d6dae0}.g{stroke:#3a4048}.o{fill:#2a2f36}"
        ".bad{fill:#ff7b72}}</style>",
        f'<rect width="900" height="{height}" class="b"/>',
        f'<text x="12" y="24" font-size="15" font-weight="bold">{escape(title)}</text>',
        '<text x="12" y="42" class="n">Shaded: not all connections were open. Dashed: the line through the samples after the '
        "warm-up, which must not rise.</text>",
    ]
    for i, (name, unit, series) in enumerate(panels):
        parts += panel(58 + 168 * i, name, unit, series, duration, outages)
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(parts + ["</svg>", ""]))


def main():
    csv_path, svg_path = sys.argv[1:]
    samples = read(csv_path)
    if len(samples.get("seconds", [])) < 20:
        sys.exit("soak: there are too few samples")
    duration = samples["seconds"][-1]
    warm_up = warm_up_of(duration)
    rate = samples["published"][-1] / duration
    series = lambda column, limit, only_well, choose: Series(samples, column, limit, warm_up, only_well, choose)
    queues = [name for name in samples if name.startswith("queue ")]
    panels = [
        ("Resident memory, MiB", "MiB", [series("rss", 4 * MIB, False, median)]),
        ("Heap, MiB", "MiB", [series("heap", 1 * MIB, True, median)]),
        ("Descriptors", "", [series("descriptors", 1, True, lowest)]),
        ("Threads", "", [series("threads", 1, True, lowest)]),
        ("Messages ready in queues", "messages", [series(name, 2 * rate, True, median) for name in queues]),
        ("Confirmed, not handled yet", "messages", [series("missing", 2 * rate, True, median)]),
    ]
    title = (f"Soak of {duration / 60:.1f} minutes: {samples['published'][-1]:,.0f} messages, {samples['cuts'][-1]:.0f} cuts, "
             f"{samples['restarts'][-1]:.0f} restarts, {samples['recoveries'][-1]:.0f} recoveries")
    draw(svg_path, title, panels, duration, outages_of(samples))
    print(title)
    if any(each.span is None for _, _, all_of in panels for each in all_of):
        sys.exit("soak: too little to judge: the connections were hardly ever open")
    rising = []
    for name, unit, all_of in panels:
        for each in all_of:
            if not each.is_flat:
                rising.append(each.column)
            print(f"  {each.column:<28} rises by {words(each.rise, unit):>16}, may by {words(each.limit, unit):>16}"
                  f"{'' if each.is_flat else '   NOT FLAT'}")
    if rising:
        sys.exit("soak: not flat: " + ", ".join(rising))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main()
