"""What a measured row is, and what is known of it from elsewhere."""

from dataclasses import asdict, dataclass, field

PROGRAMS = ("reachback", "dbclient", "ssh")

# reachback's own figure before the data path was worked on, by an earlier version of these
# measurements.
BEFORE = {
    "start-rsa": 1.02,
    "second-call": 0.82,
    "size": 591_064,
    "size-xz": 351_408,
    "anonymous-idle": 208,
    "anonymous-after": 272,
    "pss-idle": 784,
    "stuck": 3400,
    "down-50": 1.62,
    "down-300": 0.31,
    "link-down": 20,
    "two-writes": 44.0,
    "new-0": 43,
    "new-50": 193,
    "keystroke-user": 43.4,
    "calls-up": 160,
}


@dataclass
class Row:
    """One line: what was measured of each program.

    A value is a number, None where the program cannot do it or did not get there, or a text
    such as "> 30" where the measurement was ended. `more` is better for speeds. `digits` are
    those behind the point.
    """

    key: str
    what: str
    values: dict = field(default_factory=dict)
    digits: int = 0
    more: bool = False

    def number(self, program):
        value = self.values.get(program)
        return float(value.lstrip("> ")) if isinstance(value, str) else value

    def text(self, program):
        value = self.values.get(program)
        return value if isinstance(value, str) else figure(value, self.digits)

    def ratio(self):
        """reachback's figure to that of the better known program; None without one."""
        own = self.number("reachback")
        known = [n for n in map(self.number, PROGRAMS[1:]) if n is not None]
        if own is None or not known:
            return None
        best = max(known) if self.more else min(known)
        return own / best if best else None

    def is_behind(self):
        """Whether the better known program is better than reachback by more than a twentieth."""
        ratio = self.ratio()
        return ratio is not None and (ratio < 0.95 if self.more else ratio > 1.05)

    def as_json(self):
        return {**asdict(self), "before": BEFORE.get(self.key), "ratio": self.ratio()}


def row_from_json(data):
    return Row(**{name: data[name] for name in ("key", "what", "values", "digits", "more")})


def figure(value, digits):
    return "-" if value is None else f"{value:,.{digits}f}"


class Table(dict):
    """Rows by key, in the order in which they were first named."""

    def add(self, key, what, program, value, digits=0, more=False):
        row = self.setdefault(key, Row(key, what, {}, digits, more))
        row.values[program] = value


def median(values):
    return sorted(values)[len(values) // 2]


def p99(values):
    return sorted(values)[min(len(values) - 1, len(values) * 99 // 100)]
